"""Markov-1 of the past against a loop over targets and training rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from layerprobe.data.batches import query_batch
from layerprobe.data.catalogue import Catalogue
from layerprobe.data.sequences import Sequences
from layerprobe.data.splits import PARTS, Part, Split
from layerprobe.data.times.cuts import TimeCuts
from layerprobe.recommender.baselines import Markov1, PastMarkov1, floors


def timed_split(seed: int) -> Split:
    """Thirty users over nine items; days are few, so many rows share a time, also inside a user."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 9, 30)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    times = np.concatenate([np.sort(generator.integers(0, 12, n)) + 100 + generator.integers(40) for n in lengths])
    return Split(Sequences(generator.integers(1, 10, offsets[-1]), offsets, 10), times=times)


def scored(floor: Markov1 | PastMarkov1, split: Split, part: Part, rows: np.ndarray) -> np.ndarray:
    (scores,) = floor.scores(query_batch(split, split.queries(part), rows, floor.max_len))
    return scores.numpy()


def by_hand(split: Split, part: Part, row: int) -> np.ndarray:
    """Returns the scores of one target from the training rows before it, one after the other."""
    queries, sequences, times = split.queries(part), split.sequences, split.times
    assert times is not None
    end = queries.ends[row]
    counts, pairs = np.zeros(11), np.zeros(11)
    for user in range(sequences.n_users):
        for place in range(sequences.offsets[user], split.train_ends[user]):
            if times[place] >= times[end]:
                continue
            counts[sequences.items[place]] += 1
            if place > sequences.offsets[user] and sequences.items[place - 1] == sequences.items[end - 1]:
                pairs[sequences.items[place]] += 1
    return np.where(pairs > 0, pairs, (counts / (counts.max() + 1)).astype(np.float32))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("part", PARTS)
def test_scores_are_those_of_a_loop(seed: int, part: Part) -> None:
    split = timed_split(seed)
    floor, rows = PastMarkov1(split), np.random.default_rng(1).permutation(len(split.queries(part)))
    np.testing.assert_array_equal(scored(floor, split, part, rows), [by_hand(split, part, row) for row in rows])


def test_where_all_training_is_earlier_it_is_markov_1() -> None:
    split = timed_split(5)
    targets = np.zeros(len(split.sequences.items), dtype=bool)
    for part in PARTS:
        targets[split.queries(part).ends] = True
    assert split.times is not None
    late = replace(split, times=np.where(targets, 10_000, split.times))
    rows = np.arange(len(late.queries("test")))
    usual, past = (scored(floor(late), late, "test", rows) for floor in (Markov1, PastMarkov1))
    assert np.array_equal(usual, past)


def test_before_the_first_row_nothing_is_known() -> None:
    split = timed_split(6)
    assert split.times is not None
    first = split.queries("test").ends[:1]
    times = split.times.copy()
    times[first] = 0
    early = replace(split, times=times)
    assert not scored(PastMarkov1(early), early, "test", np.array([0])).any()


def test_without_a_pair_popularity_is_left() -> None:
    split = Split(Sequences(np.array([1, 2, 3, 4, 2, 1]), np.array([0, 3, 6]), 4), times=np.array([1, 5, 6, 2, 7, 8]))
    found = scored(PastMarkov1(split), split, "test", np.array([0, 1]))
    assert torch.equal(torch.from_numpy(found), torch.tensor([[0, 0.5, 0, 0, 0.5], [0, 0.5, 0, 0, 0.5]]))


def test_it_is_made_for_leave_one_out_with_times_alone() -> None:
    split, catalogue = timed_split(7), Catalogue(np.array([f"i{k}" for k in range(10)], dtype=object), None)
    names = {floor.names[0] for floor in floors(split, catalogue)}
    assert "markov-1-past" in names
    assert split.times is not None
    middle = TimeCuts(int(np.quantile(split.times, 0.4)), int(np.quantile(split.times, 0.7)), "all", "keep")
    for other in (replace(split, times=None), replace(split, cuts=middle)):
        assert {floor.names[0] for floor in floors(other, catalogue)} == names - {"markov-1-past"}
