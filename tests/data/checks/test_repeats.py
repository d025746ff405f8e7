"""Repeats against a count in plain Python, what is said of them, and from which share on a study refuses them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from layerprobe.data.checks.repeats import MOST_MET, repeat_lines, require_new_targets, run_note
from layerprobe.data.interactions import from_columns
from layerprobe.data.log import prepare
from layerprobe.data.order import OrderOptions
from layerprobe.data.prepare import PreparedData, load_prepared
from layerprobe.data.sources.raw import RawLog
from layerprobe.data.times.options import SplitOptions
from layerprobe.errors import InputError
from layerprobe.store.layout import FACTS

FIRST = 1_600_000_000  # a second in 2020
BY_TIME = SplitOptions("global-time", FIRST + 6, FIRST + 4, target="all")


def random_log(seed: int, with_times: bool = True) -> RawLog:
    """40 users with 3 to 9 rows of 6 items and few times, so that all kinds of repeats occur."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(40), rng.integers(3, 10, 40))
    item, time = rng.integers(0, 6, len(user)), FIRST + rng.integers(0, 8, len(user))
    shuffled = rng.permutation(len(user))
    times = time[shuffled] if with_times else None
    return RawLog(from_columns(user[shuffled], item[shuffled], times), None, ordered=True)


def counted_by_hand(data: PreparedData, times: list[int] | None) -> dict[str, int | None]:
    sequences, queries = data.split.sequences, data.split.queries("test")
    items = sequences.items.tolist()
    histories = [items[start:end] for start, end in zip(queries.starts, queries.ends, strict=True)]
    targets = queries.targets.tolist()
    users = np.repeat(np.arange(sequences.n_users), sequences.lengths).tolist()
    rows = None if times is None else list(zip(users, items, times, strict=True))
    return {
        "targets": len(targets),
        "met": sum(target in history for target, history in zip(targets, histories, strict=True)),
        "after_itself": sum(target == history[-1] for target, history in zip(targets, histories, strict=True)),
        "identical_rows": None if rows is None else len(rows) - len(set(rows)),
    }


@pytest.mark.parametrize(
    ("order", "split"),
    [
        (OrderOptions(), SplitOptions()),
        (OrderOptions(by="file"), SplitOptions()),
        (OrderOptions(), BY_TIME),
    ],
)
def test_counts_equal_a_count_by_hand(order: OrderOptions, split: SplitOptions) -> None:
    for seed in range(3):
        data = prepare(random_log(seed), order=order, split=split)
        assert data.split.times is not None
        found = data.facts["repeats"]
        assert found == counted_by_hand(data, data.split.times.tolist())
        assert min(found.values()) > 0  # all kinds do occur


def test_without_times_no_row_is_called_a_copy() -> None:
    data = prepare(random_log(0, with_times=False), order=OrderOptions(by="file"))
    assert data.facts["repeats"] == counted_by_hand(data, None)
    assert not any("equal an earlier one" in line for line in repeat_lines(data.facts["repeats"]))


def test_a_log_without_repeats_has_one_line_and_no_note() -> None:
    log = from_columns(np.array(list("aaabbb")), np.array(list("123321")), np.arange(6))
    repeats = prepare(RawLog(log, None, ordered=True)).facts["repeats"]
    assert repeat_lines(repeats) == ["repeats: 0 of 2 test targets (0.0 %) met before"]
    assert run_note(repeats) == []


def test_every_row_twice_makes_every_target_the_item_before() -> None:
    user, item = np.repeat(np.arange(10), 5), np.tile(np.arange(5), 10)
    twice = np.repeat(np.arange(50), 2)
    data = prepare(RawLog(from_columns(user[twice], item[twice], np.arange(50)[twice]), None, ordered=True))
    assert data.facts["repeats"] == {"targets": 10, "met": 10, "after_itself": 10, "identical_rows": 100 - 50}
    assert repeat_lines(data.facts["repeats"]) == [
        "repeats: 10 of 10 test targets (100.0 %) met before",
        "note: 50 rows equal an earlier one in user, item and time; preprocess.drop_identical drops such rows",
        "note: 10 test targets (100.0 %) are the item right before them",
    ]


def test_an_older_folder_is_counted_on_reading(tmp_path: Path) -> None:
    data = prepare(random_log(1), out=tmp_path / "data")
    facts = tmp_path / "data" / FACTS
    stored = json.loads(facts.read_text())
    del stored["repeats"]
    facts.write_text(json.dumps(stored))
    assert load_prepared(tmp_path / "data").facts == data.facts


@pytest.mark.parametrize(("met", "refused"), [(0, False), (10, False), (11, True), (1000, True)])
def test_more_than_one_per_cent_is_refused_with_both_remedies(met: int, refused: bool) -> None:
    assert MOST_MET == 10 / 1000
    repeats = {"targets": 1000, "met": met, "after_itself": 0, "identical_rows": 0}
    assert bool(run_note(repeats)) == refused
    if not refused:
        require_new_targets(repeats, "--data.preprocess.drop_repeats true")
        return
    with pytest.raises(InputError) as caught:
        require_new_targets(repeats, "--data.preprocess.drop_repeats true")
    text = str(caught.value)
    assert "--evaluation.remove_history false" in text
    assert "--data.preprocess.drop_repeats true" in text
    assert len(text) <= 300
