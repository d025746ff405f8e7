"""The option that drops copied rows: which rows go, where it is refused, and what it does to the hash of a study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_study import write_study

from layerprobe.data.interactions import Interactions, from_columns
from layerprobe.data.log import prepare
from layerprobe.data.preprocess import PreprocessOptions, preprocess
from layerprobe.data.sources.raw import RawLog
from layerprobe.errors import InputError
from layerprobe.stages.data import data_key
from layerprobe.study.parser import load_spec

PLAIN_KEY = "bcb4466920a7d5c91b36c52438e591d0cffa633eea72667c2f254e4c218c1dae"
"""Of a table study without the option, as the version before it had it."""


def walk(seed: int) -> Interactions:
    """30 users with 8 items at 8 times; items come back at other times."""
    rng = np.random.default_rng(seed)
    return from_columns(np.repeat(np.arange(30), 8), rng.integers(0, 5, 240), np.tile(np.arange(8), 30) + 100)


def rows_of(log: Interactions) -> list[tuple[str, str, int]]:
    assert log.timestamp is not None
    users, items = log.user_ids[log.user].tolist(), log.item_ids[log.item].tolist()
    return list(zip(users, items, log.timestamp.tolist(), strict=True))


def test_the_first_of_equal_rows_stays_and_repeats_at_another_time_too() -> None:
    user, item = np.array(list("aaaaabb")), np.array(list("xyxxyxx"))
    log = from_columns(user, item, np.array([1, 1, 1, 2, 1, 1, 2]), np.arange(7.0))
    kept, counts = preprocess(log, PreprocessOptions(drop_identical=True))
    assert rows_of(kept) == [("a", "x", 1), ("a", "y", 1), ("a", "x", 2), ("b", "x", 1), ("b", "x", 2)]
    assert kept.rating is not None
    assert kept.rating.tolist() == [0, 1, 3, 5, 6]
    assert counts[-1].step == "rows equal in user, item and time dropped, first kept"
    assert counts[-1].interactions == 7 - 2


@pytest.mark.parametrize("seed", range(3))
def test_a_log_with_every_row_twice_becomes_the_log_itself(seed: int) -> None:
    once = walk(seed)
    twice = RawLog(once.take(np.tile(np.arange(240), 2)), None, ordered=True)
    expected = prepare(RawLog(once, None, ordered=True))
    found = prepare(twice, preprocess=PreprocessOptions(drop_identical=True))
    np.testing.assert_array_equal(found.split.sequences.items, expected.split.sequences.items)
    assert found.facts["repeats"] == expected.facts["repeats"]
    assert prepare(twice).facts["repeats"]["identical"] == 240


def test_copies_are_gone_before_a_core_is_counted() -> None:
    user, item = np.array(list("aabbccc")), np.array(list("xxxyxyy"))
    log = from_columns(user, item, np.array([1, 1, 1, 2, 1, 2, 3]))
    core = PreprocessOptions(filter="k-core", min_user=2, drop_identical=True)
    assert rows_of(preprocess(log, core)[0]) == [row for row in rows_of(log) if row[0] != "a"]


def test_it_needs_times_and_is_refused_beside_drop_repeats() -> None:
    without = from_columns(np.array(list("aaa")), np.array(list("xxx")))
    with pytest.raises(InputError, match="drop_identical compares times, and the log has none"):
        preprocess(without, PreprocessOptions(drop_identical=True))
    with pytest.raises(InputError, match="drop_identical has no effect beside drop_repeats"):
        PreprocessOptions(drop_identical=True, drop_repeats=True)


def test_a_study_keeps_its_hash_where_the_option_is_not_used(tmp_path: Path) -> None:
    plain, off, on = (
        load_spec(write_study(tmp_path, data={"source": "table", "path": "log.csv", **more}), []).data
        for more in ({}, {"preprocess": {"drop_identical": False}}, {"preprocess": {"drop_identical": True}})
    )
    assert data_key(plain) == data_key(off) == PLAIN_KEY
    assert data_key(plain) != data_key(on)
