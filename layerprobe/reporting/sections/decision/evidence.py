"""Section: the differences behind the decision, the margins they prove, and what users and seeds can show."""

from __future__ import annotations

from layerprobe import wording
from layerprobe.kinds import label_of
from layerprobe.reporting.figures.canvas import NamedFigure
from layerprobe.reporting.figures.decision.margin import margin_figure
from layerprobe.reporting.files.study_files import StudyFiles
from layerprobe.reporting.sections.answer import RUN
from layerprobe.reporting.sections.decision.margins import MARGIN_FIGURE, margins_part
from layerprobe.reporting.sections.decision.power import power_text
from layerprobe.reporting.sections.section import Section, absent
from layerprobe.reporting.tables.curve import margin_table
from layerprobe.reporting.words import markdown
from layerprobe.reporting.words.decisions import an_interval, noun_of, row_title
from layerprobe.store.decision import DecisionRecord, FloorRow, SelectionRow
from layerprobe.wording import UNKNOWN, count, four_digits, interval, metric_label, percent

FIGURES = ("decision-margin", MARGIN_FIGURE)
TITLE = "Behind the decision"
NOISE = (
    "Training noise in the table: the standard deviation of a model's value over its training seeds, as a share of the "
    "full model's value."
)


def decision_section(study: StudyFiles) -> Section:
    """Shows the differences behind the decision."""
    decision = study.decision
    if decision is None:
        return Section(TITLE, [absent("a decision", "decision.json", RUN)])
    metric = metric_label(decision.metric, decision.k)
    table = margin_table(decision)
    figure = margin_figure(table, decision.margin, metric, _caption(study, decision))
    named = NamedFigure("decision-margin", figure, table)
    noise = [NOISE] if _has_seeds(decision) else []
    margins = margins_part(study, decision)
    paragraphs = [named.markdown, _table(decision, metric), *noise, *_merged(decision), *margins.paragraphs]
    return Section(TITLE, [*paragraphs, power_text(decision)], [named, *margins.figures])


def _merged(decision: DecisionRecord) -> list[str]:
    """Says which selections keep the layers of another one and were trained once; older studies do not know."""
    pairs = ", ".join(f"{selection} as {earlier}" for selection, earlier in decision.merged)
    return [f"Selections that keep the same layers are one model, trained once: {pairs}."] if pairs else []


def _caption(study: StudyFiles, decision: DecisionRecord) -> str:
    word = noun_of(decision)
    return (
        f"Paired differences over {count(decision.power.n_users)} users (test, full ranking). Bars: "
        f"{an_interval(decision)}s that hold for all {word}s at once, and for all floors at once. Thick ticks: "
        f"one-sided lower bounds{_which_bounds(decision)}. A {word} is not worse when its tick lies above the margin. "
        f"Study {study.name}, commit {study.commit}."
    )


def _which_bounds(decision: DecisionRecord) -> str:
    if not decision.sequence:
        return ""
    return ", of one depth alone where the test reached it, else for all at once"


def _table(decision: DecisionRecord, metric: str) -> str:
    headers = ["Model", metric, "Difference", "Relative", "Interval", "Lower bound", "Verdict"]
    if _has_seeds(decision):
        headers.append("Training noise")
    rows = [[row_title(row, decision), *_cells(row, decision)] for row in decision.depths]
    layers = [UNKNOWN if row.layers is None else wording.layers(row.layers) for row in decision.depths]
    rows += [[label_of(row.name), *_cells(row, decision)] for row in decision.baselines]
    layers += [UNKNOWN] * len(decision.baselines)
    if noun_of(decision) == "depth":
        return markdown.table(headers, rows)
    headers.insert(1, "Layers")
    return markdown.table(headers, [[name, kept, *cells] for (name, *cells), kept in zip(rows, layers, strict=True)], 2)


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
