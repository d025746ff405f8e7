"""Procrustes, SVCCA and PWCCA: their laws and slow definitions written here on their own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from layerprobe.errors import InputError
from layerprobe.similarity.subspace import procrustes, procrustes_pairs, pwcca, pwcca_pairs, svcca, svcca_pairs


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def related(n_rows: int, *dims: int, seed: int = 0) -> list[torch.Tensor]:
    """States of different dims that share 3 directions, with a mean far from 0."""
    common = normal(n_rows, 3, seed=seed)
    return [
        common @ normal(3, dim, seed=seed + 10 + i) + 0.7 * normal(n_rows, dim, seed=seed + 20 + i) + 1.0
        for i, dim in enumerate(dims)
    ]


def orthogonal(dim: int) -> torch.Tensor:
    return torch.linalg.qr(normal(dim, dim, seed=9))[0]


def centred(x: torch.Tensor) -> np.ndarray:
    return x.numpy() - x.numpy().mean(axis=0)


def slow_procrustes(x: torch.Tensor, y: torch.Tensor) -> float:
    """The best rotation found by scipy, on states padded to one dim."""
    dim = max(x.shape[1], y.shape[1])
    a, b = (np.pad(centred(s), ((0, 0), (0, dim - s.shape[1]))) for s in (x, y))
    turn, _ = scipy.linalg.orthogonal_procrustes(a, b)
    return float(((a @ turn) * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b)))


def slow_cca(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlations and the variates of a at norm 1 from `Caa^-1 Cab Cbb^-1 Cba w = rho^2 w`, largest first."""
    caa, cab, cbb = a.T @ a, a.T @ b, b.T @ b
    squares, maps = scipy.linalg.eigh(cab @ np.linalg.solve(cbb, cab.T), caa)
    n_pairs = min(a.shape[1], b.shape[1])
    variates = a @ maps[:, ::-1][:, :n_pairs]
    return squares[::-1][:n_pairs].clip(0) ** 0.5, variates / np.linalg.norm(variates, axis=0)


def leading(x: torch.Tensor) -> np.ndarray:
    """The fewest principal components with 99 % of the variance, counted one by one."""
    values, directions = np.linalg.eigh(centred(x).T @ centred(x))
    values, directions = values[::-1], directions[:, ::-1]
    kept = 0
    while sum(values[:kept]) < 0.99 * sum(values):
        kept += 1
    return centred(x) @ directions[:, :kept]


def slow_svcca(x: torch.Tensor, y: torch.Tensor) -> float:
    return float(slow_cca(leading(x), leading(y))[0].mean())


def slow_pwcca(x: torch.Tensor, y: torch.Tensor) -> float:
    rho, variates = slow_cca(centred(x), centred(y))
    weights = [sum(abs(float(h @ column)) for column in centred(x).T) for h in variates.T]
    return float(sum(w * r for w, r in zip(weights, rho, strict=True)) / sum(weights))


def spread_out(n_rows: int, dim: int, seed: int) -> torch.Tensor:
    """Columns of falling size, mixed: 99 % of the variance needs some of the directions, not all."""
    return related(n_rows, dim, seed=seed)[0] * 0.6 ** torch.arange(dim) @ orthogonal(dim)


MEASURES = [(procrustes, slow_procrustes), (svcca, slow_svcca), (pwcca, slow_pwcca)]


@pytest.mark.parametrize(("measure", "slow"), MEASURES)
@pytest.mark.parametrize(("n_rows", "dims"), [(4, (2, 3)), (60, (5, 5)), (60, (9, 4)), (60, (3, 20))])
def test_values_equal_their_slow_definitions(measure, slow, n_rows: int, dims: tuple[int, int]) -> None:
    x, y = related(n_rows, *dims)
    assert measure(x, y) == pytest.approx(slow(x, y), abs=1e-9)


def test_svcca_keeps_the_fewest_directions_with_99_percent_of_the_variance() -> None:
    x, y = spread_out(200, 12, 0), spread_out(200, 12, 50)
    assert 2 < leading(x).shape[1] < 11
    assert svcca(x, y) == pytest.approx(slow_svcca(x, y), abs=1e-10)
    assert abs(svcca(x, y) - slow_cca(centred(x), centred(y))[0].mean()) > 0.01
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]] * 2)
    other = torch.tensor([[1.0], [-1.0]] * 4)  # the second column of `signs`
    just_kept, just_cut = (signs * torch.tensor([99.0**0.5, size]) for size in (1.01, 0.99))
    assert svcca(just_kept, other) == pytest.approx(1.0, abs=1e-12)
    assert svcca(just_cut, other) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("dims", [(50, 8), (8, 50), (50, 70)])
def test_procrustes_of_more_dims_than_rows_equals_its_definition(dims: tuple[int, int]) -> None:
    x, y = related(20, *dims)
    assert procrustes(x, y) == pytest.approx(slow_procrustes(x, y), abs=1e-12)


@pytest.mark.parametrize(
    ("of_pairs", "plain"), [(procrustes_pairs, procrustes), (svcca_pairs, svcca), (pwcca_pairs, pwcca)]
)
def test_pairs_of_states_of_different_dims_equal_the_plain_form(of_pairs, plain) -> None:
    states = related(80, 4, 7, 30)
    asked = [(2, 0), (0, 2), (1, 1), (2, 1)]
    scores = of_pairs(states, (torch.tensor([a for a, _ in asked]), torch.tensor([b for _, b in asked])))
    assert scores.row_parts.shape == (80, 4)
    for position, (a, b) in enumerate(asked):
        assert scores.estimates[position] == pytest.approx(plain(states[a], states[b]), abs=1e-14)
    np.testing.assert_allclose(scores.row_parts.mean(axis=0), scores.estimates, rtol=0, atol=1e-12)
    assert 0.05 < scores.estimates[0] < 0.95
    assert of_pairs(states).estimates.shape == (6,)


@pytest.mark.parametrize("measure", [procrustes, svcca])
def test_symmetric_and_invariant_to_rotation_scale_and_shift(measure) -> None:
    x, y = related(80, 6, 9)
    moved = 1e-200 * (y @ orthogonal(9) + 7.0)
    assert measure(y, moved) == pytest.approx(1.0, abs=1e-9)
    assert measure(x, moved) == pytest.approx(measure(x, y), abs=1e-9)
    assert measure(moved, x) == pytest.approx(measure(x, y), abs=1e-9)


def test_any_linear_map_of_the_second_state_leaves_pwcca_but_not_procrustes() -> None:
    x, y = related(80, 6, 9)
    mapped = y @ (orthogonal(9) * (1.0 + torch.arange(9))) + 3.0
    assert pwcca(x, mapped) == pytest.approx(pwcca(x, y), abs=1e-12)
    assert pwcca(y, mapped) == pytest.approx(1.0, abs=1e-12)
    assert abs(procrustes(x, mapped) - procrustes(x, y)) > 0.01


def test_pwcca_takes_its_weights_from_the_first_state() -> None:
    x, y = related(80, 6, 9)
    assert abs(pwcca(x, y) - pwcca(y, x)) > 0.005
    assert pwcca(1e-200 * x.flip(1) + 5e-200, y) == pytest.approx(pwcca(x, y), abs=1e-9)
    assert abs(pwcca(x @ orthogonal(6), y) - pwcca(x, y)) > 1e-4


@pytest.mark.parametrize("of_pairs", [procrustes_pairs, svcca_pairs, pwcca_pairs])
def test_equal_states_read_one_and_so_does_each_row(of_pairs) -> None:
    x = normal(50, 6).float()
    scores = of_pairs([x, x.clone(), 2 * x])
    assert scores.estimates.max() <= 1.0
    np.testing.assert_allclose(scores.estimates, 1.0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(scores.row_parts, 1.0, rtol=0, atol=1e-10)


@pytest.mark.parametrize("measure", [procrustes, svcca, pwcca])
def test_independent_states_read_the_chance_of_wide_data(measure) -> None:
    n_rows, dim = 4000, 40
    value = measure(normal(n_rows, dim), normal(n_rows, dim, seed=1))
    assert value == pytest.approx(8 / (3 * math.pi) * (dim / n_rows) ** 0.5, abs=0.004)  # .085


@pytest.mark.parametrize("measure", [procrustes, svcca, pwcca])
def test_unrelated_states_read_zero(measure) -> None:
    signs = torch.tensor([[a, b, c] for a in (1.0, -1.0) for b in (1.0, -1.0) for c in (1.0, -1.0)])
    assert measure(signs[:, :1], signs[:, 1:]) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("measure", [procrustes, svcca, pwcca])
def test_constant_and_repeated_columns_add_no_direction(measure) -> None:
    x, y = related(80, 4, 6)
    with_constants = torch.cat([x, torch.full((80, 2), 1234.567)], dim=1)
    assert measure(with_constants, y) == pytest.approx(measure(x, y), abs=1e-10)
    assert measure(y, with_constants) == pytest.approx(measure(y, x), abs=1e-10)
    if measure is not procrustes:  # which weighs by variance
        assert measure(y, torch.cat([x, x @ normal(4, 5)], dim=1)) == pytest.approx(measure(y, x), abs=1e-10)


def test_pwcca_keeps_small_directions_that_are_not_rounding_error() -> None:
    x, y = related(80, 3, 3)
    small = torch.cat([y[:, :2], 1e-9 * y[:, 2:]], dim=1)
    assert pwcca(x, small) == pytest.approx(pwcca(x, y), abs=1e-6)
    assert abs(pwcca(x, y[:, :2]) - pwcca(x, y)) > 0.01


def test_half_precision_states_are_cast_up_before_any_product() -> None:
    x, y = (state.bfloat16() for state in related(60, 6, 9))
    for measure in (procrustes, svcca, pwcca):
        assert measure(x, y) == measure(x.double(), y.double())


@pytest.mark.parametrize("of_pairs", [procrustes_pairs, svcca_pairs])
def test_row_parts_are_the_change_with_a_row_of_more_weight(of_pairs) -> None:
    """One more copy of row i among n moves the value by its influence over n, up to terms of order 1 / n^2."""
    n = 4000
    states = related(n, 4, 6)
    pair = torch.tensor([0]), torch.tensor([1])
    scores = of_pairs(states, pair)
    for row in range(5):
        more = of_pairs([torch.cat([state, state[row : row + 1]]) for state in states], pair).estimates[0]
        influence = scores.row_parts[row, 0] - scores.estimates[0]
        assert (n + 1) * (more - scores.estimates[0]) == pytest.approx(influence, abs=0.01)


GOOD = normal(10, 3)
CONSTANT = torch.tensor([0.1, 0.3, 0.7]).expand(10, 3)
ALL = [procrustes, svcca, pwcca]
CCA = [svcca, pwcca]
REFUSED = [
    (ALL, [normal(3, 2), normal(3, 2)], "at least 4 rows; got 3"),
    (ALL, [normal(0, 2), normal(0, 2)], "at least 4 rows; got 0"),
    (ALL, [GOOD, normal(9, 3)], "same rows; got row counts [9, 10]"),
    (ALL, [GOOD, GOOD * float("nan")], "state 1 holds 30 NaN or infinite values of 30"),
    (ALL, [GOOD / 0, GOOD], "state 0 holds 30 NaN or infinite values of 30"),
    (ALL, [GOOD, CONSTANT], "state 1 is constant over its 10 rows"),
    (ALL, [torch.zeros(10, 3), GOOD], "state 0 is constant over its 10 rows"),
    (CCA, [GOOD, normal(10, 10)], "state 1 has 10 rows of dim 10"),
    (CCA, [normal(10, 40), GOOD], "state 0 has 10 rows of dim 40: read more than 40 users"),
]
CASES = [(measure, *case) for measures, *case in REFUSED for measure in measures]


@pytest.mark.parametrize(("measure", "states", "message"), CASES)
def test_refuses_with_the_numbers(measure, states: list[torch.Tensor], message: str) -> None:
    with pytest.raises(InputError) as caught:
        measure(*states)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
