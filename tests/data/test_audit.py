"""Order audit: shares counted by hand, and the flag, the notes and the measured values of real files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from layerprobe.data.audit import OrderAudit, audit_order
from layerprobe.data.interactions import Interactions, from_columns
from layerprobe.data.order import OrderOptions, sort_rows
from layerprobe.data.sources.registry import SourceOptions, read_source


def log_of(rows: list[tuple[str, str, int]]) -> Interactions:
    user, item, time = (np.array(column) for column in zip(*rows, strict=True))
    return from_columns(user, item, time.astype(np.int64))


def test_shares_equal_a_count_by_hand() -> None:
    log = log_of(
        [
            ("a", "2", 1),  # pairs of a: 2 -> 10 equal, up by number (down as text); 10 -> 9 later, down
            ("a", "10", 1),
            ("a", "9", 5),
            ("b", "9", 3),  # pairs of b: 9 -> 9 later, no step; 9 -> 10 later, up; 10 -> 11 equal, up
            ("b", "9", 4),
            ("b", "10", 6),
            ("b", "11", 6),
            ("c", "2", 9),  # pairs of c: 2 -> 9 back in time, up
            ("c", "9", 8),
            ("c", "9", 8),  # the same item at the same time: equal, no step
        ]
    )
    audit = audit_order(log)
    assert audit.n_pairs == 2 + 3 + 2
    assert audit.equal_time == pytest.approx(3 / 7)
    assert audit.ascending_equal == pytest.approx(2 / 3)
    assert audit.ascending_different == pytest.approx(2 / 4)
    assert audit.backward == pytest.approx(1 / 7)
    assert audit.n_evaluated == 3
    assert audit.target_ties == pytest.approx(2 / 3)  # b and c
    assert audit.next_raw_id == pytest.approx(1 / 3)  # b: 10 -> 11
    # by first appearance 2, 10, 9, 11 are 0, 1, 2, 3: a ends 1 -> 2 (next), b ends 1 -> 3, c ends 2 -> 2
    assert audit.next_first_appearance == pytest.approx(1 / 3)
    assert audit.chance == pytest.approx(1 / 4)
    assert not audit.catalogue_order


def test_users_without_a_target_are_not_counted_among_targets() -> None:
    audit = audit_order(log_of([("a", "1", 1), ("a", "5", 2), ("a", "6", 3), ("b", "1", 1), ("b", "2", 1)]))
    assert (audit.n_evaluated, audit.target_ties, audit.next_raw_id) == (1, 0.0, 1.0)


def test_ids_that_are_not_all_digits_ascend_as_text() -> None:
    audit = audit_order(log_of([("a", "10", 1), ("a", "9", 2), ("a", "B1", 3)]))
    assert audit.ascending_different == pytest.approx(2 / 2)  # "10" < "9" < "B1"
    assert audit.next_raw_id is None


def test_without_times_all_pairs_count_as_different() -> None:
    log = from_columns(np.array(list("aaabb")), np.array(list("13213")))
    audit = audit_order(log)
    assert (audit.has_times, audit.equal_time, audit.ascending_equal, audit.target_ties) == (False, None, None, None)
    assert audit.ascending_different == pytest.approx(2 / 3)
    assert "no times" in audit.lines()[0]


def ramp(n_users: int, step: int, time_step: int) -> Interactions:
    """Users with 8 items each, whose ids go up (or down) by `step` and times by `time_step`."""
    rows = [
        (f"u{user}", str(1000 + 37 * user + step * place), 50 + time_step * place)
        for user in range(n_users)
        for place in range(8)
    ]
    return log_of(rows)


@pytest.mark.parametrize("step", [2, -2])
def test_catalogue_order_is_flagged_in_both_directions(step: int) -> None:
    audit = audit_order(ramp(20, step, time_step=1))
    assert audit.catalogue_order
    assert audit.lines()[0].startswith("FLAG: catalogue order")


def test_repeats_do_not_hide_catalogue_order() -> None:
    log = ramp(20, 2, 1)
    doubled = log.take(np.repeat(np.arange(len(log)), 3))
    doubled = Interactions(doubled.user, doubled.item, None, None, doubled.user_ids, doubled.item_ids)
    audit = audit_order(doubled)
    assert audit.ascending_different == pytest.approx(7 / 23)
    assert audit.catalogue_order


def test_a_handful_of_pairs_is_never_flagged() -> None:
    assert not audit_order(ramp(4, 2, 1)).catalogue_order  # 28 pairs, all ascending


def test_order_of_equal_times_is_a_note_and_no_flag() -> None:
    audit = audit_order(ramp(20, 2, time_step=0))
    assert not audit.catalogue_order
    assert any("equal time" in note and "100.0 %" in note for note in audit.notes)


def test_backward_times_are_noted() -> None:
    assert any("back in time" in note for note in audit_order(ramp(20, 2, time_step=-1)).notes)


def test_last_id_plus_one_is_noted_when_far_above_chance() -> None:
    # 20 users x 8 ids, most of them different: chance is below 1 %, every target is the last id + 1
    assert any("last raw id + 1" in note for note in audit_order(ramp(20, 1, 1)).notes)
    assert not any("last raw id + 1" in note for note in audit_order(ramp(20, 2, 1)).notes)


def test_audit_survives_json() -> None:
    import json

    audit = audit_order(ramp(20, 1, 0))
    stored = json.loads(json.dumps(audit.to_dict(), allow_nan=False))
    assert stored == audit.to_dict()
    assert OrderAudit(**stored).lines() == audit.lines()


# Shares in per cent: equal time, ascending among equal, ascending among different, target ties (related.md, F3).
MEASURED = [
    ("amazon-beauty", 43.9, 100.0, 45.4, 43.5),
    ("ml-latest-small", 15.8, 100.0, 45.9, 15.4),
    ("amazon-giftcards", 68.7, 89.6, 37.9, 63.5),
    ("ml-100k", 51.0, 50.2, 50.2, 44.0),
    ("amazon-games", 0.0, None, 50.7, 0.0),
]


def in_true_order(folder: Path) -> Interactions:
    log = read_source("table", folder, SourceOptions()).interactions
    return log.take(sort_rows(log, OrderOptions()))


@pytest.mark.parametrize(("name", "equal", "up_equal", "up_different", "ties"), MEASURED)
def test_real_logs_have_the_measured_shares_and_no_flag(
    shared_data: Path, name: str, equal: float, up_equal: float | None, up_different: float, ties: float
) -> None:
    audit = audit_order(in_true_order(shared_data / name))
    found = [audit.equal_time, audit.ascending_equal, audit.ascending_different, audit.target_ties]
    rounded = [None if share is None else round(100 * share, 1) for share in found]
    assert rounded == [equal, up_equal, up_different, ties]
    assert not audit.catalogue_order
    assert any("equal time" in note for note in audit.notes) == (up_equal is not None and up_equal > 80)


def test_beauty_sorted_by_item_id_is_flagged(shared_data: Path) -> None:
    log = in_true_order(shared_data / "amazon-beauty")
    by_id = log.take(np.lexsort((log.item_ids[log.item].astype(str), log.user)))
    without_times = Interactions(by_id.user, by_id.item, None, None, by_id.user_ids, by_id.item_ids)
    for catalogue in (by_id, without_times):
        audit = audit_order(catalogue)
        assert audit.catalogue_order
        assert audit.ascending_different == 1.0
    assert any("back in time" in note for note in audit_order(by_id).notes)


def test_games_ids_are_the_next_number_178_times_as_often_as_chance(shared_data: Path) -> None:
    audit = audit_order(in_true_order(shared_data / "amazon-games"))
    assert audit.next_raw_id is not None
    assert round(audit.next_raw_id / audit.chance) == 178
    assert round(100 * audit.next_raw_id, 1) == 1.1
    assert any("last raw id + 1" in note for note in audit.notes)
