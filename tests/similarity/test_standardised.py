"""The standardised cosine: free of every dimension's scale and offset, and blind to nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerprobe.errors import InputError
from layerprobe.similarity.standardised import standardised_cosine, standardised_cosine_pairs
from layerprobe.similarity.vectors import centred_cosine


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow(x: torch.Tensor, y: torch.Tensor) -> float:
    a, b = ((state - state.mean(0)) / state.std(0) for state in (x, y))
    rows = [float(u @ v) / float(u.norm() * v.norm()) for u, v in zip(a, b, strict=True)]
    return float(np.mean(rows))


def test_equals_the_definition_row_by_row() -> None:
    x, y = normal(2, 30, 7) * torch.arange(1, 8) + 3
    y = x + 0.5 * y
    assert standardised_cosine(x, y) == pytest.approx(slow(x, y), abs=1e-12)


def test_no_gain_or_offset_per_dimension_moves_it_while_they_move_the_centred_cosine() -> None:
    x, noise = normal(2, 200, 6, seed=1)
    y = x + noise
    gain = torch.tensor([1e-6, 1.0, 30.0, 1.0, 1e5, 2.0], dtype=torch.float64)
    expected = standardised_cosine(x, y)
    assert standardised_cosine(x, y * gain + 100 * gain) == pytest.approx(expected, abs=1e-9)
    assert abs(centred_cosine(x, y * gain) - centred_cosine(x, y)) > 0.1


def test_equal_states_read_one_independent_ones_about_zero_and_a_dead_dimension_nothing() -> None:
    x, y = normal(2, 500, 20, seed=2)
    assert standardised_cosine(x, x) == pytest.approx(1.0, abs=1e-12)
    assert abs(standardised_cosine(x, y)) < 0.03
    with_dead = [torch.cat([state, torch.full((500, 1), 9.0, dtype=torch.float64)], dim=1) for state in (x, y)]
    assert standardised_cosine(*with_dead) == pytest.approx(standardised_cosine(x, y), abs=1e-12)


def test_pairs_hold_the_rows_whose_mean_is_the_value() -> None:
    states = normal(3, 40, 5, seed=3).cumsum(dim=0)
    found = standardised_cosine_pairs(states, (torch.tensor([2, 0]), torch.tensor([0, 1])))
    assert found.estimates.tolist() == pytest.approx([slow(states[2], states[0]), slow(states[0], states[1])])
    np.testing.assert_allclose(found.row_parts.mean(axis=0), found.estimates)


REFUSED = [
    (normal(5, 3), normal(5, 4), r"states of the same dim; got \[3, 4\]"),
    (normal(5, 3), torch.ones(5, 3), "state 1 is constant over its 5 rows"),
    (normal(5, 3), normal(4, 3), r"same rows; got row counts \[4, 5\]"),
    (normal(5, 3) * float("inf"), normal(5, 3), "NaN or infinite values"),
    (torch.tensor([[1.0], [0.0], [-1.0]]), normal(3, 1), "state 0 has 1 zero vectors of 3 rows"),
]


@pytest.mark.parametrize(("x", "y", "message"), REFUSED)
def test_refuses_with_the_numbers(x: torch.Tensor, y: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        standardised_cosine(x, y)
