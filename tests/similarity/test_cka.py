"""Linear CKA: its laws, its two forms, and slow definitions written here on their own."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from layerprobe.errors import InputError
from layerprobe.similarity.cka import Form, cka_matrix, cka_pairs, linear_cka, linear_cka_biased


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def related_states(n_states: int, n_rows: int, dim: int, seed: int = 0) -> torch.Tensor:
    """Independent noise on top of one common state, with a mean far from 0."""
    return normal(n_states, n_rows, dim, seed=seed) + normal(n_rows, dim, seed=seed + 1) + 3.0


def orthogonal(dim: int) -> torch.Tensor:
    return torch.linalg.qr(normal(dim, dim, seed=9))[0]


def hsic_over_all_quadruples(k: np.ndarray, q: np.ndarray) -> float:
    """The U-statistic's definition: the mean over all ordered quadruples of different rows."""
    terms = [
        k[a, b] * q[a, b] + k[a, b] * q[c, d] - 2 * k[a, b] * q[a, c] for a, b, c, d in permutations(range(len(k)), 4)
    ]
    return sum(terms) / len(terms)


def slow_cka(x: torch.Tensor, y: torch.Tensor) -> float:
    k, q = (x @ x.T).numpy(), (y @ y.T).numpy()
    return hsic_over_all_quadruples(k, q) / (hsic_over_all_quadruples(k, k) * hsic_over_all_quadruples(q, q)) ** 0.5


@pytest.mark.parametrize("form", ["feature", "gram"])
@pytest.mark.parametrize(("n_rows", "dim"), [(4, 3), (7, 2), (7, 20)])
def test_equals_the_mean_over_all_quadruples(form: Form, n_rows: int, dim: int) -> None:
    states = related_states(3, n_rows, dim)
    expected = [[slow_cka(x, y) for y in states] for x in states]
    np.testing.assert_allclose(cka_matrix(states, form), expected, atol=1e-12)


@pytest.mark.parametrize(("n_rows", "dim"), [(200, 16), (50, 50), (20, 90)])
def test_feature_form_equals_gram_form(n_rows: int, dim: int) -> None:
    states = related_states(4, n_rows, dim)
    np.testing.assert_allclose(cka_matrix(states, "feature"), cka_matrix(states, "gram"), rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        cka_pairs(states, form="feature").row_parts, cka_pairs(states, form="gram").row_parts, rtol=0, atol=1e-9
    )


def test_gram_slices_do_not_change_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    states = related_states(3, 40, 60)
    whole = cka_pairs(states, form="gram").row_parts
    monkeypatch.setattr("layerprobe.similarity.gram._ENTRIES", 3 * 40 * 7)  # slices of 7 rows, the last of 5
    np.testing.assert_allclose(cka_pairs(states, form="gram").row_parts, whole, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dim", [8, 300])
def test_is_one_with_itself_and_invariant_to_rotation_scale_and_shift(dim: int) -> None:
    x, y = related_states(2, 100, dim)
    assert linear_cka(x, x) == pytest.approx(1.0, abs=1e-14)
    moved = 1e-4 * (y @ orthogonal(dim)) + 7.0
    assert linear_cka(y, moved) == pytest.approx(1.0, abs=1e-9)
    assert linear_cka(x, moved) == pytest.approx(linear_cka(x, y), abs=1e-9)
    assert 0.1 < linear_cka(x, y) < 0.9


def test_rounding_never_lifts_a_value_above_one() -> None:
    x = normal(50, 6)
    copies = torch.stack([x * scale for scale in (1.0, 0.1, 0.3, 0.7, 1.1, 3.3, 7.7, 11.3)])
    assert cka_matrix(copies, "gram").max() == 1.0
    assert cka_matrix(copies, "feature").max() == 1.0


def test_is_not_invariant_to_stretching_one_direction() -> None:
    x, y = related_states(2, 100, 8)
    stretched = y * torch.tensor([20.0] + [1.0] * 7)
    assert abs(linear_cka(x, stretched) - linear_cka(x, y)) > 0.05


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_extreme_scales_neither_under_nor_overflow(scale: float) -> None:
    x, y = related_states(2, 30, 4)
    assert linear_cka(x * scale, y) == pytest.approx(linear_cka(x, y), abs=1e-12)


def test_matrix_is_symmetric_with_ones_on_the_diagonal() -> None:
    matrix = cka_matrix(related_states(5, 60, 12))
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(np.diag(matrix), 1.0, rtol=0, atol=1e-14)


def test_order_of_rows_does_not_matter() -> None:
    states = related_states(3, 50, 6)
    shuffled = states[:, torch.randperm(50, generator=torch.Generator().manual_seed(3))]
    np.testing.assert_allclose(cka_matrix(shuffled), cka_matrix(states), rtol=0, atol=1e-13)


def test_states_of_different_dims_compare() -> None:
    x = normal(80, 5)
    assert linear_cka(x, torch.cat([x, torch.zeros(80, 90)], dim=1)) == pytest.approx(1.0, abs=1e-12)
    assert linear_cka(x, normal(80, 90, seed=1)) == pytest.approx(slow_form(x, normal(80, 90, seed=1)), abs=1e-12)


def slow_form(x: torch.Tensor, y: torch.Tensor) -> float:
    """U-centring of the Gram matrices, entry by entry as Szekely and Rizzo write it."""

    def u_centred(k: np.ndarray) -> np.ndarray:
        k = k * (1 - np.eye(len(k)))
        n, column = len(k), k.sum(axis=0)
        u = k - column[:, None] / (n - 2) - column[None] / (n - 2) + k.sum() / ((n - 1) * (n - 2))
        return u * (1 - np.eye(n))

    u, v = u_centred((x @ x.T).numpy()), u_centred((y @ y.T).numpy())
    return float((u * v).sum() / ((u * u).sum() * (v * v).sum()) ** 0.5)


def test_independent_data_read_zero_where_the_biased_estimator_reads_one() -> None:
    n_rows, dim = 64, 4096
    debiased = [linear_cka(normal(n_rows, dim, seed=s), normal(n_rows, dim, seed=s + 100)) for s in range(10)]
    assert abs(np.mean(debiased)) < 0.02
    assert max(np.abs(debiased)) < 0.08
    biased = linear_cka_biased(normal(n_rows, dim), normal(n_rows, dim, seed=1))
    assert biased == pytest.approx(dim / (n_rows + dim), abs=0.01)  # .985


@pytest.mark.parametrize("dim", [5, 40])
def test_biased_equals_its_trace_definition(dim: int) -> None:
    x, y = related_states(2, 20, dim)
    h = np.eye(20) - 1 / 20
    k, q = h @ (x @ x.T).numpy() @ h, h @ (y @ y.T).numpy() @ h
    expected = np.trace(k @ q) / (np.trace(k @ k) * np.trace(q @ q)) ** 0.5
    assert linear_cka_biased(x, y) == pytest.approx(expected, abs=1e-12)


def test_half_precision_states_are_cast_up_before_any_product() -> None:
    states = related_states(3, 200, 16).bfloat16()
    np.testing.assert_array_equal(cka_matrix(states), cka_matrix(states.double()))
    assert cka_matrix(states).dtype == np.float64


@pytest.mark.parametrize("form", ["feature", "gram"])
def test_pseudo_values_are_the_ones_of_recomputing_without_each_row(form: Form) -> None:
    n_rows = 12
    states = related_states(3, n_rows, 5)
    pairs = np.triu_indices(3)
    scores = cka_pairs(states, form=form)
    np.testing.assert_allclose(scores.estimates, cka_matrix(states)[pairs], rtol=0, atol=1e-13)
    for row in range(n_rows):
        without = cka_matrix(torch.cat([states[:, :row], states[:, row + 1 :]], dim=1))[pairs]
        expected = n_rows * scores.estimates - (n_rows - 1) * without
        np.testing.assert_allclose(scores.row_parts[row], expected, rtol=0, atol=1e-10)


def test_equal_states_have_pseudo_values_of_one() -> None:
    x = normal(30, 4)
    scores = cka_pairs(torch.stack([x, x, 2 * x]))
    np.testing.assert_allclose(scores.estimates, 1.0, rtol=0, atol=1e-13)
    np.testing.assert_allclose(scores.row_parts, 1.0, rtol=0, atol=1e-10)


def test_gradients_and_the_input_are_left_alone() -> None:
    states = related_states(2, 20, 4).requires_grad_()
    before = states.detach().clone()
    cka_matrix(states)
    assert torch.equal(states.detach(), before)
    assert states.grad is None


def outliers(n_outliers: int) -> torch.Tensor:
    x = torch.zeros(10, 3)
    x[:n_outliers] = 1.0
    return x


GOOD = normal(10, 3)
REFUSED = [
    ([normal(3, 2), normal(3, 2)], "at least 4 rows; got 3"),
    ([normal(0, 2), normal(0, 2)], "at least 4 rows; got 0"),
    ([GOOD, normal(9, 3)], "same rows; got row counts [9, 10]"),
    ([GOOD, GOOD * float("nan")], "state 1 holds 30 NaN or infinite values of 30"),
    ([GOOD / 0, GOOD], "state 0 holds 30 NaN or infinite values of 30"),
    ([GOOD, torch.full((10, 3), 0.1)], "state 1 is constant over its 10 rows"),
    ([GOOD, 1 + 1e-14 * normal(10, 3)], "state 1 is constant over its 10 rows"),
    ([GOOD, torch.zeros(10, 3)], "state 1 is constant over its 10 rows"),
    ([GOOD, torch.eye(10)], "state 1 has none over 10 rows, all rows but one are equal or all are equally far apart"),
    ([GOOD, outliers(1)], "state 1 has none over 10 rows, all rows but one are equal"),
    ([normal(10), normal(10)], "matrix [rows, dim >= 1]; got [(10,), (10,)]"),
    ([normal(10, 0), normal(10, 0)], "matrix [rows, dim >= 1]"),
]


@pytest.mark.parametrize("form", ["feature", "gram"])
@pytest.mark.parametrize(("states", "message"), REFUSED)
def test_refuses_with_the_numbers(states: list[torch.Tensor], message: str, form: Form) -> None:
    with pytest.raises(InputError) as caught:
        linear_cka(*states, form=form)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_refuses_no_state_an_unknown_form_and_too_little_for_a_jackknife() -> None:
    with pytest.raises(InputError, match="at least one state"):
        cka_matrix([])
    with pytest.raises(InputError, match="form must be auto, feature or gram; got 'grams'"):
        cka_matrix([GOOD], "grams")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="at least 5 rows; got 4"):
        cka_pairs([GOOD[:4]])
    with pytest.raises(InputError, match="state 1 has none over 10 rows, after one of them is left out"):
        cka_pairs([GOOD, outliers(2)])
    with pytest.raises(InputError, match="at least 2 rows; got 1"):
        linear_cka_biased(GOOD[:1], GOOD[:1])
    with pytest.raises(InputError, match="state 0 is constant"):
        linear_cka_biased(torch.ones(10, 2), GOOD)
