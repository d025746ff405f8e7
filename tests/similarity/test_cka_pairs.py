"""Pairs of states as a caller asks for them, the biased form, and jackknives against leaving rows out one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerprobe.errors import InputError
from layerprobe.similarity import hsic
from layerprobe.similarity.cka import Form, cka_biased_pairs, cka_matrix, cka_pairs, linear_cka, linear_cka_biased
from layerprobe.similarity.states import Pairs


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def teacher_and_student(n_rows: int) -> list[torch.Tensor]:
    """Three states of dim 5 and two of dim 3, all related, with a mean far from 0."""
    common = normal(n_rows, 5, seed=99)
    return [normal(n_rows, dim, seed=seed) + common[:, :dim] + 3.0 for seed, dim in enumerate((5, 5, 5, 3, 3))]


def as_pairs(*pairs: tuple[int, int]) -> Pairs:
    return torch.tensor([a for a, _ in pairs]), torch.tensor([b for _, b in pairs])


ACROSS = [(0, 3), (4, 0), (2, 4), (0, 4), (3, 3), (0, 3)]
FORMS: list[Form] = ["feature", "gram", "auto"]


def biased(x: torch.Tensor, y: torch.Tensor) -> float:
    """Trace definition: explicit centring matrix and n x n Grams."""
    h = np.eye(len(x)) - 1 / len(x)
    k, q = h @ (x @ x.T).numpy() @ h, h @ (y @ y.T).numpy() @ h
    return np.trace(k @ q) / (np.trace(k @ k) * np.trace(q @ q)) ** 0.5


@pytest.mark.parametrize("form", FORMS)
def test_any_pairs_in_any_order_have_the_values_of_two_states_alone(form: Form) -> None:
    states = teacher_and_student(40)
    debiased, with_bias = (score(states, as_pairs(*ACROSS), form) for score in (cka_pairs, cka_biased_pairs))
    for place, (a, b) in enumerate(ACROSS):
        assert debiased.estimates[place] == pytest.approx(linear_cka(states[a], states[b]), abs=1e-13)
        assert with_bias.estimates[place] == pytest.approx(biased(states[a], states[b]), abs=1e-13)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("score", [cka_pairs, cka_biased_pairs])
def test_pseudo_values_are_those_of_recomputing_without_each_row(score, form: Form) -> None:
    n_rows, alone = 12, {cka_pairs: linear_cka, cka_biased_pairs: biased}[score]
    states = teacher_and_student(n_rows)
    parts = score(states, as_pairs(*ACROSS), form).row_parts
    assert parts.shape == (n_rows, len(ACROSS))
    for place, (a, b) in enumerate(ACROSS):
        whole = alone(states[a], states[b])
        for row in range(n_rows):
            x, y = (torch.cat([state[:row], state[row + 1 :]]) for state in (states[a], states[b]))
            expected = n_rows * whole - (n_rows - 1) * alone(x, y)
            assert parts[row, place] == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("score", [cka_pairs, cka_biased_pairs])
def test_both_forms_give_the_same_parts_in_hard_cases(score) -> None:
    base = normal(200, 8)
    outlying = base.clone()
    outlying[:4, 0] += 300.0
    cases = [
        [base + 1e4, base + normal(200, 8, seed=1) + 1e4],
        [outlying, outlying + normal(200, 8, seed=1)],
        [base, base + 1e-4 * normal(200, 8, seed=1)],
        [normal(200, 1) @ normal(1, 8), base],
        [torch.cat([base, torch.full((200, 2), 5.0)], dim=1), base + normal(200, 8, seed=1)],
    ]
    for states in cases:
        feature, gram = (score(states, form=form) for form in ("feature", "gram"))
        np.testing.assert_allclose(feature.estimates, gram.estimates, rtol=0, atol=1e-10)
        np.testing.assert_allclose(feature.row_parts, gram.row_parts, rtol=0, atol=1e-8)


@pytest.mark.parametrize("score", [cka_pairs, cka_biased_pairs])
def test_slices_of_rows_do_not_change_the_parts(score, monkeypatch: pytest.MonkeyPatch) -> None:
    states = teacher_and_student(40)
    whole = score(states, form="gram").row_parts
    monkeypatch.setattr("layerprobe.similarity.features._ENTRIES", 21 * 7)  # slices of 7 rows, the last of 5
    np.testing.assert_allclose(score(states, form="feature").row_parts, whole, rtol=0, atol=1e-10)
    monkeypatch.setattr("layerprobe.similarity.gram._ENTRIES", 5 * 40)  # slices of 1 row
    np.testing.assert_allclose(score(states, form="gram").row_parts, whole, rtol=0, atol=1e-10)


def test_each_unordered_pair_is_computed_once_and_every_state_with_itself() -> None:
    plan = hsic.pair_plan(4, as_pairs((3, 0), (0, 3), (2, 2), (1, 3)))
    assert list(plan) == [(0, 0), (0, 3), (1, 1), (1, 3), (2, 2), (3, 3)]
    assert plan.own.tolist() == [0, 2, 4, 5]
    assert plan.asked.tolist() == [1, 1, 4, 3]


def test_constant_columns_change_nothing() -> None:
    x, y = normal(30, 4), normal(30, 4) + normal(30, 4, seed=1)
    wide = torch.cat([x, torch.full((30, 3), 1e3)], dim=1)
    for form in FORMS:
        assert linear_cka(wide, y, form) == pytest.approx(linear_cka(x, y), abs=1e-9)
    assert linear_cka_biased(wide, y) == pytest.approx(biased(x, y), abs=1e-9)


def test_the_biased_form_keeps_its_laws() -> None:
    x, y = normal(50, 4), normal(50, 4) + normal(50, 4, seed=1)
    moved = 1e-4 * (y @ torch.linalg.qr(normal(4, 4, seed=9))[0]) + 7.0
    assert linear_cka_biased(x, x) == pytest.approx(1.0, abs=1e-14)
    assert linear_cka_biased(x, moved) == pytest.approx(linear_cka_biased(y, x), abs=1e-12)
    assert linear_cka_biased(x, y) > linear_cka(x, y) + 0.01


def test_one_state_alone_is_a_matrix_of_one() -> None:
    np.testing.assert_allclose(cka_matrix([normal(10, 3)]), [[1.0]], rtol=0, atol=1e-14)


GOOD = normal(10, 3)
REFUSED = [
    (as_pairs((0, 2)), "pairs must name states 0 to 1; got state 2"),
    (as_pairs((-1, 0)), "pairs must name states 0 to 1; got state -1"),
    (
        (torch.tensor([0, 1]), torch.tensor([0])),
        "at least one each; got shapes (2,) and (1,)",
    ),
    (
        (torch.tensor([[0]]), torch.tensor([[0]])),
        "at least one each; got shapes (1, 1)",
    ),
]


@pytest.mark.parametrize("score", [cka_pairs, cka_biased_pairs])
@pytest.mark.parametrize(("pairs", "message"), REFUSED)
def test_refuses_pairs_that_name_no_states(score, pairs: Pairs, message: str) -> None:
    with pytest.raises(InputError) as caught:
        score([GOOD, GOOD], pairs)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_the_biased_jackknife_refuses_what_it_cannot_leave_out(form: Form) -> None:
    alike = torch.zeros(10, 3)
    alike[0] = 1.0
    with pytest.raises(InputError, match="at least 3 rows; got 2"):
        cka_biased_pairs([GOOD[:2]], form=form)
    with pytest.raises(InputError, match="state 1 has none over 10 rows, after one of them is left out"):
        cka_biased_pairs([GOOD, alike], form=form)
    with pytest.raises(InputError, match="state 0 is constant over its 10 rows"):
        cka_biased_pairs([torch.ones(10, 2), GOOD], form=form)
