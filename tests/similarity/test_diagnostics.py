"""Outlier rows and rogue dimensions are counted, so that a map they made can be told from a finding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerprobe import columns
from layerprobe.errors import InputError
from layerprobe.similarity.cka import linear_cka
from layerprobe.similarity.diagnostics import state_table
from layerprobe.similarity.vectors import centred_cosine, cosine


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_plain_gaussian_states_have_neither() -> None:
    table = state_table(normal(3, 500, 40))
    assert tuple(table.columns) == columns.STATES
    assert table[columns.LAYER].tolist() == [0, 1, 2]
    assert (table[[columns.N_ROWS, columns.DIM]].to_numpy() == [500, 40]).all()
    for name in (columns.OUTLIER_ROWS, columns.OUTLIER_SPREAD, columns.ROGUE_DIMS):
        assert (table[name] == 0).all()
    assert (table[columns.MEAN_COSINE].abs() < 0.01).all()


def test_a_few_rows_with_a_huge_coordinate_are_counted_with_their_share_of_the_spread() -> None:
    """1 % of the rows share a coordinate of +100: CKA of independent states jumps from 0 to near 1."""
    x, y = normal(2, 1000, 30, seed=1)
    clean = linear_cka(x, y)
    x[:10, 3] += 100
    y[:10, 5] += 100
    assert abs(clean) < 0.01 < 0.8 < linear_cka(x, y)
    row = state_table([x]).iloc[0]
    assert row[columns.OUTLIER_ROWS] == 10 / 1000
    centred = x - x.mean(dim=0)
    parts = centred.square().sum(dim=1)
    assert row[columns.OUTLIER_SPREAD] == pytest.approx(float(parts[:10].sum() / parts.sum()))


def test_a_coordinate_that_is_large_in_every_row_is_rogue() -> None:
    """Independent states with one coordinate of +30 have a mean cosine of about .9; centred it is about 0."""
    x, y = normal(2, 400, 64, seed=2)
    x[:, 7] += 30
    y[:, 7] += 30
    assert cosine(x, y) > 0.9
    assert abs(centred_cosine(x, y)) < 0.05
    row = state_table([x]).iloc[0]
    assert row[columns.ROGUE_DIMS] == 1
    assert row[columns.ROGUE_SHARE] > 0.99


def test_the_mean_cosine_is_that_of_all_pairs_of_different_rows() -> None:
    x = normal(20, 6, seed=3) + 1
    units = (x / x.norm(dim=1, keepdim=True)).numpy()
    pairs = [units[i] @ units[j] for i in range(20) for j in range(20) if i != j]
    assert state_table([x])[columns.MEAN_COSINE].iloc[0] == pytest.approx(np.mean(pairs))


def test_scale_changes_nothing() -> None:
    x = normal(50, 6, seed=4) + 1
    for factor in (1e-200, 1e150):
        expected = state_table([x]).to_numpy()
        np.testing.assert_allclose(state_table([x * factor]).to_numpy(), expected, rtol=1e-9)


def test_constant_and_zero_states_have_numbers_and_no_division_by_zero() -> None:
    table = state_table([torch.ones(4, 3), torch.zeros(4, 3)])
    assert np.isfinite(table.to_numpy()).all()
    assert table[columns.MEAN_COSINE].iloc[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("state", "message"),
    [(normal(1, 4), "at least 2 rows; got 1"), (normal(5, 4) * float("nan"), "20 NaN or infinite values of 20")],
)
def test_refuses_with_the_numbers(state: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        state_table([state])
