"""Recency: the time between the two last rows of each evaluated user, whatever the rows of other users are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from layerprobe.data.interactions import from_columns
from layerprobe.data.order import OrderOptions
from layerprobe.data.prepare import DataOptions, prepare_log
from layerprobe.data.recency import Recency, read_recency, recency, time_unit
from layerprobe.data.sequences import Sequences
from layerprobe.data.sources.raw import RawLog
from layerprobe.data.splits import Split
from layerprobe.errors import InputError

DAY = 86_400
START = 1_400_000_000


def prepared(folder: Path, rows: list[tuple[str, str, int]], order: OrderOptions | None = None) -> Split:
    """Writes the data folder of a log in file order and returns its split."""
    users, items, times = (np.array(values) for values in zip(*rows, strict=True))
    log = RawLog(from_columns(users, items, times), None, ordered=True)
    return prepare_log(log, DataOptions("table", folder, order=order or OrderOptions()), folder).split


LOG = [
    ("b", "i1", START),
    ("a", "i1", START + 50),
    ("b", "i2", START + 7 * DAY),  # the target of b, though the file holds older rows of b below
    ("a", "i2", START + 20),
    ("short", "i1", START),
    ("b", "i3", START + 4 * DAY),
    ("a", "i3", START + 50),
    ("tied", "i1", START),
    ("tied", "i2", START),
    ("tied", "i3", START),
    ("short", "i2", START + 9),
]


def test_gaps_are_between_the_last_two_rows_in_order_of_time(tmp_path: Path) -> None:
    split = prepared(tmp_path, LOG)
    found = read_recency(tmp_path, split)
    assert found is not None
    # Users in order of their first row: b, a, short (not evaluated: two items), tied.
    assert found.users.tolist() == [0, 1, 3]
    assert found.gaps.tolist() == [(7 - 4) * DAY, 50 - 50, 0]
    assert found.unit == "s"


def test_gaps_are_of_the_target_that_was_ranked(tmp_path: Path) -> None:
    split = prepared(tmp_path, LOG)
    times = {(user, item): time for user, item, time in LOG}
    items = pd.read_parquet(tmp_path / "items.parquet").set_index("index")["item"]
    found, queries = read_recency(tmp_path, split), split.queries("test")
    assert found is not None
    users = ["b", "a", "short", "tied"]
    for position, (user, end) in enumerate(zip(queries.users, queries.ends, strict=True)):
        target, last = (items[split.sequences.items[row]] for row in (end, end - 1))
        assert found.gaps[position] == times[users[user], target] - times[users[user], last]


def test_gaps_are_joined_by_user_whatever_the_order_of_rows() -> None:
    found = Recency(np.array([0, 1, 3]), np.array([30, 10, 20]), "")
    ranks = pd.DataFrame({"user": np.array([3, 0, 1, 3], dtype=np.int32), "target": 1})
    joined = found.beside(ranks)
    assert joined["recency"].tolist() == [20, 30, 10, 20]
    assert "recency" not in ranks


def test_a_log_without_times_has_no_recency(tmp_path: Path) -> None:
    split = prepared(tmp_path, LOG)
    path = tmp_path / "interactions.parquet"
    pd.read_parquet(path).drop(columns="timestamp").to_parquet(path)
    assert read_recency(tmp_path, split) is None


def test_a_target_older_than_the_item_before_it_leaves_no_recency(tmp_path: Path) -> None:
    split = prepared(tmp_path, LOG, OrderOptions(by="file"))  # b ends with the row of day 4 after that of day 7
    assert read_recency(tmp_path, split) is None


def test_interactions_of_another_run_are_refused(tmp_path: Path) -> None:
    split = prepared(tmp_path, LOG)
    path = tmp_path / "interactions.parquet"
    pd.read_parquet(path).iloc[:-1].to_parquet(path)
    with pytest.raises(InputError, match="a row for each of the 11 items of the sequences beside it; it has 10"):
        read_recency(tmp_path, split)


def test_positions_as_times_give_one_gap_for_all() -> None:
    split = Split(Sequences(np.arange(1, 10), np.array([0, 3, 9]), 9))
    found = recency(np.array([0, 1, 2, 0, 1, 2, 3, 4, 5]), split)
    assert found is not None
    assert (found.gaps.tolist(), found.unit) == ([1, 1], "")


@pytest.mark.parametrize(
    ("times", "unit"),
    [
        ([315_532_800, 4_102_444_800], "s"),
        ([315_532_799, 1_400_000_000], ""),
        ([1_400_000_000, 4_102_444_801], ""),
        ([1_400_000_000_000, 1_400_000_000_001], "ms"),
        ([1_400_000_000, 1_400_000_000_000], ""),
        ([1997, 2014], ""),
    ],
)
def test_times_are_taken_for_a_calendars_only_where_all_of_them_fit(times: list[int], unit: str) -> None:
    assert time_unit(np.array(times)) == unit
