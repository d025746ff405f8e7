"""Batches: which items are read, which are targets, and that no batch depends on its neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerprobe.data.batches import history_batch, query_batch
from layerprobe.data.sequences import Sequences
from layerprobe.data.splits import Split
from layerprobe.data.train_batches import TrainBatches, equal_cuts
from layerprobe.errors import InputError


@pytest.fixture
def two_users() -> Split:
    """User 0 met 1..6, user 1 met 7, 8, 9."""
    return Split(Sequences(np.arange(1, 10), np.array([0, 6, 9]), 9))


def test_every_training_transition_is_a_target_once(split: Split) -> None:
    batches = TrainBatches(split, max_len=50, batch_size=7, supervision="all", seed=0)
    flat = torch.cat([batch.flat for batch in batches.epoch(0)]).numpy()
    starts, ends = split.sequences.offsets[:-1], split.train_ends
    expected = np.concatenate([np.arange(start, end - 1) for start, end in zip(starts, ends, strict=True)])
    assert sorted(flat) == sorted(expected)


def test_targets_follow_the_item_that_is_read(split: Split) -> None:
    for batch in TrainBatches(split, max_len=3, batch_size=5, supervision="all", seed=1).epoch(2):
        assert torch.equal(batch.items[batch.row, batch.pos], torch.from_numpy(split.sequences.items)[batch.flat])
        assert torch.equal(batch.targets, torch.from_numpy(split.sequences.items)[batch.flat + 1])


def test_held_out_items_are_never_trained_on(two_users: Split) -> None:
    batch = next(TrainBatches(two_users, 50, 8, "all", 0).epoch(0))
    assert sorted(batch.targets.tolist()) == [
        2,
        3,
        4,
    ]  # user 0 without 5 (valid) and 6 (test); user 1 has one item left


def test_last_supervision_has_the_last_training_item_as_only_target(two_users: Split) -> None:
    batch = next(TrainBatches(two_users, 50, 8, "last", 0).epoch(0))
    assert batch.targets.tolist() == [4]
    assert batch.items.tolist() == [[1, 2, 3]]


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


def test_batches_hold_about_equal_numbers_of_targets() -> None:
    lengths = np.random.default_rng(0).zipf(1.6, size=3000).clip(4, 60)
    split = Split(Sequences(np.ones(lengths.sum(), dtype=np.int64), np.concatenate([[0], np.cumsum(lengths)]), 2))
    batches = TrainBatches(split, max_len=50, batch_size=30, supervision="all", seed=0)
    targets = [len(batch.targets) for batch in batches.epoch(0)]
    share = sum(targets) / 100  # 3000 users in batches of 30 on average
    assert len(targets) == len(batches.plan(1)) == 100
    assert max(abs(count - share) for count in targets) <= 50  # one user more or less


@pytest.mark.parametrize(
    ("weights", "n_parts", "cuts"),
    [
        ([1, 1, 1, 1], 2, [2]),
        ([9, 1, 1, 1], 2, [1]),
        ([1, 1, 1, 9], 2, [3]),
        ([9, 1, 1], 3, [1, 2]),
        ([1, 1, 9], 3, [1, 2]),
        ([5], 1, []),
    ],
)
def test_cuts_leave_no_part_empty(weights: list[int], n_parts: int, cuts: list[int]) -> None:
    assert equal_cuts(np.array(weights), n_parts).tolist() == cuts


def test_order_of_an_epoch_depends_on_seed_and_epoch_alone(split: Split) -> None:
    def plan(seed: int, epoch: int) -> list[list[int]]:
        return [users.tolist() for users in TrainBatches(split, 8, 4, "all", seed).plan(epoch)]

    assert plan(0, 3) == plan(0, 3)
    assert plan(0, 3) != plan(0, 4)
    assert plan(0, 3) != plan(1, 3)


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
        (
            lambda: TrainBatches(Split(Sequences(np.array([1, 2, 1]), np.array([0, 3]), 2)), 4, 4, "all", 0),
            "2 training",
        ),
    ],
)
def test_bad_input(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
