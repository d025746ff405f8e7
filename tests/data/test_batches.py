"""Batches of histories: which items are read, and where."""

from __future__ import annotations

import numpy as np
import pytest

from layerprobe.data.batches import history_batch, query_batch
from layerprobe.data.sequences import Sequences
from layerprobe.data.splits import Split
from layerprobe.errors import InputError


@pytest.fixture
def two_users() -> Split:
    """User 0 met 1..6, user 1 met 7, 8, 9."""
    return Split(Sequences(np.arange(1, 10), np.array([0, 6, 9]), 9))


def test_histories_keep_their_newest_items(two_users: Split) -> None:
    queries = two_users.queries("test")
    batch = query_batch(two_users, queries, np.array([0, 1]), max_len=2)
    assert batch.items.tolist() == [[4, 5], [7, 8]]
    assert batch.targets.tolist() == [6, 9]


def test_test_history_holds_the_validation_item(two_users: Split) -> None:
    valid, test = (two_users.queries(part) for part in ("valid", "test"))
    assert (valid.ends + 1 == test.ends).all()
    assert valid.targets.tolist() == [5, 8]


def test_padding_is_on_the_right() -> None:
    batch = history_batch([np.array([3]), np.array([1, 2, 4])], max_len=8)
    assert batch.items.tolist() == [[3, 0, 0], [1, 2, 4]]
    assert batch.pos.tolist() == [0, 2]


def test_short_users_train_but_are_not_evaluated() -> None:
    split = Split(Sequences(np.array([1, 2, 3, 1, 2]), np.array([0, 3, 5]), 3))
    assert split.evaluated.tolist() == [0]
    assert split.train_counts().tolist() == [0, 2, 1, 0]  # user 0 trains on 1, user 1 on 1 and 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: history_batch([np.array([], dtype=np.int64)], 4), "at least one item"),
        (lambda: Split(Sequences(np.array([1, 2]), np.array([0, 2]), 2)), "at least 3 interactions"),
        (lambda: Sequences(np.array([0, 2]), np.array([0, 2]), 2), "must lie in"),
        (lambda: Sequences(np.array([1, 3]), np.array([0, 2]), 2), "must lie in"),
        (lambda: Sequences(np.array([1, 2]), np.array([0, 1]), 2), "offsets"),
    ],
)
def test_bad_input(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
