"""Section: the verdict under other metrics and cut-offs: looks, not tests."""

from __future__ import annotations

import pandas as pd

from layerprobe import columns
from layerprobe.reporting.files.study_files import StudyFiles
from layerprobe.reporting.sections.answer import RUN
from layerprobe.reporting.sections.section import Section, absent
from layerprobe.reporting.tables.robustness import LABEL, representing, verdicts, with_labels
from layerprobe.reporting.words import markdown
from layerprobe.reporting.words.decisions import FOR_THESE, error_level, is_exploratory, noun_of, row_title, short
from layerprobe.store.decision import KEEP, DecisionRecord
from layerprobe.wording import UNKNOWN, level, listed, metric_label, percent, signed_percent

TITLE = "Looks at other metrics"


def robustness_section(study: StudyFiles) -> Section:
    """Shows whether the verdict hangs on the metric, and what each depth loses of the others."""
    decision = study.decision
    if decision is None:
        return Section(TITLE, [absent("a decision", "decision.json", RUN)])
    if study.robustness is None or study.robustness.empty:
        return Section(TITLE, [absent("the verdict under other metrics", "robustness.csv", RUN)])
    looks = with_labels(study.robustness)
    own = metric_label(decision.metric, decision.k)
    lead = (
        f"**Looks, not tests.** The study decides by {own} alone. Below, the same question is asked by the other "
        "metrics, of the same users and at the same level. The rows depend on each other, and whoever picks the "
        "pleasing one is wrong more often than the level says."
    )
    text = " ".join([_changes(looks), *_losses(looks, decision)])
    return Section(TITLE, [lead, text, _verdicts(looks), _differences(looks, decision), _note(decision)])


def _changes(looks: pd.DataFrame) -> str:
    """Says whether the verdict, or what is kept, changes with the metric."""
    rows = verdicts(looks)
    told = [_told(verdict, kept) for verdict, kept in zip(rows[columns.VERDICT], rows[columns.KEPT], strict=True)]
    if len(set(told)) == 1:
        return f"The verdict is the same under all {len(rows)} metrics: {told[0]}."
    by_answer = rows.assign(told=told).groupby("told", sort=False)[LABEL].agg(list)
    parts = [f"{answer} under {listed(labels)}" for answer, labels in by_answer.items()]
    changing = "The verdict" if len(set(rows[columns.VERDICT])) > 1 else "What is kept, but not the verdict,"
    return f"{changing} changes with the metric: {'; '.join(parts)}."


def _told(verdict: str, kept: str) -> str:
    """Returns an answer in a few words."""
    return f"keep {kept}" if verdict == KEEP else verdict


def _losses(looks: pd.DataFrame, decision: DecisionRecord) -> list[str]:
    """Says how much of each metric the kept selection loses at least and at most, or else the one that stopped."""
    chosen = decision.chosen or next((row for row in decision.depths if row.text == decision.power.selection), None)
    if chosen is None:
        return []
    rows = looks.loc[looks[columns.SELECTION] == chosen.text].sort_values(columns.RELATIVE, kind="stable")
    if len(rows) < 2:
        return []
    ends = rows.iloc[[-1, 0]]
    (most, least), (one, other) = ends[columns.RELATIVE], ends[LABEL]
    verbs = ["gains" if share > 0 else "loses" for share in (most, least)]
    again = "" if verbs[0] == verbs[1] else f"{verbs[1]} "
    return [
        f"{noun_of(decision).capitalize()} {short(chosen, decision)} {verbs[0]} {percent(abs(most))} of {one} and "
        f"{again}{percent(abs(least))} of {other}."
    ]


def _verdicts(looks: pd.DataFrame) -> str:
    rows = [
        [f"**{label}**, the study's" if own else label, verdict, kept or UNKNOWN]
        for label, own, verdict, kept in verdicts(looks).itertuples(index=False, name=None)
    ]
    return markdown.table(["Metric", "Verdict", "Kept"], rows, left=3)


def _differences(looks: pd.DataFrame, decision: DecisionRecord) -> str:
    """Returns a row per depth and a column per metric."""
    by_key = looks.set_index([columns.SELECTION, LABEL])
    labels = verdicts(looks)[LABEL].to_list()
    named = {row.text: row_title(row, decision) for row in decision.depths}
    rows = [
        [named[text], *(_cell(by_key.loc[(text, label)]) for label in labels)]
        for text in representing(decision)
        if text in by_key.index
    ]
    return markdown.table(["Model", *labels], rows)


def _cell(row: pd.Series) -> str:
    low, high = (signed_percent(float(row[name])) for name in (columns.CI_LOW, columns.CI_HIGH))
    return f"{signed_percent(float(row[columns.RELATIVE]))} [{low}, {high}]"


def _note(decision: DecisionRecord) -> str:
    these = f", {FOR_THESE}" if is_exploratory(decision) else ""
    return (
        "Differences from the full model, as shares of its value under that metric. In brackets: the "
        f"{level(1 - error_level(decision))} interval, for all selections together but not for all metrics{these}. "
        "Kept: the smallest selection within the margin, also where a baseline is better."
    )
