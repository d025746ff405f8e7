"""Order of a user's rows: by time or file, and the rule for equal times."""

from __future__ import annotations

import numpy as np
import pytest

from layerprobe.data.interactions import Interactions, from_columns
from layerprobe.data.order import OrderOptions, order_rule, row_hashes, sort_rows
from layerprobe.errors import InputError


def log_of(rows: list[tuple[str, str, int]]) -> Interactions:
    user, item, time = (np.array(column) for column in zip(*rows, strict=True))
    return from_columns(user, item, time.astype(np.int64))


MIXED = log_of([("b", "x", 5), ("a", "y", 9), ("b", "z", 1), ("a", "w", 9), ("b", "y", 5), ("a", "x", 2)])


def test_time_order_groups_users_by_their_first_row_and_is_stable_inside_equal_times() -> None:
    # b comes first in the file: z at 1, then x and y of time 5 in file order; a: x at 2, then y and w of time 9
    assert sort_rows(MIXED, OrderOptions()).tolist() == [2, 0, 4, 5, 1, 3]


def test_file_order_only_groups_users() -> None:
    assert sort_rows(MIXED, OrderOptions(by="file")).tolist() == [0, 2, 4, 1, 3, 5]


def test_users_follow_their_first_row_whatever_their_codes() -> None:
    taken = MIXED.take(np.array([1, 3, 0]))  # user a, code 1, now comes first
    assert sort_rows(taken, OrderOptions(by="file")).tolist() == [0, 1, 2]


@pytest.mark.parametrize("ties", ["file", "hash"])
def test_time_order_equals_a_sort_by_tuple(ties: str) -> None:
    generator = np.random.default_rng(3)
    log = from_columns(
        generator.integers(0, 9, 500), generator.integers(0, 50, 500), generator.integers(0, 6, 500) * 86400
    )
    options = OrderOptions(ties=ties, salt=7 if ties == "hash" else 0)  # type: ignore[arg-type]
    hashes = row_hashes(log, 7) if ties == "hash" else np.zeros(len(log))
    assert log.timestamp is not None
    first_row = {user: int(np.flatnonzero(log.user == user)[0]) for user in range(9)}
    key = [(first_row[log.user[row]], log.timestamp[row], hashes[row], row) for row in range(500)]
    assert sort_rows(log, options).tolist() == sorted(range(500), key=key.__getitem__)


def test_hash_moves_only_rows_of_equal_time_and_depends_on_the_salt() -> None:
    items = [f"i{number}" for number in range(40)]
    log = log_of([("u", item, number // 20) for number, item in enumerate(items)])
    orders = [sort_rows(log, OrderOptions(ties="hash", salt=salt)) for salt in (1, 2)]
    for order in orders:
        assert sorted(order[:20]) == list(range(20))
        assert order.tolist() != list(range(40))
    assert orders[0].tolist() != orders[1].tolist()


def test_hash_of_a_row_is_pinned_and_does_not_depend_on_the_log() -> None:
    # pinned: another value on another machine or version would silently move every ties = hash result
    alone, second = log_of([("u", "B004756YJA", 0)]), log_of([("v", "x", 0), ("u", "B004756YJA", 5)])
    assert row_hashes(alone, 0).tolist() == [PINNED]
    assert row_hashes(second, 0)[1] == PINNED
    assert row_hashes(alone, 1)[0] != PINNED


def test_hash_gives_every_user_an_order_of_its_own() -> None:
    log = log_of([(f"u{user}", item, 0) for user in range(200) for item in ("a", "b")])
    ranks = row_hashes(log, 0).reshape(200, 2)
    assert 70 <= np.count_nonzero(ranks[:, 0] < ranks[:, 1]) <= 130  # a fair coin, five standard deviations


PINNED = 6270314920978107727


def test_rule_names_what_decides_equal_times() -> None:
    rules = {order_rule(options) for options in (OrderOptions(), OrderOptions("file"), OrderOptions("time", "hash", 3))}
    assert len(rules) == 3
    assert "salt 3" in order_rule(OrderOptions("time", "hash", 3))
    assert "equal time in file order" in order_rule(OrderOptions())


def test_time_order_of_a_log_without_times_is_refused() -> None:
    log = from_columns(np.array(["a"]), np.array(["x"]))
    with pytest.raises(InputError, match="set order by = file"):
        sort_rows(log, OrderOptions())


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"by": "random"}, "OrderOptions.by must be one of 'time', 'file'"),
        ({"ties": "random"}, "OrderOptions.ties must be one of 'file', 'hash'"),
        ({"by": "file", "ties": "hash"}, "by = time"),
        ({"salt": 3}, "needs ties = hash"),
        ({"ties": "hash", "salt": -1}, "salt must be at least 0; got -1"),
    ],
)
def test_options_that_would_be_ignored_are_refused(options: dict, part: str) -> None:
    with pytest.raises(InputError, match=part):
        OrderOptions(**options)
