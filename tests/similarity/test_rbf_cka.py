"""CKA with a Gaussian kernel: its laws, and a slow definition written here on its own."""

from __future__ import annotations

from itertools import combinations, permutations
from statistics import median

import numpy as np
import pytest
import torch

from layerprobe.errors import InputError
from layerprobe.similarity.cka import cka_matrix, linear_cka
from layerprobe.similarity.kernels import rbf_cka, rbf_cka_pairs


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def related_states(n_states: int, n_rows: int, dim: int) -> torch.Tensor:
    return normal(n_states, n_rows, dim) + normal(n_rows, dim, seed=1) + 3.0


def bandwidth(x: torch.Tensor, fraction: float) -> float:
    return fraction * median(float((a - b).norm()) for a, b in combinations(x, 2))


def gaussian(x: torch.Tensor, width: float) -> np.ndarray:
    return np.array([[np.exp(-(float((a - b).norm()) ** 2) / (2 * width**2)) for b in x] for a in x])


def hsic_over_all_quadruples(k: np.ndarray, q: np.ndarray) -> float:
    terms = [
        k[a, b] * q[a, b] + k[a, b] * q[c, d] - 2 * k[a, b] * q[a, c] for a, b, c, d in permutations(range(len(k)), 4)
    ]
    return sum(terms) / len(terms)


def cka_of_kernels(k: np.ndarray, q: np.ndarray) -> float:
    return hsic_over_all_quadruples(k, q) / (hsic_over_all_quadruples(k, k) * hsic_over_all_quadruples(q, q)) ** 0.5


@pytest.mark.parametrize("fraction", [0.3, 0.8, 2.0])
@pytest.mark.parametrize("n_rows", [6, 7])  # 15 distances, and 21
def test_equals_the_mean_over_all_quadruples(n_rows: int, fraction: float) -> None:
    states = related_states(2, n_rows, 3)
    k, q = (gaussian(state, bandwidth(state, fraction)) for state in states)
    assert rbf_cka(*states, fraction=fraction) == pytest.approx(cka_of_kernels(k, q), abs=1e-12)


def test_median_of_an_even_number_of_distances_is_the_middle_of_two() -> None:
    x, y = related_states(2, 8, 2)  # 28 distances
    k, q = (gaussian(state, bandwidth(state, 0.5)) for state in (x, y))
    assert rbf_cka(x, y, 0.5) == pytest.approx(cka_of_kernels(k, q), abs=1e-12)


def test_pseudo_values_are_those_of_recomputing_without_each_row_at_the_same_bandwidth() -> None:
    n_rows, states = 7, related_states(3, 7, 2)
    kernels = [gaussian(state, bandwidth(state, 0.8)) for state in states]
    pairs = [(0, 1), (2, 1), (2, 2)]
    first, second = (torch.tensor(index) for index in zip(*pairs, strict=True))
    scores = rbf_cka_pairs(states, (first, second), 0.8)
    for place, (a, b) in enumerate(pairs):
        whole = cka_of_kernels(kernels[a], kernels[b])
        assert scores.estimates[place] == pytest.approx(whole, abs=1e-12)
        for row in range(n_rows):
            k, q = (np.delete(np.delete(kernels[index], row, 0), row, 1) for index in (a, b))
            expected = n_rows * whole - (n_rows - 1) * cka_of_kernels(k, q)
            assert scores.row_parts[row, place] == pytest.approx(expected, abs=1e-10)


def test_slices_do_not_change_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    states = related_states(3, 40, 6)
    whole = rbf_cka_pairs(states).row_parts
    monkeypatch.setattr("layerprobe.similarity.gram._ENTRIES", 3 * 40 * 7)  # slices of 7 rows, the last of 5
    np.testing.assert_allclose(rbf_cka_pairs(states).row_parts, whole, rtol=0, atol=1e-10)


def test_is_one_with_itself_symmetric_and_invariant_to_rotation_scale_and_shift() -> None:
    x, y = related_states(2, 100, 8)
    rotation = torch.linalg.qr(normal(8, 8, seed=9))[0]
    moved = 1e-4 * (y @ rotation) + 1e3
    assert rbf_cka(x, x) == pytest.approx(1.0, abs=1e-14)
    assert rbf_cka(y, moved) == pytest.approx(1.0, abs=1e-9)
    assert rbf_cka(x, moved) == pytest.approx(rbf_cka(x, y), abs=1e-9)
    assert rbf_cka(x, y) == rbf_cka(y, x)
    assert 0.1 < rbf_cka(x, y) < 0.9


def test_independent_data_read_zero() -> None:
    values = [rbf_cka(normal(64, 256, seed=seed), normal(64, 256, seed=seed + 100)) for seed in range(10)]
    assert abs(np.mean(values)) < 0.03
    assert max(np.abs(values)) < 0.1


def test_a_wide_bandwidth_gives_linear_cka() -> None:
    x, y = related_states(2, 60, 5)
    assert rbf_cka(x, y, 300.0) == pytest.approx(linear_cka(x, y), abs=1e-4)
    assert abs(rbf_cka(x, y, 0.3) - linear_cka(x, y)) > 0.05


def test_outliers_far_away_move_it_less_than_linear_cka() -> None:
    x, y = normal(200, 20), normal(200, 20, seed=1)
    for state in (x, y):
        state[:3, 0] += 1e5
    assert linear_cka(x, y) > 0.99
    assert abs(rbf_cka(x, y)) < 0.3


def test_an_outlier_far_away_costs_no_digits_of_the_other_distances() -> None:
    x, y = normal(40, 5), normal(40, 5) + normal(40, 5, seed=1)
    for state in (x, y):
        state[0, 0] += 1e8
    k, q = (gaussian(state, bandwidth(state, 0.8)) for state in (x, y))
    assert rbf_cka(x, y) == pytest.approx(unbiased_cka(k, q), abs=1e-8)


def unbiased_cka(k: np.ndarray, q: np.ndarray) -> float:
    """Song et al., equation 5, as it stands."""
    k, q = k * (1 - np.eye(len(k))), q * (1 - np.eye(len(q)))
    n, one = len(k), np.ones(len(k))

    def hsic(k: np.ndarray, q: np.ndarray) -> float:
        middle = (one @ k @ one) * (one @ q @ one) / ((n - 1) * (n - 2))
        return (np.trace(k @ q) + middle - 2 / (n - 2) * (one @ k @ q @ one)) / (n * (n - 3))

    return hsic(k, q) / (hsic(k, k) * hsic(q, q)) ** 0.5


def test_states_of_different_dims_compare_in_any_pairs() -> None:
    states = [normal(30, 3), normal(30, 7, seed=1), normal(30, 3) + 0.5 * normal(30, 3, seed=2)]
    scores = rbf_cka_pairs(states, (torch.tensor([2, 0, 2]), torch.tensor([0, 1, 0])))
    assert scores.estimates[0] == scores.estimates[2] == pytest.approx(rbf_cka(states[0], states[2]), abs=1e-14)
    assert scores.estimates[1] == pytest.approx(rbf_cka(states[0], states[1]), abs=1e-14)


def test_constant_columns_change_nothing_and_half_precision_is_cast_up() -> None:
    x, y = related_states(2, 50, 4)
    assert rbf_cka(torch.cat([x, torch.full((50, 3), 7.0)], dim=1), y) == pytest.approx(rbf_cka(x, y), abs=1e-12)
    half = related_states(3, 50, 4).bfloat16()
    np.testing.assert_array_equal(rbf_cka_pairs(half).row_parts, rbf_cka_pairs(half.double()).row_parts)


def mostly_equal() -> torch.Tensor:
    x = torch.zeros(10, 3)
    x[:2] = normal(2, 3)
    return x


GOOD = normal(10, 3)
REFUSED = [
    ([normal(3, 2), normal(3, 2)], 0.8, "at least 4 rows; got 3"),
    ([GOOD, normal(9, 3)], 0.8, "same rows; got row counts [9, 10]"),
    ([GOOD, GOOD * float("nan")], 0.8, "state 1 holds 30 NaN or infinite values of 30"),
    ([GOOD, torch.full((10, 3), 0.1)], 0.8, "state 1 is constant over its 10 rows"),
    ([GOOD, torch.eye(10)], 0.8, "state 1 has none over 10 rows, all rows but one are equal or all are equally far"),
    ([GOOD, mostly_equal()], 0.8, "in state 1 half of all pairs of 10 rows are equal"),
    ([GOOD, GOOD], 0.0, "must be a number above 0; got 0.0"),
    ([GOOD, GOOD], -1.0, "must be a number above 0; got -1.0"),
    ([GOOD, GOOD], float("nan"), "must be a number above 0; got nan"),
    ([GOOD, GOOD], float("inf"), "must be a number above 0; got inf"),
    ([GOOD, GOOD], 1e-3, "no row of state 0 has a neighbour"),
]


@pytest.mark.parametrize(("states", "fraction", "message"), REFUSED)
def test_refuses_with_the_numbers(states: list[torch.Tensor], fraction: float, message: str) -> None:
    with pytest.raises(InputError) as caught:
        rbf_cka(*states, fraction=fraction)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_refuses_too_few_rows_for_a_jackknife() -> None:
    with pytest.raises(InputError, match="at least 5 rows; got 4"):
        rbf_cka_pairs([GOOD[:4]])
    assert cka_matrix([GOOD[:4]]).shape == (1, 1)
