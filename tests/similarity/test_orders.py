"""From importance to kept layers."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from layerprobe.errors import InputError
from layerprobe.similarity.orders import greedy_order, kept_by_order, kept_by_runs, removal_order


def test_the_least_important_layer_goes_first_and_of_equals_the_deepest() -> None:
    assert removal_order([0.4, 0.1, 0.3, 0.2]) == [1, 3, 2, 0]
    assert removal_order([0.0, 0.5, 0.0, 0.0]) == [3, 2, 0, 1]
    assert removal_order(np.array([])) == []


def test_a_layer_without_a_value_is_refused_and_never_looks_removable() -> None:
    with pytest.raises(InputError, match="layer 1 has none"):
        removal_order([0.1, np.nan, 0.2])


def test_kept_layers_of_an_order_are_nested() -> None:
    kept = kept_by_order([3, 1, 0, 2])
    assert kept == [[], [2], [0, 2], [0, 1, 2], [0, 1, 2, 3]]


def slow_runs(distances: np.ndarray) -> list[list[int]]:
    """For each depth every run is tried, the last of the best wins."""
    n_layers, kept = len(distances) - 1, []
    for depth in range(n_layers + 1):
        length = n_layers - depth
        best = min((distances[start, start + length], -start) for start in range(depth + 1))
        gone = range(-best[1], -best[1] + length)
        kept.append([layer for layer in range(n_layers) if layer not in gone])
    return kept


@pytest.mark.parametrize("n_layers", [1, 2, 5, 8])
def test_the_run_with_the_smallest_distance_goes(n_layers: int) -> None:
    generator = np.random.default_rng(n_layers)
    for decimals in (1, 6):  # one decimal makes ties
        distances = generator.random((n_layers + 1, n_layers + 1)).round(decimals)
        kept = kept_by_runs(distances)
        assert kept == slow_runs(distances)
        assert [len(layers) for layers in kept] == list(range(n_layers + 1))


def test_greedy_removal_never_looks_at_a_set_twice_and_finds_what_additive_worth_says() -> None:
    weights, asked = (3, 1, 4, 2), []

    def value_of(kept: tuple[int, ...]) -> float:
        asked.append(kept)
        return sum(weights[layer] for layer in kept)

    assert greedy_order(4, value_of) == [1, 3, 0, 2]
    assert len(asked) == len(set(asked)) == 4 * 5 // 2 - 1
    assert set(asked) <= {kept for size in range(1, 4) for kept in combinations(range(4), size)}


def test_greedy_removal_sees_that_two_layers_do_the_same() -> None:
    """Alone each of 0 and 1 may go; together they may not. A ranking of single layers cannot tell."""

    def value_of(kept: tuple[int, ...]) -> float:
        return 10 * (0 in kept or 1 in kept) + 5 * (2 in kept)

    assert greedy_order(3, value_of) == [1, 2, 0]
    assert removal_order([15 - value_of(kept) for kept in ((1, 2), (0, 2), (0, 1))])[:2] == [1, 0]


def test_of_equal_removals_the_deepest_layer_goes() -> None:
    assert greedy_order(3, lambda _: 0.5) == [2, 1, 0]


@pytest.mark.parametrize(("n_layers", "order"), [(0, []), (1, [0])])
def test_nothing_is_valued_where_there_is_no_choice(n_layers: int, order: list[int]) -> None:
    def value_of(_: tuple[int, ...]) -> float:
        raise AssertionError

    assert greedy_order(n_layers, value_of) == order
