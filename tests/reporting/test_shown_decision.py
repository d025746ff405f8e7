"""A decision in a notebook, and its verdict in a few words."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fake_decision import decision_of, floor_row, selection_row

from layerprobe.store.decision import DecisionRecord

ROWS = [selection_row(1, "first:1"), selection_row(2, "first:2"), selection_row(4, "first:4")]
FLOORS = (floor_row("sasrec"), floor_row("popularity"))
KEEP = {"verdict": "keep k layers", "depth": 2, "selection": "first:2"}
USE = {"verdict": "use the baseline", "baseline": "sasrec", "depth": 1, "selection": "first:1"}


def decision(**changes: Any) -> DecisionRecord:
    return decision_of(ROWS, FLOORS, **changes)


def bold_rows(shown: str) -> list[str]:
    """First cells of the rows that are marked."""
    return re.findall(r'<tr style="font-weight:bold"><td [^>]*>([^<]*)</td>', shown)


@pytest.mark.parametrize(
    ("changes", "told", "marked"),
    [
        (KEEP, "keep 2 of 4 layers", ["first:2"]),
        (USE, "use the baseline SASRec", ["SASRec"]),
        ({"verdict": "undecided"}, "undecided", []),
        ({"verdict": "the full model is needed"}, "the full model is needed", ["first:4"]),
        (KEEP | {"exploratory": True}, "keep 2 of 4 layers (exploratory, one training seed)", ["first:2"]),
    ],
)
def test_the_verdict_comes_first_and_what_to_use_is_marked(changes: dict, told: str, marked: list) -> None:
    record = decision(**changes)
    shown = record._repr_html_()
    assert record.told == told
    assert shown.index(f"Verdict: {told}") < shown.index("made up") < shown.index("<table")
    assert bold_rows(shown) == marked


def test_other_selections_are_named() -> None:
    rows = [selection_row(2, "keep:0,3"), ROWS[-1]]
    kept = decision_of(rows, **(KEEP | {"selection": "keep:0,3"}))
    assert kept.told == "keep 2 of 4 layers (keep:0,3)"


def test_an_older_decision_shows_what_it_chose_and_no_verdict() -> None:
    shown = decision(depth=1, selection="first:1")._repr_html_()
    assert "Verdict:" not in shown
    assert bold_rows(shown) == ["first:1"]
    assert bold_rows(decision()._repr_html_()) == []
