"""Section: the question and the answer, and the table and figure of the decision."""

from __future__ import annotations

from layerprobe import wording
from layerprobe.kinds import label_of
from layerprobe.reporting.figures.canvas import NamedFigure
from layerprobe.reporting.figures.margin import margin_figure
from layerprobe.reporting.files.study_files import StudyFiles
from layerprobe.reporting.sections.section import Section, absent
from layerprobe.reporting.tables.curve import margin_table
from layerprobe.reporting.words import markdown
from layerprobe.store.decision import DecisionRecord, FloorRow, PowerRow, SelectionRow
from layerprobe.wording import UNKNOWN, count, four_digits, interval, level, metric_label, noun, percent

FIGURES = ("decision-margin",)
RUN = "Run the decide stage."
QUESTION = "The question: how many layers does this recommender need, and is a smaller model good enough?"


def answer_section(study: StudyFiles) -> Section:
    """States the decision first, then the evidence and the meaning of the verdicts."""
    decision = study.decision
    if decision is None:
        return Section("The answer", [absent("a decision", "decision.json", RUN), QUESTION])
    notes = [markdown.bullets(decision.notes)] if decision.notes else []
    explained = [_compared(decision), markdown.bullets(_verdicts(decision)), _error(decision)]
    return Section("The answer", [f"**{decision.sentence}**", *explained, *notes])


def _compared(decision: DecisionRecord) -> str:
    """Says what was compared with what, on which data."""
    power, word = decision.power, _noun(decision)
    trained = f", with {power.n_seeds} training seeds of each {word}" if power.n_seeds > 1 else ""
    return (
        f"{QUESTION} Every {word} is compared with the full model of {decision.full_depth} layers, user by user, in "
        f"{metric_label(decision.metric, decision.k)} on the test targets of {count(power.n_users)} users{trained}. "
        f"Each target is ranked among the whole catalogue. The difference is the value of the {word} minus that of the "
        "full model. The verdicts:"
    )


def _verdicts(decision: DecisionRecord) -> list[str]:
    """Returns one line per verdict that this decision can give."""
    confidence, word = level(1 - decision.alpha), _noun(decision)
    lines = [
        f"better: the {confidence} confidence interval of the difference lies above 0.",
        "not worse: the lower confidence bound of the difference lies above minus the margin, "
        f"{level(decision.margin)} of the full model's value.",
        "worse: the confidence interval lies below minus the margin.",
        "undecided: none of these.",
    ]
    return [*lines, f"untested: the test ended before it reached this {word}."] if decision.sequence else lines


def _error(decision: DecisionRecord) -> str:
    """Says how often such studies give a false verdict."""
    word, error = _noun(decision), level(decision.alpha)
    if not decision.sequence:
        return f"All bounds hold at once: at most {error} of such studies give a false verdict on any {word}."
    text = (
        f"{_tested(decision)} are tested one by one from the deepest down, each at a level of {error}. The first that "
        f"is neither better nor not worse ends the test. So at most {error} of such studies falsely call a {word} not "
        f"worse. The intervals behind better and worse hold for all {word}s at once."
    )
    if len(decision.sequence) + 1 < len(decision.depths):
        text += (
            " The other selections are judged by bounds that hold for all selections at once; the decision does not "
            "use them."
        )
    return text


def _tested(decision: DecisionRecord) -> str:
    if _noun(decision) == "depth":
        return "Depths"
    return f"The selections that represent their depths ({', '.join(decision.sequence)})"


def decision_section(study: StudyFiles) -> Section:
    """Shows the differences behind the decision."""
    title = "Behind the decision"
    decision = study.decision
    if decision is None:
        return Section(title, [absent("a decision", "decision.json", RUN)])
    metric = metric_label(decision.metric, decision.k)
    table = margin_table(decision)
    figure = margin_figure(table, decision.margin, metric, _caption(study, decision))
    named = NamedFigure("decision-margin", figure, table)
    paragraphs = [named.markdown, _table(decision, metric), *_merged(decision), _power(decision)]
    return Section(title, paragraphs, [named])


def _merged(decision: DecisionRecord) -> list[str]:
    """Says which selections keep the layers of another one and were trained once; older studies do not know."""
    pairs = ", ".join(f"{selection} as {earlier}" for selection, earlier in decision.merged)
    return [f"Selections that keep the same layers are one model, trained once: {pairs}."] if pairs else []


def _caption(study: StudyFiles, decision: DecisionRecord) -> str:
    word = _noun(decision)
    return (
        f"Paired differences over {count(decision.power.n_users)} users (test, full ranking). Bars: "
        f"{level(1 - decision.alpha)} confidence intervals that hold for all {word}s at once, and for all floors at "
        f"once. Thick ticks: one-sided lower bounds{_which_bounds(decision)}. A {word} is not worse when its tick lies "
        f"above the margin. Study {study.name}, commit {study.commit}."
    )


def _which_bounds(decision: DecisionRecord) -> str:
    if not decision.sequence:
        return ""
    return ", of one depth alone where the test reached it, else for all at once"


def _table(decision: DecisionRecord, metric: str) -> str:
    headers = ["Model", metric, "Difference", "Relative", "Interval", "Lower bound", "Verdict"]
    if _has_seeds(decision):
        headers.append("Training noise")
    rows = [[_depth_name(row, decision), *_cells(row, decision)] for row in decision.depths]
    layers = [UNKNOWN if row.layers is None else wording.layers(row.layers) for row in decision.depths]
    rows += [[label_of(row.name), *_cells(row, decision)] for row in decision.baselines]
    layers += [UNKNOWN] * len(decision.baselines)
    if _noun(decision) == "depth":
        return markdown.table(headers, rows)
    headers.insert(1, "Layers")
    return markdown.table(headers, [[name, kept, *cells] for (name, *cells), kept in zip(rows, layers, strict=True)], 2)


def _depth_name(row: SelectionRow, decision: DecisionRecord) -> str:
    full = " (full)" if row == decision.full else ""
    name = f"depth {row.depth}"
    return f"{name}{full}" if _noun(decision) == "depth" else f"{name}, {row.text}{full}"


def _noun(decision: DecisionRecord) -> str:
    return noun(row.text for row in decision.depths)


def _has_seeds(decision: DecisionRecord) -> bool:
    return decision.power.n_seeds > 1


def _cells(row: SelectionRow | FloorRow, decision: DecisionRecord) -> list[str]:
    cells = [
        four_digits(row.value),
        four_digits(row.difference),
        percent(row.relative),
        interval(row.ci_low, row.ci_high),
        four_digits(row.lower_bound),
        row.verdict,
    ]
    return [*cells, percent(row.training_noise)] if _has_seeds(decision) else cells


def _power(decision: DecisionRecord) -> str:
    power, word = decision.power, _noun(decision)
    seeds = f" and {power.n_seeds} seeds" if power.n_seeds > 1 else ""
    text = (
        f"What can this study show? With {count(power.n_users)} users{seeds}, a {word} that truly equals the full "
        f"model is shown to lose at most {percent(power.minimal_detectable_relative_difference)} of that model's value "
        f"in 8 of 10 such studies (80 % power). This is computed for the {word} with the largest standard error, "
        f'leaving out {word}s with the verdict "worse". {_needs(power, level(decision.margin))}'
    )
    if power.n_seeds > 1:
        text += (
            " Training noise in the table: the standard deviation of a model's value over its training seeds, as a "
            "share of the full model's value."
        )
    return text


def _needs(power: PowerRow, margin: str) -> str:
    """Says how many users, or seeds, the decision's margin needs; older studies know users alone."""
    users, seeds = power.users_needed_for_margin, power.seeds_needed_for_margin
    if not power.covers_training:
        why = " With one seed, the number of seeds it needs is not known." if power.n_seeds == 1 else ""
        return f"A margin of {margin} needs about {count(users)} users.{why}"
    ways = [] if users is None else [f"{count(users)} users with the same number of seeds"]
    ways += [] if seeds is None else [f"{count(seeds)} seeds with the same number of users"]
    if not ways:
        return f"A margin of {margin} needs both more users and more seeds."
    return f"A margin of {margin} needs about {', or '.join(ways)}."
