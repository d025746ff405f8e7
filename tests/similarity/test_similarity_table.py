"""The similarity and importance tables: what they hold, and whether their intervals are honest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from layerprobe import columns
from layerprobe.errors import InputError
from layerprobe.similarity.cka import cka_matrix
from layerprobe.similarity.table import importance_table, similarity_table
from layerprobe.similarity.vectors import block_influence, cosine


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def walk(n_states: int, n_rows: int, dim: int, seed: int = 0) -> torch.Tensor:
    """States that drift apart: each is the one before plus noise."""
    return normal(n_states, n_rows, dim, seed=seed).cumsum(dim=0)


def square(table: pd.DataFrame, measure: str, column: str) -> np.ndarray:
    rows = table[table[columns.MEASURE] == measure]
    return rows.pivot_table(index=columns.LAYER_A, columns=columns.LAYER_B, values=column).to_numpy()


def interval(table: pd.DataFrame, measure: str) -> list[float]:
    """The interval between the states 0 and 1."""
    row = (table[columns.MEASURE] == measure) & (table[columns.LAYER_A] == 0) & (table[columns.LAYER_B] == 1)
    return table.loc[row, [columns.CI_LOW, columns.CI_HIGH]].to_numpy()[0].tolist()


def test_table_holds_the_full_square_of_both_measures() -> None:
    hidden = walk(4, 60, 8).float()
    table = similarity_table(hidden, "readout", n_boot=100)
    assert tuple(table.columns) == columns.SIMILARITY
    assert len(table) == 2 * 4 * 4
    assert not table.isna().any().any()
    np.testing.assert_allclose(square(table, "cka", columns.VALUE), cka_matrix(hidden), rtol=0, atol=1e-13)
    expected = [[cosine(a, b) for b in hidden] for a in hidden]
    np.testing.assert_allclose(square(table, "cosine", columns.VALUE), expected, rtol=0, atol=1e-14)
    facts = table[[columns.N_ROWS, columns.DIM, columns.ROWS]].drop_duplicates()
    assert facts.to_numpy().tolist() == [[60, 8, "readout"]]


@pytest.mark.parametrize("measure", ["cka", "cosine"])
def test_values_and_intervals_are_symmetric_and_enclose_the_value(measure: str) -> None:
    table = similarity_table(walk(4, 60, 8), "readout", n_boot=200)
    value, low, high = (square(table, measure, name) for name in (columns.VALUE, columns.CI_LOW, columns.CI_HIGH))
    for matrix in (value, low, high):
        np.testing.assert_array_equal(matrix, matrix.T)
    off_diagonal = ~np.eye(4, dtype=bool)
    assert np.all(low[off_diagonal] < value[off_diagonal])
    assert np.all(value[off_diagonal] < high[off_diagonal])
    assert np.all(high <= 1)
    for matrix in (value, low, high):
        np.testing.assert_allclose(np.diag(matrix), 1.0, rtol=0, atol=1e-9)


def test_intervals_stay_within_the_range_of_the_measures() -> None:
    noise = normal(6, 2, seed=1)
    x = normal(6, 2)
    table = similarity_table(torch.stack([x, x + 0.5 * noise]), "readout", n_boot=500)
    assert interval(table, "cka")[1] == 1.0  # 1.49 before it is cut
    assert table[columns.CI_HIGH].max() == 1.0


def test_equal_states_read_one_with_an_interval_of_no_width() -> None:
    x = normal(50, 6)
    table = similarity_table(torch.stack([x, x]), "readout", n_boot=100)
    np.testing.assert_allclose(table[[columns.VALUE, columns.CI_LOW, columns.CI_HIGH]], 1.0, rtol=0, atol=1e-9)


def test_depth_zero_alone_gives_one_pair_and_no_layer() -> None:
    table = similarity_table(normal(1, 20, 4), "readout", n_boot=100)
    assert table[[columns.LAYER_A, columns.LAYER_B]].to_numpy().tolist() == [[0, 0], [0, 0]]
    importance = importance_table(normal(1, 20, 4))
    assert tuple(importance.columns) == columns.IMPORTANCE
    assert len(importance) == 0


def test_same_seed_same_table_and_other_seed_other_intervals() -> None:
    hidden = walk(3, 60, 8)
    first = similarity_table(hidden, "readout", n_boot=100, seed=1)
    pd.testing.assert_frame_equal(first, similarity_table(hidden, "readout", n_boot=100, seed=1))
    other = similarity_table(hidden, "readout", n_boot=100, seed=2)
    assert (first[columns.CI_LOW] != other[columns.CI_LOW]).any()
    np.testing.assert_array_equal(first[columns.VALUE], other[columns.VALUE])


def test_a_larger_alpha_narrows_the_intervals() -> None:
    widths = [
        (table[columns.CI_HIGH] - table[columns.CI_LOW]).sum()
        for table in (similarity_table(walk(3, 60, 8), "readout", 400, alpha) for alpha in (0.05, 0.5))
    ]
    assert widths[1] < 0.5 * widths[0]  # 0.67 against 1.96 standard errors


def test_intervals_cover_the_population_value_about_as_often_as_they_say() -> None:
    """x ~ N(0, I), y = 2x + 1.5 e in 4 dims: Cov(x, y) = 2 I and Cov(y) = 6.25 I, so CKA = 4 / 6.25."""
    n_sets, dim, alpha = 150, 4, 0.1
    many = normal(2, 200_000, dim, seed=999)
    truth = {"cka": 4 / 6.25, "cosine": cosine(many[0], 2 * many[0] + 1.5 * many[1])}
    hits = dict.fromkeys(truth, 0)
    for seed in range(n_sets):
        x, noise = normal(2, 80, dim, seed=seed)
        table = similarity_table(torch.stack([x, 2 * x + 1.5 * noise]), "readout", 200, alpha, seed)
        for measure, expected in truth.items():
            low, high = interval(table, measure)
            hits[measure] += low <= expected <= high
    for covered in hits.values():
        assert 0.82 < covered / n_sets < 0.97  # .90 +- 3 standard errors of .0245


def test_the_cka_interval_of_independent_states_covers_zero() -> None:
    covered = []
    for seed in range(40):
        table = similarity_table(normal(2, 64, 256, seed=seed), "readout", 200, 0.05, seed)
        low, high = interval(table, "cka")
        assert high - low < 0.3
        covered.append(low <= 0 <= high)
    assert np.mean(covered) >= 0.9


def test_importance_holds_one_block_influence_per_layer() -> None:
    hidden = walk(4, 30, 6)
    hidden[2] = hidden[1]
    table = importance_table(hidden)
    assert tuple(table.columns) == columns.IMPORTANCE
    assert table[columns.MEASURE].tolist() == ["block-influence"] * 3
    assert table[columns.LAYER].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(table[columns.VALUE], block_influence(hidden))
    assert table[columns.VALUE].tolist()[1] == 0.0


def constant_start() -> torch.Tensor:
    hidden = walk(3, 20, 4)
    hidden[0] = 1.0
    return hidden


def with_zero_row() -> torch.Tensor:
    hidden = walk(3, 20, 4)
    hidden[1, 7] = 0.0
    return hidden


REFUSED = [
    (constant_start(), {}, "state 0 is constant over its 20 rows"),
    (with_zero_row(), {}, "state 1 has 1 zero vectors of 20 rows"),
    (walk(3, 4, 4), {}, "at least 5 rows; got 4"),
    (walk(3, 0, 4), {}, "at least 5 rows; got 0"),
    (walk(3, 20, 4) * float("nan"), {}, "state 0 holds 80 NaN or infinite values of 80"),
    (walk(3, 20, 4), {"alpha": 0.0}, "alpha must lie between 0 and 1"),
    (walk(3, 20, 4), {"alpha": 1.0}, "got 1.0"),
    (walk(3, 20, 4), {"n_boot": 0}, "n_boot of at least 100 resamples; got 0"),
]


@pytest.mark.parametrize(("hidden", "options", "message"), REFUSED)
def test_refuses_with_the_numbers(hidden: torch.Tensor, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        similarity_table(hidden, "readout", **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
