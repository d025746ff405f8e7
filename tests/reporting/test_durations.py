"""Readable times: exact where the log knows days alone, rounded else, and never two groups under one name."""

from __future__ import annotations

import pandas as pd
import pytest

from layerprobe.evaluation.slices import recency_cuts
from layerprobe.reporting.words.durations import readable_times, with_readable_times

DAY = 86_400


@pytest.mark.parametrize(
    ("groups", "names"),
    [
        # Whole days: the end of a group is a user's own gap, and the next group begins a second later.
        ([f"0-{3 * DAY} s", f"{3 * DAY + 1}-{30 * DAY} s"], ["0-3 days", "4-30 days"]),
        (["0 s", f"1-{DAY} s", f"{DAY + 1}-{2 * DAY} s"], ["0 days", "1 day", "2 days"]),
        ([f"{2 * DAY}-{3 * DAY} s", f"{3 * DAY + 1}-{9 * DAY} s"], ["2-3 days", "4-9 days"]),
        ([f"0-{DAY * 1000} ms", f"{DAY * 1000 + 1}-{5 * DAY * 1000} ms"], ["0-1 days", "2-5 days"]),
        # One bound within a day: all are times of day, and each takes the unit it fills.
        (["0 s", f"1-{DAY} s", f"{DAY + 1}-{2 * DAY + 5} s"], ["0 s", "1 s-24 h", "24 h-2.0 days"]),
        (["0-119 s", "120-7199 s", "7200-172799 s"], ["0-119 s", "2-120 min", "2-48 h"]),
        (["250-1500 ms", "1501-90000 ms"], ["0.2-1.5 s", "1.5-90 s"]),
        # Rounding would give two groups one name.
        (["10000-10001 ms", "10002-10003 ms"], ["10000-10001 ms", "10002-10003 ms"]),
        # No unit: the log's own numbers.
        (["0", "1-900", "901-86400"], ["0", "1-900", "901-86400"]),
    ],
)
def test_groups_of_times_get_names_for_readers(groups: list[str], names: list[str]) -> None:
    assert readable_times(groups) == dict(zip(groups, names, strict=True))


def test_names_of_cut_days_say_which_days_are_inside() -> None:
    gaps = pd.Series([0, 0, 1, 2, 5, 7, 20, 400])
    cuts = recency_cuts(gaps.to_numpy() * DAY, "s")
    names = list(readable_times(cuts.groups).values())
    assert names == ["0 days", "1-2 days", "3-7 days", "8-400 days"]
    ends = [[int(end) for end in name.split()[0].split("-")] for name in names]
    assert [int(gaps.between(inside[0], inside[-1]).sum()) for inside in ends] == list(cuts.n_rows)


def test_only_groups_by_recency_are_renamed() -> None:
    table = pd.DataFrame({"slice": ["history_length", "recency", "recency"], "group": ["5 s", "0 s", f"1-{DAY} s"]})
    assert with_readable_times(table)["group"].tolist() == ["5 s", "0 days", "1 day"]
    assert table["group"].tolist()[1] == "0 s"
