from __future__ import annotations

import numpy as np
import pytest

from layerprobe.data.sequences import Sequences
from layerprobe.data.splits import Split
from layerprobe.errors import InputError
from layerprobe.evaluation import negatives
from layerprobe.evaluation.negatives import BLOCK, distinct_items, sampled_negatives


def random_split(n_users: int, n_items: int, longest: int = 9, seed: int = 0) -> Split:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(3, longest, size=n_users)
    items = generator.integers(1, n_items + 1, size=int(lengths.sum()))
    return Split(Sequences(items, np.concatenate([[0], np.cumsum(lengths)]), n_items))


def met(split: Split, query: int) -> set[int]:
    user = split.evaluated[query]
    offsets = split.sequences.offsets
    return set(split.sequences.items[offsets[user] : offsets[user + 1]].tolist())


# The last size needs codes of 64 bits: 5,000,000 * 2 ** 9 > 2 ** 31.
@pytest.mark.parametrize(("n_items", "n"), [(200, 20), (30, 20), (5_000_000, 300)])
def test_negatives_are_distinct_items_that_the_user_never_met(n_items: int, n: int) -> None:
    split = random_split(40, n_items)
    drawn = sampled_negatives(split, "test", n, seed=0, rows=np.arange(40))
    assert drawn.shape == (40, n)
    assert drawn.min() >= 1
    assert drawn.max() <= n_items
    for query, row in enumerate(drawn):
        assert len(set(row.tolist())) == n
        assert not set(row.tolist()) & met(split, query)


def test_a_user_gets_the_same_negatives_whoever_is_asked_with_it() -> None:
    split = random_split(2 * BLOCK + 30, 500)
    every = sampled_negatives(split, "test", 50, seed=1, rows=np.arange(2 * BLOCK + 30))
    some = np.array([2 * BLOCK + 3, 5, BLOCK, 5, BLOCK - 1])
    np.testing.assert_array_equal(sampled_negatives(split, "test", 50, seed=1, rows=some), every[some])


def test_seed_part_and_block_give_other_negatives() -> None:
    lengths = np.full(2 * BLOCK, 3)
    split = Split(Sequences(np.tile([1, 2, 3], 2 * BLOCK), np.concatenate([[0], np.cumsum(lengths)]), 500))
    rows = np.arange(2 * BLOCK)
    first = sampled_negatives(split, "test", 50, seed=1, rows=rows)
    assert (first != sampled_negatives(split, "test", 50, seed=2, rows=rows)).mean() > 0.9
    assert (first != sampled_negatives(split, "valid", 50, seed=1, rows=rows)).mean() > 0.9
    assert (first[:BLOCK] != first[BLOCK:]).mean() > 0.9


# Few of many items are drawn with replacement and cleaned; many of few are the head of a permutation.
@pytest.mark.parametrize(("n_items", "n"), [(40, 8), (12, 6)])
def test_every_unmet_item_is_drawn_equally_often_at_every_position(n_items: int, n: int) -> None:
    n_users = 20_000
    split = Split(Sequences(np.tile([1, 2, 3], n_users), np.arange(0, 3 * n_users + 1, 3), n_items))
    drawn = sampled_negatives(split, "test", n, seed=0, rows=np.arange(n_users))
    for position in (0, n - 1):
        counts = np.bincount(drawn[:, position], minlength=n_items + 1)
        expected = n_users / (n_items - 3)
        assert counts[:4].sum() == 0
        assert np.abs(counts[4:] - expected).max() < 4.5 * np.sqrt(expected)
    pairs = np.bincount(drawn[:, 0] * (n_items + 1) + drawn[:, 1])
    pairs = pairs[pairs > 0]
    assert len(pairs) == (n_items - 3) * (n_items - 4)
    assert np.abs(pairs - pairs.mean()).max() < 5 * np.sqrt(pairs.mean())


def test_a_block_that_ran_out_of_fresh_draws_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negatives, "SLACK", -8.0)
    split = random_split(10, 500)
    drawn = sampled_negatives(split, "test", 100, seed=0, rows=np.arange(10))
    assert all(len(set(row.tolist()) - met(split, query)) == 100 for query, row in enumerate(drawn))


def test_all_unmet_items_can_be_asked_for_and_one_more_is_refused() -> None:
    split = Split(Sequences(np.array([1, 2, 3, 4, 4, 2, 1]), np.array([0, 4, 7]), 9))
    drawn = sampled_negatives(split, "test", 5, seed=0, rows=np.array([0]))
    assert sorted(drawn[0].tolist()) == [5, 6, 7, 8, 9]
    with pytest.raises(InputError, match="met 4 of 9 items; set evaluation.sampled to at most 5, or to null"):
        sampled_negatives(split, "test", 6, seed=0, rows=np.array([0]))


def test_at_least_one_negative_must_be_asked_for() -> None:
    with pytest.raises(InputError, match="at least 1; got 0"):
        sampled_negatives(random_split(3, 50), "test", 0, seed=0, rows=np.arange(3))


def test_distinct_items_are_listed_once_per_stretch() -> None:
    sequences = Sequences(np.array([5, 2, 5, 9, 2, 2]), np.array([0, 4, 6]), 9)
    row, item = distinct_items(sequences, np.array([0, 4, 1]), np.array([4, 6, 3]))
    assert row.tolist() == [0, 0, 0, 1, 2, 2]
    assert item.tolist() == [2, 5, 9, 2, 2, 5]


def test_items_that_agree_in_their_lower_bits_are_not_confused() -> None:
    draws = np.array([[5, 5 + 2**30, 7, 5]])
    fresh = negatives._first_occurrences(np.array([[7]]), draws)
    assert fresh.tolist() == [[True, True, False, False]]
