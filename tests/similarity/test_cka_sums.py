"""CKA added up over batches of users: it is the CKA of all users at once, however they come."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerprobe.errors import InputError
from layerprobe.similarity.cka import cka_matrix
from layerprobe.similarity.cka_sums import CKASums
from layerprobe.similarity.features import CrossProducts
from layerprobe.similarity.frames import Frame
from layerprobe.similarity.hsic import pair_plan


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drifting(n_rows: int = 120, dims: tuple[int, ...] = (5, 5, 9)) -> list[torch.Tensor]:
    """Related states of several dims with a mean far from 0; their rows drift, so that no batch is like another."""
    common, drift = normal(n_rows, 5, seed=1), torch.linspace(0, 4, n_rows, dtype=torch.float64)[:, None]
    states = [normal(n_rows, dim, seed=index) + drift + 3.0 for index, dim in enumerate(dims)]
    for state in states:
        state[:, :5] += common
    return states


def added(states: list[torch.Tensor], sizes: list[int]) -> np.ndarray:
    sums = CKASums()
    for batch in zip(*(state.split(sizes) for state in states), strict=True):
        sums.add(batch)
    return sums.matrix()


@pytest.mark.parametrize("sizes", [[120], [1] * 120, [1, 119], [119, 1], [40, 40, 40], [7, 50, 3, 60]])
def test_is_the_value_of_all_rows_whatever_the_batches(sizes: list[int]) -> None:
    states = drifting()
    np.testing.assert_allclose(added(states, sizes), cka_matrix(states, "gram"), rtol=0, atol=1e-12)


def test_order_of_the_rows_does_not_matter() -> None:
    states, order = drifting(), torch.randperm(120, generator=torch.Generator().manual_seed(3))
    shuffled = [state[order] for state in states]
    np.testing.assert_allclose(added(shuffled, [13, 107]), cka_matrix(states, "gram"), rtol=0, atol=1e-12)


def test_a_large_common_mean_costs_no_digits_that_matter() -> None:
    states = [normal(300, 6), normal(300, 6) + normal(300, 6, seed=1)]
    moved = [state + 1e4 for state in states]
    np.testing.assert_allclose(added(moved, [1, 100, 199]), cka_matrix(states, "gram"), rtol=0, atol=1e-10)


def test_outlier_rows_first_or_last_cost_no_digits_that_matter() -> None:
    x = normal(300, 6)
    x[:3, 0] += 300.0
    states = [x, x + normal(300, 6, seed=1)]
    for some in (states, [state.flip(0) for state in states]):
        np.testing.assert_allclose(added(some, [2, 198, 100]), cka_matrix(some, "gram"), rtol=0, atol=1e-10)


@pytest.mark.parametrize("scale", [1e-120, 1e120])
def test_scale_does_not_matter(scale: float) -> None:
    states = drifting()
    scaled = [states[0] * scale, *states[1:]]
    np.testing.assert_allclose(added(scaled, [60, 60]), cka_matrix(states, "gram"), rtol=0, atol=1e-12)


def test_slices_within_a_batch_do_not_change_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    states = drifting()
    monkeypatch.setattr("layerprobe.similarity.features._ENTRIES", 19 * 7)  # slices of 7 rows, the last of 1
    np.testing.assert_allclose(added(states, [120]), cka_matrix(states, "gram"), rtol=0, atol=1e-12)


def test_sums_about_the_mean_do_not_depend_on_the_frames() -> None:
    states = drifting(30)
    away = CrossProducts(
        [Frame(1.0, torch.full((state.shape[1],), 2.0, dtype=torch.float64)) for state in states], pair_plan(3)
    )
    away.add(states)
    x, y = (state - state.mean(dim=0) for state in (states[0], states[2]))
    place = list(away.plan).index((0, 2))
    np.testing.assert_allclose(list(away.centred())[place][:5, :9], x.T @ y, rtol=0, atol=1e-10)
    left, right = list(away.third_moments())[place]
    np.testing.assert_allclose(left[:5], x.T @ y.square().sum(dim=1), rtol=0, atol=1e-9)
    np.testing.assert_allclose(right[:9], y.T @ x.square().sum(dim=1), rtol=0, atol=1e-9)
    sums = away.sums()
    assert float(sums.row_sums[2]) == pytest.approx(-float(y.square().sum()), abs=1e-10)


def test_more_rows_may_come_after_a_look() -> None:
    states, sums = drifting(), CKASums()
    sums.add([state[:50] for state in states])
    np.testing.assert_allclose(sums.matrix(), cka_matrix([state[:50] for state in states], "gram"), rtol=0, atol=1e-12)
    sums.add([state[50:] for state in states])
    np.testing.assert_allclose(sums.matrix(), cka_matrix(states, "gram"), rtol=0, atol=1e-12)


def test_float32_batches_are_cast_up_and_left_alone() -> None:
    states = [state.float() for state in drifting()]
    before = [state.clone() for state in states]
    expected = cka_matrix([state.double() for state in states], "gram")
    np.testing.assert_allclose(added(states, [50, 70]), expected, rtol=0, atol=1e-12)
    assert all(torch.equal(state, kept) for state, kept in zip(states, before, strict=True))


def test_refuses_with_the_numbers() -> None:
    sums, states = CKASums(), drifting()
    with pytest.raises(InputError, match="at least 4 rows; got 0"):
        sums.matrix()
    sums.add([state[:3] for state in states])
    with pytest.raises(InputError, match="at least 4 rows; got 3"):
        sums.matrix()
    with pytest.raises(InputError, match=r"dims \[5, 5, 9\] in the first; got \[5, 5\]"):
        sums.add(states[:2])
    with pytest.raises(InputError, match=r"dims \[5, 5, 9\] in the first; got \[5, 9, 9\]"):
        sums.add([states[0], states[2], states[2]])
    with pytest.raises(InputError, match="state 1 holds 600 NaN or infinite values of 600"):
        sums.add([states[0], states[1] * float("nan"), states[2]])
    with pytest.raises(InputError, match="at least 1 rows; got 0"):
        sums.add([state[:0] for state in states])
    sums.add([state[3:] for state in states])  # what was refused has left no trace
    np.testing.assert_allclose(sums.matrix(), cka_matrix(states, "gram"), rtol=0, atol=1e-12)


@pytest.mark.parametrize("sizes", [[20], [1] * 20])
def test_refuses_states_without_spread(sizes: list[int]) -> None:
    good = normal(20, 3)
    alike = torch.zeros(20, 3)
    alike[0] = 1.0
    with pytest.raises(InputError, match="state 1 is constant over its 20 rows"):
        added([good, torch.full((20, 3), 0.1)], sizes)
    with pytest.raises(InputError, match="state 1 has none over 20 rows, all rows but one are equal"):
        added([good, alike], sizes)


def test_values_too_far_apart_to_add_up_are_refused() -> None:
    with pytest.raises(InputError, match="state 1 .* too far apart"):
        added([normal(20, 3), torch.cat([normal(10, 3) * 1e-200, normal(10, 3)])], [10, 10])
