"""Leave-one-out by hand, and that what every batch asks for is computed once."""

from __future__ import annotations

import numpy as np

from layerprobe.data.sequences import Sequences
from layerprobe.data.splits import Split

LENGTHS = np.array([2, 3, 5, 1])


def hand_split() -> Split:
    return Split(Sequences(np.arange(1, 12), np.concatenate([[0], np.cumsum(LENGTHS)]), 11))


def test_two_items_are_held_out_of_users_with_at_least_three() -> None:
    split = hand_split()
    assert split.evaluated.tolist() == [1, 2]
    assert split.train_ends.tolist() == [2, 5 - 2, 10 - 2, 11]
    assert split.queries("valid").targets.tolist() == [4, 9]
    assert split.queries("test").targets.tolist() == [5, 10]


def test_a_batch_does_not_cost_a_pass_over_all_users() -> None:
    split = hand_split()
    assert split.evaluated is split.evaluated
    assert split.train_ends is split.train_ends
