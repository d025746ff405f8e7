"""Section: the verdict, what verdicts mean, and how often such a study is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from layerprobe.reporting.files.study_files import StudyFiles
from layerprobe.reporting.findings.effort import undertrained_line
from layerprobe.reporting.sections.section import Section, absent
from layerprobe.reporting.words import markdown
from layerprobe.reporting.words.decisions import FOR_THESE, an_interval, error_level, is_exploratory, noun_of
from layerprobe.store.decision import FULL_NEEDED, KEEP, UNDECIDED, USE_BASELINE, DecisionRecord
from layerprobe.wording import count, level, metric_label

TITLE = "The answer"
RUN = "Run the decide stage."
QUESTION = "The question: how many layers does this recommender need, and is a smaller model good enough?"
OLDER = (
    "An older version decided this study: it gave none of the four verdicts and did not compare the {word}s with the "
    "baselines. The decide stage does both, from the stored ranks."
)
SIMULATED = "How often simulated studies with few seeds are wrong is measured in `benchmarks/decision_errors.md`."
ONE_SEED = (
    "With one training seed no error rate is promised: the intervals cover the choice of users, for these trained "
    "models, and what another training would give is not known."
)


def answer_section(study: StudyFiles, lines: Sequence[str] = ()) -> Section:
    """States the verdict first, then the meaning of the verdicts and what is promised.

    Args:
        study: the study's files.
        lines: further ones to stand right below the verdict, after the warning of trainings that still improved.
    """
    decision, warnings = study.decision, [*_undertrained(study), *lines]
    if decision is None:
        return Section(TITLE, [absent("a decision", "decision.json", RUN), *warnings, QUESTION])
    notes = [markdown.bullets(decision.notes)] if decision.notes else []
    explained = [_compared(decision), *_four(decision), *_own(decision), _promised(decision)]
    return Section(TITLE, [f"**{decision.sentence}**", *warnings, *explained, *notes])


def _undertrained(study: StudyFiles) -> list[str]:
    line = None if study.convergence is None else undertrained_line(study.convergence)
    return [] if line is None else [line]


def _compared(decision: DecisionRecord) -> str:
    """Says what was compared with what, on which data."""
    power, word = decision.power, noun_of(decision)
    trained = f", with {power.n_seeds} training seeds of each {word}" if power.n_seeds > 1 else ""
    return (
        f"{QUESTION} Every {word} is compared with the full model of {decision.full_depth} layers, and with every "
        f"baseline, user by user, in {metric_label(decision.metric, decision.k)} on the test targets of "
        f"{count(power.n_users)} users{trained}. Each target is ranked among the whole catalogue."
    )


def _four(decision: DecisionRecord) -> list[str]:
    """Says what the four verdicts of a study mean, in the order in which they are asked; its own is bold."""
    word = noun_of(decision)
    if not decision.verdict:
        return [OLDER.format(word=word)]
    meanings = {
        USE_BASELINE: f"one baseline is better than every {word}, the full model included.",
        KEEP: f"the smallest {word} that is better than the full model or not worse has k layers.",
        UNDECIDED: "none of the others. It is no advice to keep all layers: nothing was shown.",
        FULL_NEEDED: f"every smaller {word} is worse.",
    }
    lines = [f"{f'**{name}**' if name == decision.verdict else name}: {meaning}" for name, meaning in meanings.items()]
    return ["A study has one of four verdicts, asked in this order:", markdown.bullets(lines)]


def _own(decision: DecisionRecord) -> list[str]:
    """Says what the verdicts of single selections mean."""
    interval, word = an_interval(decision), noun_of(decision)
    bound = "lower bound" if is_exploratory(decision) else "lower confidence bound"
    these = f", {FOR_THESE}" if is_exploratory(decision) else ""
    lines = [
        f"better: the {interval} of the difference lies above 0{these}.",
        f"not worse: the {bound} of the difference lies above minus the margin, {level(decision.margin)} of the full "
        f"model's value{these}.",
        f"worse: the interval lies below minus the margin{these}.",
        "undecided: none of these.",
    ]
    if decision.sequence:
        lines.append(f"untested: the test ended before it reached this {word}.")
    lead = (
        f"Each {word} has a verdict of its own. The difference is the value of the {word} minus that of the full model:"
    )
    return [lead, markdown.bullets(lines)]


def _promised(decision: DecisionRecord) -> str:
    """Says how often such studies give a false verdict; with one seed why nothing is promised."""
    if is_exploratory(decision):
        return " ".join([*_order(decision), ONE_SEED])
    error, word = level(error_level(decision)), noun_of(decision)
    if decision.sequence:
        promise = (
            f"So at most {error} of such studies falsely call a {word} not worse. The intervals behind better and "
            f"worse hold for all {word}s at once, and so do those against the baselines; each of the two sets has an "
            "error of its own."
        )
    else:
        promise = f"All bounds hold at once: at most {error} of such studies give a false verdict on any {word}."
    return " ".join([*_order(decision), promise, *_covered(decision), *_looked(decision), SIMULATED])


def _order(decision: DecisionRecord) -> list[str]:
    """Says in which order the selections were tested; nothing where all were tested at once."""
    if not decision.sequence:
        return []
    error = "" if is_exploratory(decision) else f", each at a level of {level(error_level(decision))}"
    lines = [
        f"{_tested(decision)} are tested one by one from the deepest down{error}. The first that is neither better nor "
        "not worse ends the test."
    ]
    if len(decision.sequence) + 1 < len(decision.depths):
        lines.append(
            "The other selections are judged by bounds that hold for all selections at once; the decision does not "
            "use them."
        )
    return lines


def _tested(decision: DecisionRecord) -> str:
    if noun_of(decision) == "depth":
        return "Depths"
    return f"The selections that represent their depths ({', '.join(decision.sequence)})"


def _covered(decision: DecisionRecord) -> list[str]:
    """Says what such studies have in common, where it is more than data and method."""
    if decision.cover == "users" and decision.power.n_seeds > 1:
        return [f"This holds {FOR_THESE}: training noise is left out (decision.cover users)."]
    if decision.power.n_seeds == 1:
        return [f"This holds if the stated training noise, {level(decision.prior_noise)}, is not too small."]
    return []


def _looked(decision: DecisionRecord) -> list[str]:
    """Says which look this is, where there were several."""
    look = decision.look
    if look is None or look.of == 1:
        return []
    return [
        f"This is look {look.number} of {look.of} at these test users, at a level of {level(look.level)}; over all of "
        f"them, at most {level(look.spent)} of such studies falsely call a {noun_of(decision)} not worse."
    ]
