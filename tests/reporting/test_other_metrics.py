"""The section that looks at the verdict under other metrics."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_decision import POWER, decision_of, selection_row

from layerprobe import columns
from layerprobe.errors import InputError
from layerprobe.reporting.files.study_files import StudyFiles, read_study
from layerprobe.reporting.sections.decision.robustness import robustness_section
from layerprobe.reporting.tables.robustness import representing
from layerprobe.store.decision import DecisionRecord

DEPTHS = [selection_row(1), selection_row(2), selection_row(4)]
METRICS = (("hr", 1), ("hr", 10), ("ndcg", 10), ("mrr", 0))
LOSSES = {("hr", 1): -0.07, ("hr", 10): -0.006, ("ndcg", 10): -0.036, ("mrr", 0): -0.04}
"""Beauty's depth 1."""


def looks(answers: dict[tuple[str, int], tuple[str, str]] | None = None, own: int = 1, **changes: Any) -> pd.DataFrame:
    """Rows of `robustness.csv`: verdict and what is kept by metric; depth `own` loses `LOSSES`, the other nothing."""
    answers = answers or dict.fromkeys(METRICS, ("keep k layers", "first:1"))
    rows = []
    for (metric, k), (verdict, kept) in answers.items():
        for depth in (1, 2, 4):
            loss = LOSSES[metric, k] if depth == own else 0.0
            rows.append(
                (metric, k, (metric, k) == ("ndcg", 10), verdict, kept, f"first:{depth}", depth, 0.1, loss, loss - 0.01,
                 loss + 0.01, "undecided")
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(columns.ROBUSTNESS)).assign(**changes)


@pytest.fixture(scope="module")
def study(fake_study: Path) -> StudyFiles:
    return read_study(fake_study)


def said(study: StudyFiles, table: pd.DataFrame, decision: DecisionRecord | None = None) -> str:
    decision = decision or decision_of(DEPTHS, depth=1, sequence=("first:2", "first:1"))
    return robustness_section(replace(study, robustness=table, decision=decision)).markdown


def test_they_are_marked_as_looks(study: StudyFiles) -> None:
    assert "**Looks, not tests.** The study decides by NDCG@10 alone." in said(study, looks())


def test_the_kept_depth_says_what_it_loses_least_and_most_of(study: StudyFiles) -> None:
    assert "Depth 1 loses 0.6 % of HR@10 and 7.0 % of HR@1." in said(study, looks())
    gains = looks().assign(relative=looks()["relative"] + 0.01)
    assert "Depth 1 gains 0.4 % of HR@10 and loses 6.0 % of HR@1." in said(study, gains)
    power = replace(POWER, selection="first:2")
    none = decision_of(DEPTHS, sequence=("first:2", "first:1"), power=power)
    assert "Depth 2 loses 0.6 % of HR@10 and 7.0 % of HR@1." in said(study, looks(own=2), none)
    assert "HR@10 and" not in said(study, looks(), decision_of(DEPTHS))  # an older decision does not know who stopped


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([("undecided", "")] * 4, "The verdict is the same under all 4 metrics: undecided."),
        ([("keep k layers", "first:1")] * 4, "The verdict is the same under all 4 metrics: keep first:1."),
        (
            [("undecided", ""), ("keep k layers", "first:1"), ("keep k layers", "first:2"), ("undecided", "")],
            "The verdict changes with the metric: undecided under HR@1 and MRR; keep first:1 under HR@10; keep first:2",
        ),
        (
            [("keep k layers", "first:1")] * 3 + [("keep k layers", "first:2")],
            "What is kept, but not the verdict, changes with the metric: keep first:1 under HR@1, HR@10 and NDCG@10; "
            "keep first:2 under MRR.",
        ),
        ([("use the baseline", "first:1"), *[("use the baseline", "")] * 3], "same under all 4 metrics: use the base"),
    ],
)
def test_it_is_said_whether_the_answer_changes(answers: list, words: str, study: StudyFiles) -> None:
    assert words in said(study, looks(dict(zip(METRICS, answers, strict=True))))


def test_both_tables_hold_every_metric(study: StudyFiles) -> None:
    text = said(study, looks())
    assert "| **NDCG@10**, the study's | keep k layers | first:1 |" in text
    assert "| HR@1                     | keep k layers | first:1 |" in text
    assert re.search(r"\| Model +\| +HR@1 \| +HR@10 \| +NDCG@10 \| +MRR \|", text)
    _, _, *rows = [line for line in text.split("| Model")[1].splitlines() if "|" in line]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[0] for row in cells] == ["depth 1", "depth 2"]
    assert cells[0][1] == "-7.0 % [-8.0 %, -6.0 %]"
    assert cells[1][1:] == ["0.0 % [-1.0 %, +1.0 %]"] * 4


def test_one_selection_represents_each_depth() -> None:
    rows = [
        selection_row(1, "last:1"),
        selection_row(1, "first:1"),
        selection_row(2, "ends:2"),
        selection_row(4, "first:4"),
    ]
    assert representing(decision_of(rows)) == ["first:1", "ends:2"]
    assert representing(decision_of(rows, sequence=("ends:2", "last:1"))) == ["last:1", "ends:2"]


def test_the_stored_table_is_read_with_nothing_kept(own_study: Path) -> None:
    table = looks(dict.fromkeys(METRICS, ("undecided", "")))
    table.to_csv(own_study / "robustness.csv", index=False)
    read = read_study(own_study).robustness
    pd.testing.assert_frame_equal(read, table, check_dtype=False)


def test_a_damaged_table_is_refused(own_study: Path) -> None:
    looks(relative="much").to_csv(own_study / "robustness.csv", index=False)
    with pytest.raises(InputError, match="must hold numbers in the column relative; got 'much'"):
        read_study(own_study)
    looks().drop(columns="kept").to_csv(own_study / "robustness.csv", index=False)
    with pytest.raises(InputError, match="missing: kept"):
        read_study(own_study)
