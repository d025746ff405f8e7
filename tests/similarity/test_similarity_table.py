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
from layerprobe.similarity.importance import LAYER_MEASURES, NEEDED, block_table, importance_table, kept_layers
from layerprobe.similarity.measures import MEASURES, measures_named, require_rows
from layerprobe.similarity.states import PairScores
from layerprobe.similarity.table import (
    Resampling,
    null_table,
    pair_scores,
    similarity_table,
    square_table,
    student_table,
)
from layerprobe.similarity.vectors import angular_distance, block_influence, cosine

BOTH = ("cka", "cosine")
HUNDRED = Resampling(n_boot=100)


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
    table = similarity_table(hidden, "readout", BOTH, HUNDRED)
    assert tuple(table.columns) == columns.SIMILARITY
    assert len(table) == 2 * 4 * 4
    assert not table.isna().any().any()
    np.testing.assert_allclose(square(table, "cka", columns.VALUE), cka_matrix(hidden), rtol=0, atol=1e-13)
    expected = [[cosine(a, b) for b in hidden] for a in hidden]
    np.testing.assert_allclose(square(table, "cosine", columns.VALUE), expected, rtol=0, atol=1e-14)
    facts = table[[columns.N_ROWS, columns.DIM, columns.ROWS]].drop_duplicates()
    assert facts.to_numpy().tolist() == [[60, 8, "readout"]]


@pytest.mark.parametrize("measure", list(MEASURES))
def test_values_and_intervals_are_symmetric_and_enclose_the_value(measure: str) -> None:
    table = similarity_table(walk(4, 60, 8), "readout", [measure], Resampling(200))
    value, low, high = (square(table, measure, name) for name in (columns.VALUE, columns.CI_LOW, columns.CI_HIGH))
    for matrix in (value, low, high):
        np.testing.assert_array_equal(matrix, matrix.T)
    off_diagonal = ~np.eye(4, dtype=bool)
    assert np.all(low[off_diagonal] < value[off_diagonal])
    assert np.all(value[off_diagonal] < high[off_diagonal])
    assert np.all(high <= 1)
    assert np.all(low >= MEASURES[measure].low)
    for matrix in (value, low, high):
        np.testing.assert_allclose(np.diag(matrix), MEASURES[measure].same, rtol=0, atol=1e-9)


def test_intervals_stay_within_the_range_of_the_measures() -> None:
    noise = normal(6, 2, seed=1)
    x = normal(6, 2)
    table = similarity_table(torch.stack([x, x + 0.5 * noise]), "readout", ["cka"], Resampling(500))
    assert interval(table, "cka")[1] == 1.0  # 1.49 before it is cut
    assert table[columns.CI_HIGH].max() == 1.0


def test_equal_states_read_one_with_an_interval_of_no_width() -> None:
    x = normal(50, 6)
    table = similarity_table(torch.stack([x, x]), "readout", BOTH, HUNDRED)
    np.testing.assert_allclose(table[[columns.VALUE, columns.CI_LOW, columns.CI_HIGH]], 1.0, rtol=0, atol=1e-9)


def test_depth_zero_alone_gives_one_pair_and_no_layer() -> None:
    hidden = normal(1, 20, 4)
    table = similarity_table(hidden, "readout", BOTH, HUNDRED)
    assert table[[columns.LAYER_A, columns.LAYER_B]].to_numpy().tolist() == [[0, 0], [0, 0]]
    found = pair_scores(hidden, NEEDED)
    for empty, names in (
        (importance_table(found, hidden, HUNDRED), columns.IMPORTANCE),
        (block_table(found, hidden, HUNDRED), columns.BLOCKS),
        (null_table(hidden, BOTH, 20), columns.NULL),
    ):
        assert tuple(empty.columns) == names
        assert len(empty) == 0
    assert kept_layers(found, 1) == {"bi": [[]], "cka": [[]], "angular": [[]]}


def test_same_seed_same_table_and_other_seed_other_intervals() -> None:
    hidden = walk(3, 60, 8)
    first = similarity_table(hidden, "readout", BOTH, Resampling(100, seed=1))
    pd.testing.assert_frame_equal(first, similarity_table(hidden, "readout", BOTH, Resampling(100, seed=1)))
    other = similarity_table(hidden, "readout", BOTH, Resampling(100, seed=2))
    assert (first[columns.CI_LOW] != other[columns.CI_LOW]).any()
    np.testing.assert_array_equal(first[columns.VALUE], other[columns.VALUE])


def test_a_larger_alpha_narrows_the_intervals() -> None:
    widths = [
        (table[columns.CI_HIGH] - table[columns.CI_LOW]).sum()
        for table in (
            similarity_table(walk(3, 60, 8), "readout", BOTH, Resampling(400, alpha)) for alpha in (0.05, 0.5)
        )
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
        table = similarity_table(torch.stack([x, 2 * x + 1.5 * noise]), "readout", BOTH, Resampling(200, alpha, seed))
        for measure, expected in truth.items():
            low, high = interval(table, measure)
            hits[measure] += low <= expected <= high
    for covered in hits.values():
        assert 0.82 < covered / n_sets < 0.97  # .90 +- 3 standard errors of .0245


def test_the_cka_interval_of_independent_states_covers_zero() -> None:
    covered = []
    for seed in range(40):
        table = similarity_table(normal(2, 64, 256, seed=seed), "readout", ["cka"], Resampling(200, 0.05, seed))
        low, high = interval(table, "cka")
        assert high - low < 0.3
        covered.append(low <= 0 <= high)
    assert np.mean(covered) >= 0.9


def importance_of(hidden: torch.Tensor) -> dict[str, np.ndarray]:
    table = importance_table(pair_scores(hidden, NEEDED), hidden, HUNDRED)
    assert tuple(table.columns) == columns.IMPORTANCE
    assert (table[columns.N_ROWS] == hidden.shape[1]).all()
    assert (table[columns.DIM] == hidden.shape[2]).all()
    assert (table[columns.CI_LOW] <= table[columns.VALUE]).all()
    assert (table[columns.VALUE] <= table[columns.CI_HIGH]).all()
    assert (table[columns.CI_LOW] >= 0).all()
    return {str(name): rows[columns.VALUE].to_numpy() for name, rows in table.groupby(columns.MEASURE, sort=False)}


def test_importance_is_the_distance_of_what_goes_in_and_comes_out_by_each_measure() -> None:
    hidden = walk(4, 30, 6)
    hidden[2] = hidden[1]
    found = importance_of(hidden)
    assert list(found) == list(LAYER_MEASURES)
    np.testing.assert_allclose(found["block-influence"], block_influence(hidden), rtol=0, atol=1e-12)
    for name, behind in LAYER_MEASURES.items():
        measure = MEASURES[behind]
        expected = [abs(measure.same - measure.of(hidden[i], hidden[i + 1])) for i in range(3)]
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-12)
        assert found[name][1] == pytest.approx(0, abs=1e-12)


def test_centred_block_influence_sees_what_a_loud_coordinate_hides_from_the_plain_one() -> None:
    """Layer 0 turns the differences between users, layer 1 keeps them; all users share a coordinate of +50."""
    hidden = walk(3, 200, 16, seed=5)
    hidden[2] = hidden[1] + 0.1 * normal(200, 16, seed=6)
    hidden[:, :, 3] += 50
    found = importance_of(hidden)
    assert found["block-influence"][0] < 0.02
    assert found["block-influence-centred"][0] > 0.2 > 0.02 > found["block-influence-centred"][1]


def test_runs_of_layers_hold_every_start_and_length_with_the_angle_of_their_ends() -> None:
    hidden = walk(5, 40, 6)
    table = block_table(pair_scores(hidden, NEEDED), hidden, HUNDRED)
    assert tuple(table.columns) == columns.BLOCKS
    runs = [(start, length) for start in range(4) for length in range(1, 5 - start)]
    assert [tuple(run) for run in table[[columns.START, columns.LENGTH]].to_numpy()] == runs
    expected = [angular_distance(hidden[start], hidden[start + length]) for start, length in runs]
    np.testing.assert_allclose(table[columns.VALUE], expected, rtol=0, atol=1e-12)


def test_kept_layers_follow_the_measures_they_are_named_for() -> None:
    hidden = walk(5, 40, 6, seed=8)
    hidden[2] = hidden[1] + 0.05 * normal(40, 6, seed=9)
    kept = kept_layers(pair_scores(hidden, NEEDED), 5)
    assert set(kept) == {"bi", "cka", "angular"}
    found = importance_of(hidden)
    for form, name in (("bi", "block-influence"), ("cka", "cka-drop")):
        assert found[name].argmin() == 1
        assert kept[form][3] == [0, 2, 3]
        assert kept[form][1] == [int(found[name].argmax())]
    assert kept["angular"][3] == [0, 2, 3]
    runs = [angular_distance(hidden[start], hidden[start + 3]) for start in range(2)]
    assert kept["angular"][1] == [0 if runs[1] <= runs[0] else 3]


def test_a_student_is_compared_state_by_state_with_its_teacher() -> None:
    teacher, student = walk(4, 60, 8), walk(3, 60, 5, seed=1)
    names = [name for name, measure in MEASURES.items() if not measure.same_space]
    table = student_table(teacher, student, "readout", names, HUNDRED)
    assert tuple(table.columns) == columns.SIMILARITY
    assert len(table) == len(names) * 4 * 3
    for name, rows in table.groupby(columns.MEASURE):
        for row in rows.itertuples():
            expected = MEASURES[str(name)].of(teacher[row.layer_a], student[row.layer_b])
            assert row.value == pytest.approx(expected, abs=1e-9)


def test_coordinates_of_different_spaces_are_not_compared() -> None:
    with pytest.raises(InputError, match=r"cosines need states of the same dim; got \[5, 8\]"):
        student_table(walk(2, 60, 8), walk(2, 60, 5), "readout", ["cosine"], HUNDRED)


def test_the_null_is_what_the_measure_reads_on_shuffled_rows_of_the_last_state() -> None:
    """Against a loop that shuffles by the same generator; 7 copies do not fill the last turn of states."""
    hidden, n = walk(4, 50, 8), 23
    table = null_table(hidden, ["cka", "procrustes"], n, alpha=0.2, seed=3)
    generator = torch.Generator().manual_seed(3)
    orders = [torch.randperm(50, generator=generator) for _ in range(n)]
    assert (table[columns.N_PERMUTATIONS] == n).all()
    assert (table[columns.LAYER_B] == 3).all()
    for row in table.itertuples():
        values = [MEASURES[row.measure].of(hidden[row.layer_a], hidden[3][order]) for order in orders]
        assert row.value == pytest.approx(np.mean(values), abs=1e-9)
        assert [row.ci_low, row.ci_high] == pytest.approx(np.quantile(values, [0.1, 0.9]), abs=1e-9)


def test_chance_is_zero_for_debiased_cka_and_far_from_it_for_the_biased_one() -> None:
    """64 rows of 512 dimensions: the biased estimate reads about 512 / (64 + 512) = .89 where nothing is shared."""
    hidden = normal(2, 64, 512)
    table = null_table(hidden, ["cka", "cka-biased", "mutual-knn"], 40).set_index(columns.MEASURE)
    assert abs(table.loc["cka", columns.VALUE]) < 0.01
    assert table.loc["cka", columns.CI_LOW] < 0 < table.loc["cka", columns.CI_HIGH]
    assert table.loc["cka-biased", columns.VALUE] == pytest.approx(512 / (64 + 512), abs=0.02)
    assert table.loc["mutual-knn", columns.VALUE] == pytest.approx(10 / 63, abs=0.02)


def test_two_models_trained_apart_on_the_same_users_are_apart() -> None:
    """Independent states of teacher and student: the interval of debiased CKA covers 0."""
    table = student_table(normal(2, 200, 64), normal(2, 200, 64, seed=1), "readout", ["cka"], Resampling(200))
    assert (table[columns.CI_LOW] <= 0).mean() >= 0.75
    assert (table[columns.CI_HIGH] >= 0).all()
    assert table[columns.VALUE].abs().max() < 0.1


def test_intervals_are_cut_at_the_range_and_nowhere_else() -> None:
    scores = PairScores(np.array([0.5]), np.random.default_rng(0).normal(0.5, 3, size=(20, 1)))
    assert [float(bound[0]) for bound in HUNDRED.bounds(scores, 0, 1)] == [0.0, 1.0]
    low, high = HUNDRED.bounds(scores)
    assert low[0] < 0.5 < high[0]
    table = square_table({"cosine": PairScores(np.ones(1), np.ones((20, 1)))}, normal(1, 20, 4), "any", HUNDRED)
    assert table[[columns.CI_LOW, columns.CI_HIGH]].to_numpy().tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("names", [[], ["cka", "banana"], ["cka", "cka"]])
def test_measures_are_known_each_once_and_at_least_one(names: list[str]) -> None:
    with pytest.raises(InputError, match="measures must be some of cka, cka-biased"):
        measures_named(names)


@pytest.mark.parametrize("name", list(MEASURES))
def test_the_rows_that_a_measure_says_it_needs_are_enough_and_one_fewer_is_not(name: str) -> None:
    measure, dim = MEASURES[name], 16
    least = max(measure.least_rows, dim + 1 if measure.above_dim else 0)
    require_rows([name], least, dim)
    measure.pairs(walk(2, least, dim), None)
    with pytest.raises(InputError, match=f"{name} needs at least {least} rows"):
        require_rows([name], least - 1, dim)


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
    (walk(3, 20, 4), {"measures": ["ckaa"]}, "got ckaa"),
]


@pytest.mark.parametrize(("hidden", "options", "message"), REFUSED)
def test_refuses_with_the_numbers(hidden: torch.Tensor, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        similarity_table(hidden, "readout", **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, r"alpha must lie in \[1e-12, 1\); got 0.0"),
        ({"alpha": 1.0}, "got 1.0"),
        ({"n_boot": 0}, "n_boot must be at least 100; got 0"),
    ],
)
def test_resampling_out_of_range_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Resampling(**options)


def test_too_few_shuffles_are_refused() -> None:
    with pytest.raises(InputError, match="at least 20 permutations; got 19"):
        null_table(walk(2, 20, 4), ["cka"], 19)
