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

RUN = "Run the decide stage."
QUESTION = "The question: how many layers does this recommender need, and may I have the small one?"
FIGURES = ("decision-margin",)


def answer_section(study: StudyFiles) -> Section:
    """States the decision first, then what it rests on."""
    decision = study.decision
    if decision is None:
        return Section("The answer", [absent("a decision", "decision.json", RUN), QUESTION])
    notes = [markdown.bullets(decision.notes)] if decision.notes else []
    return Section("The answer", [f"**{decision.sentence}**", _rests_on(decision), *notes])


def _rests_on(decision: DecisionRecord) -> str:
    """Says what was compared, what the verdicts mean and what they are sure of."""
    power, one = decision.power, _noun(decision)
    seeds = power.n_seeds
    trained = f" and {seeds} trainings of each studied {one}" if seeds > 1 else ""
    text = (
        f"{QUESTION} Every {one} is compared with the full model of {decision.full_depth} layers, user by user, in "
        f"{metric_label(decision.metric, decision.k)} on the test targets of {count(power.n_users)} users"
        f"{trained}, ranked among the whole catalogue. A {one} is not worse when its loss stays below "
        f"{level(decision.margin)} of the full model's value for certain, worse when its loss is above that for "
        "certain, better when it is above the full model for certain, else undecided. "
    )
    if not decision.sequence:
        return text + (f"For certain: false for any of the {one}s in at most {level(decision.alpha)} of such studies.")
    text += (
        f"{_spoken(decision)} are tested from the deepest down, each at {level(decision.alpha)}, and the first that "
        "does not pass ends the test, those after it are untested: so one is called not worse falsely in at most "
        f"{level(decision.alpha)} of such studies. Better and worse hold for all at once."
    )
    if len(decision.sequence) + 1 < len(decision.depths):
        text += " The other selections are judged by bounds that hold for all selections at once, and do not decide."
    return text


def _spoken(decision: DecisionRecord) -> str:
    if _noun(decision) == "depth":
        return "Depths"
    return f"Those that speak for their depths ({', '.join(decision.sequence)})"


def decision_section(study: StudyFiles) -> Section:
    """Shows the differences behind the decision."""
    title = "Behind the decision"
    decision = study.decision
    if decision is None:
        return Section(title, [absent("a decision", "decision.json", RUN)])
    metric = metric_label(decision.metric, decision.k)
    table = margin_table(decision)
    text = _caption(study, decision)
    named = NamedFigure("decision-margin", margin_figure(table, decision.margin, metric, text), table)
    paragraphs = [named.markdown, _table(decision, metric), *_merged(decision), _power(decision)]
    return Section(title, paragraphs, [named])


def _merged(decision: DecisionRecord) -> list[str]:
    """Says which selections keep the layers of another one and were trained once; older studies do not know."""
    pairs = ", ".join(f"{text} as {earlier}" for text, earlier in decision.merged)
    return [f"Selections that keep the same layers are one model, trained once: {pairs}."] if pairs else []


def _caption(study: StudyFiles, decision: DecisionRecord) -> str:
    one = _noun(decision)
    return (
        f"Paired differences over {count(decision.power.n_users)} users (test, full ranking). "
        f"Bars: {level(1 - decision.alpha)} intervals that hold for all {one}s at once, and for all floors at once. "
        f"Thick ticks: one-sided lower bounds{_which_bounds(decision)}; a {one} is not worse when its tick lies above "
        "the margin. "
        f"Study {study.name}, commit {study.commit}."
    )


def _which_bounds(decision: DecisionRecord) -> str:
    if not decision.sequence:
        return ""
    return " (of a depth that the sequence reached alone, else for all at once)"


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
    power = decision.power
    seeds = power.n_seeds
    having = f"its {count(power.n_users)} users" + (f" and {seeds} seeds" if seeds > 1 else "")
    text = (
        f"How much can this study show? With {having}, a {_noun(decision)} that truly equals the full model would be "
        f"shown to lose at most {percent(power.minimal_detectable_relative_difference)} of its value (in 8 of 10 "
        f"such studies; the least certain {_noun(decision)} of those that are not worse for certain). "
        f"{_needs(power, level(decision.margin))}"
    )
    if seeds > 1:
        text += (
            " Training noise in the table: the standard deviation of a model's value from one training to the next, as "
            "a share of the full model's value."
        )
    return text


def _needs(power: PowerRow, margin: str) -> str:
    """Says how many users, or seeds, the margin asked for needs; older studies know users alone."""
    users, seeds = power.users_needed_for_margin, power.seeds_needed_for_margin
    if not power.covers_training:
        why = "; with one seed it is not known how many seeds" if power.n_seeds == 1 else ""
        return f"A margin of {margin} needs about {count(users)} users{why}."
    ways = [] if users is None else [f"{count(users)} users with as many seeds"]
    ways += [] if seeds is None else [f"{count(seeds)} seeds with as many users"]
    if not ways:
        return f"A margin of {margin} needs more users and more seeds at once."
    return f"A margin of {margin} needs about {', or '.join(ways)}."
