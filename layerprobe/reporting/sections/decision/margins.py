"""Part of the section behind the decision: the margin that each depth proves, and which depths could be the best."""

from __future__ import annotations

from layerprobe.reporting.figures.canvas import NamedFigure
from layerprobe.reporting.figures.decision.proven_margin import proven_margin_figure
from layerprobe.reporting.files.study_files import StudyFiles
from layerprobe.reporting.sections.answer import RUN
from layerprobe.reporting.sections.section import Part, absent
from layerprobe.reporting.tables.margins import MARGINS, kept_at, knows_proven, proven_table
from layerprobe.reporting.words import markdown
from layerprobe.reporting.words.decisions import (
    FOR_THESE,
    all_of,
    called,
    error_level,
    is_exploratory,
    noun_of,
    row_title,
)
from layerprobe.store.decision import DecisionRecord, SelectionRow
from layerprobe.wording import count, four_digits, level, metric_label, percent

MARGIN_FIGURE = "proven-margin"
HEADERS = ["Model", "Value", "Any margin", "Fixed beforehand", "Could be best"]


def margins_part(study: StudyFiles, decision: DecisionRecord) -> Part:
    """Shows the smallest proven margin of every depth, what other margins keep, and what could be the best."""
    if not knows_proven(decision):
        return Part([absent("the margin that each depth proves", "proven_margin in decision.json", RUN)])
    table = proven_table(decision)
    figure = proven_margin_figure(table, decision.margin, _title(decision), _caption(study, decision))
    named = NamedFigure(MARGIN_FIGURE, figure, table)
    rows = [[row_title(row, decision), *_cells(row)] for row in decision.depths]
    paragraphs = [_lead(decision), named.markdown, markdown.table(HEADERS, rows), _brought(decision)]
    return Part([*paragraphs, _answers(decision), _best(decision)], [named])


def _title(decision: DecisionRecord) -> str:
    start = "Exploratory, one training seed. " if is_exploratory(decision) else ""
    metric = metric_label(decision.metric, decision.k)
    return f"{start}{metric}: the smallest margin that each {noun_of(decision)} proves"


def _lead(decision: DecisionRecord) -> str:
    word = noun_of(decision)
    given = f", {FOR_THESE}" if is_exploratory(decision) else f", at {level(1 - error_level(decision))} confidence"
    return (
        f"**Which margin is proven?** The largest loss against the full model that a {word}'s lower bound leaves "
        f"possible{given}, in % of the full model's value: the {word} is not worse at any larger margin."
    )


def _caption(study: StudyFiles, decision: DecisionRecord) -> str:
    word, sure = noun_of(decision), level(1 - error_level(decision))
    kind = f"{sure} bounds {FOR_THESE}" if is_exploratory(decision) else f"bounds of {sure} confidence"
    alone = (
        f" Fixed beforehand: {kind} of one {word}, the largest of its own and those of the {word}s tested before it."
        if decision.sequence
        else ""
    )
    return (
        f"Largest loss that {count(decision.power.n_users)} users (test, full ranking) leave possible. Any margin: "
        f"{kind} that hold for all {word}s at once.{alone} Arrows: larger than the axis; the numbers are in the table. "
        f"Study {study.name}, commit {study.commit}."
    )


def _cells(row: SelectionRow) -> list[str]:
    best = {True: "yes", False: "no", None: "-"}[row.could_be_best]
    return [four_digits(row.value), _share(row.proven_margin), _share(row.proven_alone), best]


def _share(margin: float | None) -> str:
    """Returns a proven margin; a small one keeps a second digit, since margins of half a per cent are asked for.

    No loss is larger than all there is, so a margin of 100 % and more is no statement.
    """
    if margin is not None and margin >= 1:
        return "none"
    return percent(margin, 2 if margin is not None and margin < 0.0995 else 1)


def _brought(decision: DecisionRecord) -> str:
    """Says which column a reader's own margin is looked up in."""
    word = noun_of(decision)
    text = (
        f"Bring your own margin: the bounds behind *any margin* hold for all {word}s together, so a margin may be "
        "chosen after looking."
    )
    if decision.sequence:
        text += (
            f" The study's margin of {level(decision.margin)} is tested by the tighter bounds of *fixed beforehand*, "
            "which hold only for a margin that was set before the test ranks were read."
        )
    return text


def _answers(decision: DecisionRecord) -> str:
    rows = []
    for margin in MARGINS:
        kept = kept_at(decision, margin)
        none = f"no smaller {noun_of(decision)} proves it"
        rows.append([level(margin), none if kept == decision.full else _named(kept, decision)])
    return markdown.table(["At a margin of", "Keep"], rows, left=2)


def _named(row: SelectionRow, decision: DecisionRecord) -> str:
    name = f"{called(row, decision)} of {decision.full_depth}"
    return name if noun_of(decision) == "depth" else f"{row.depth} of {decision.full_depth} layers, {row.text}"


def _best(decision: DecisionRecord) -> str:
    """Says which selections could be the best one."""
    rows = [row for row in decision.depths if row.could_be_best]
    word = noun_of(decision)
    if not rows:
        return absent(f"which {word}s could be the best", "could_be_best in decision.json", RUN)
    sure = f"With {level(1 - error_level(decision))} confidence"
    given = "For these trained models" if is_exploratory(decision) else sure
    if len(rows) == 1:
        return f"{given}, the best {word} is {called(rows[0], decision)}: every other one is ruled out."
    if len(rows) == len(decision.depths):
        return f"{given}, every {word} could be the best: none is shown to be better than another (Hsu 1996)."
    return (
        f"{given}, the best {word} is one of {all_of(rows, decision)}: no other one is shown to be better than any of "
        "these (multiple comparisons with the best, Hsu 1996)."
    )
