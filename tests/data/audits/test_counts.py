"""Repeats against a count in plain Python, what is said of them, and from which share on a study refuses them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from layerprobe.data.audits.repeats import MOST_MET, Repeats, repeats_of
from layerprobe.data.interactions import from_columns
from layerprobe.data.log import prepare
from layerprobe.data.order import OrderOptions
from layerprobe.data.prepare import PreparedData, load_prepared
from layerprobe.data.sources.raw import RawLog
from layerprobe.data.times.options import SplitOptions
from layerprobe.errors import InputError
from layerprobe.store.layout import FACTS
from layerprobe.store.run_folder import DONE

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
    asked = data.split.queries("valid")
    before = [items[start:end] for start, end in zip(asked.starts, asked.ends, strict=True)]
    users = np.repeat(np.arange(sequences.n_users), sequences.lengths).tolist()
    rows = None if times is None else list(zip(users, items, times, strict=True))
    return {
        "targets": len(targets),
        "met_before": sum(target in history for target, history in zip(targets, histories, strict=True)),
        "same_as_last": sum(target == history[-1] for target, history in zip(targets, histories, strict=True)),
        "rows": len(items),
        "identical": None if rows is None else len(rows) - len(set(rows)),
        "valid_targets": len(before),
        "valid_met_before": sum(item in history for item, history in zip(asked.targets.tolist(), before, strict=True)),
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
    assert not any("equal an earlier row" in note for note in data.facts["audit"]["notes"])


def test_a_log_without_repeats_has_no_note() -> None:
    log = from_columns(np.array(list("aaabbb")), np.array(list("123321")), np.arange(6))
    repeats = repeats_of(prepare(RawLog(log, None, ordered=True)).facts)
    assert repeats == Repeats(targets=2, met_before=0, same_as_last=0, rows=6, identical=0, valid_targets=2)
    assert repeats.notes() == []


def test_an_older_folder_is_counted_on_reading(tmp_path: Path) -> None:
    data = prepare(random_log(1), out=tmp_path / "data")
    facts = tmp_path / "data" / FACTS
    stored = json.loads(facts.read_text())
    notes = repeats_of(stored).notes()
    assert len(notes) == 4
    del stored["repeats"]
    stored["audit"]["notes"] = [note for note in stored["audit"]["notes"] if note not in notes]
    facts.write_text(json.dumps(stored))
    (tmp_path / "data" / DONE).unlink()  # older versions wrote no hashes
    assert load_prepared(tmp_path / "data").facts == data.facts


@pytest.mark.parametrize(("met", "refused"), [(0, False), (10, False), (11, True), (1000, True)])
def test_more_than_one_per_cent_is_refused_with_both_remedies(met: int, refused: bool) -> None:
    assert MOST_MET == 10 / 1000
    repeats = Repeats(targets=1000, met_before=met, same_as_last=0, rows=5000, identical=0)
    assert any("refuses this log" in note for note in repeats.notes()) == refused
    if not refused:
        repeats.require_few_met()
        return
    with pytest.raises(InputError) as caught:
        repeats.require_few_met()
    text = str(caught.value)
    assert "evaluation.remove_history to false" in text
    assert "data.preprocess.drop_repeats true" in text
    assert len(text) <= 300
