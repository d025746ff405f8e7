"""Items drawn per step: a function of seed and step, with the expected counts that the losses divide by."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from layerprobe.data.sampled_items import ItemSampler
from layerprobe.data.splits import Split
from layerprobe.errors import InputError

COUNTS = np.array([0, 9, 0, 4, 1, 1])  # + 1: weights 10, 1, 5, 2, 2, in all 20


def uniform(n_items: int, n: int, seed: int = 0) -> ItemSampler:
    return ItemSampler(n_items, n, "uniform", None, seed)


def popular(n: int, seed: int = 0) -> ItemSampler:
    return ItemSampler(5, n, "popularity", COUNTS, seed)


def test_uniform_draws_hold_distinct_items_of_the_catalogue() -> None:
    for n in (1, 7, 50):
        drawn = uniform(50, n).draw(3)
        assert len(drawn) == n
        assert len(set(drawn.items.tolist())) == n
        assert set(drawn.items.tolist()) <= set(range(1, 51))
        assert (drawn.items.dtype, drawn.log_expected.dtype) == (torch.int64, torch.float32)


def test_every_set_of_items_is_equally_likely_in_a_uniform_draw() -> None:
    sampler, steps = uniform(5, 2), 5000
    found = dict.fromkeys(combinations(range(1, 6), 2), 0)
    for step in range(steps):
        found[tuple(sorted(sampler.draw(step).items.tolist()))] += 1
    expected, deviation = steps / 10, math.sqrt(steps * 0.1 * 0.9)
    assert max(abs(count - expected) for count in found.values()) < 5 * deviation


def test_popular_items_are_drawn_by_training_count_plus_one() -> None:
    sampler, steps, n = popular(4), 2500, 4
    found = np.zeros(6)
    for step in range(steps):
        np.add.at(found, sampler.draw(step).items.numpy(), 1)
    shares = np.array([0, 10, 1, 5, 2, 2]) / 20
    deviations = np.sqrt(steps * n * shares * (1 - shares))
    assert found[0] == 0
    assert np.all(np.abs(found - steps * n * shares)[1:] < 5 * deviations[1:])


def test_expected_counts_are_n_over_the_catalogue_or_n_times_the_share() -> None:
    assert uniform(50, 10).draw(0).log_expected.tolist() == pytest.approx([math.log(10 / 50)] * 10)
    drawn = [popular(3).draw(step) for step in range(40)]
    expected = {1: 3 * 10 / 20, 2: 3 * 1 / 20, 3: 3 * 5 / 20, 4: 3 * 2 / 20, 5: 3 * 2 / 20}
    pairs = [pair for one in drawn for pair in zip(one.items.tolist(), one.log_expected.exp().tolist(), strict=True)]
    assert {item for item, _ in pairs} == set(expected)
    assert [value for _, value in pairs] == pytest.approx([expected[item] for item, _ in pairs])


def test_mean_count_of_an_item_is_its_expected_count() -> None:
    # sum over drawn of 1 / E[count], split by item, must average 1: what makes the estimate of the softmax unbiased
    sampler, steps = popular(4), 4000
    weights = np.zeros(6)
    for step in range(steps):
        drawn = sampler.draw(step)
        np.add.at(weights, drawn.items.numpy(), np.exp(-drawn.log_expected.numpy()))
    shares = np.array([10, 1, 5, 2, 2]) / 20
    deviations = np.sqrt((1 - shares) / (4 * shares * steps))
    assert np.all(np.abs(weights[1:] / steps - 1) < 5 * deviations)


@pytest.mark.parametrize("sampling", ["uniform", "popularity"])
def test_a_draw_depends_on_seed_and_step_alone(sampling: str) -> None:
    def sampler(seed: int) -> ItemSampler:
        counts = np.r_[0, np.arange(1000)] if sampling == "popularity" else None
        return ItemSampler(1000, 20, sampling, counts, seed)  # type: ignore[arg-type]

    one = sampler(4)
    late = one.draw(9).items
    one.draw(3)
    assert torch.equal(late, one.draw(9).items)  # whatever was drawn before
    assert torch.equal(late, sampler(4).draw(9).items)  # in another process
    assert not torch.equal(late, one.draw(10).items)
    assert not torch.equal(late, sampler(5).draw(9).items)


def test_draws_are_pinned() -> None:
    # pinned: other draws on another machine or version would silently move every result trained with them
    assert uniform(1000, 5, seed=7).draw(2).items.tolist() == PINNED_UNIFORM
    assert popular(5, seed=7).draw(2).items.tolist() == PINNED_POPULAR


PINNED_UNIFORM = [328, 829, 988, 389, 704]
PINNED_POPULAR = [1, 4, 5, 1, 3]


def test_a_draw_of_the_whole_catalogue_holds_every_item_once() -> None:
    drawn = uniform(30, 30).draw(1)
    assert sorted(drawn.items.tolist()) == list(range(1, 31))
    assert drawn.log_expected.tolist() == [0.0] * 30


def test_counts_of_a_split_fit(split: Split) -> None:
    drawn = ItemSampler(12, 6, "popularity", split.train_counts(), 0).draw(0)
    weights = split.train_counts()[1:] + 1
    expected = np.log(6 * weights[drawn.items.numpy() - 1] / weights.sum())
    np.testing.assert_allclose(drawn.log_expected.numpy(), expected, rtol=1e-6)


def test_a_draw_moves_to_a_device_whole() -> None:
    moved = uniform(9, 4).draw(0).to(torch.device("meta"))
    assert (moved.items.device.type, moved.log_expected.device.type) == ("meta", "meta")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((5, 6, "uniform", None, 0), r"must lie in 1\.\.5, .*; got 6"),
        ((5, 6, "popularity", COUNTS, 0), r"must lie in 1\.\.5, .*; got 6"),
        ((5, 0, "uniform", None, 0), "got 0"),
        ((5, 2, "uniform", None, -1), "seed must not be negative; got -1"),
        ((5, 2, "random", None, 0), "uniform or popularity; got 'random'"),
        ((5, 2, "popularity", None, 0), "got popularity with no counts"),
        ((5, 2, "uniform", COUNTS, 0), "got uniform with counts"),
        ((4, 2, "popularity", COUNTS, 0), r"must be 5 integers, .*got shape \(6,\)"),
        ((5, 2, "popularity", COUNTS / 2, 0), "integers, .*float64"),
        ((5, 2, "popularity", COUNTS - np.eye(6, dtype=int)[2], 0), "not be negative, .*got -1 as the smallest"),
        ((5, 2, "popularity", COUNTS + 1, 0), "as the smallest and 1 for padding"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments: tuple, part: str) -> None:
    with pytest.raises(InputError, match=part) as caught:
        ItemSampler(*arguments)
    assert "\n" not in str(caught.value)
