"""Whether a cheap score predicts the curve: what is summed, what is correlated, and how sure one may be."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from layerprobe import columns
from layerprobe.backbone.selection import LayerSelection, parse_selection
from layerprobe.probing.predictiveness import (
    MeasuredCurve,
    _agreement,
    _ceiling,
    _reachable,
    _resampled,
    layer_predictions,
    predictiveness,
    runs_left_out,
    spearman,
)

CEILING, SAME_MODELS, DEPTH_SCORE = columns.PERFECT_SCORE, columns.SAME_MODELS_SCORE, columns.DEPTH_SCORE


def chosen(*texts: str, n_layers: int = 6) -> tuple[LayerSelection, ...]:
    return tuple(parse_selection(text, n_layers) for text in texts)


SIX = chosen("first:1", "first:2", "last:2", "keep:0,3", "first:4", "first:6")


def curve_of(means: list[float], n_users: int = 400, noise: float = 0.02, seed: int = 0) -> MeasuredCurve:
    """Users around given means, one training; the noise of a user is shared by half between the variants."""
    generator = np.random.default_rng(seed)
    shared, own = generator.normal(size=(n_users, 1)), generator.normal(size=(n_users, len(means)))
    return MeasuredCurve(SIX[: len(means)], (np.array(means) + noise * (shared + own))[None])


def trained(means: list[float], n_seeds: int, luck: float, seed: int, n_users: int = 400) -> MeasuredCurve:
    """Every training adds luck to each variant, as a share of its mean; users add noise that all trainings share."""
    generator = np.random.default_rng(seed)
    reached = np.array(means) * (1 + luck * generator.normal(size=(n_seeds, len(means))))
    users = 0.01 * (generator.normal(size=(n_users, 1)) + generator.normal(size=(n_users, len(means))))
    return MeasuredCurve(SIX[: len(means)], reached[:, None, :] + users)


def row_of(table: pd.DataFrame, score: str) -> pd.Series:
    return table.loc[table[columns.SCORE] == score].iloc[0]


def test_a_layer_score_is_minus_the_sum_over_what_is_left_out() -> None:
    importance = pd.DataFrame({columns.MEASURE: "taylor", columns.LAYER: range(6), columns.VALUE: [1, 2, 4, 8, 16, 32]})
    blocks = pd.DataFrame(
        [("angular", start, length, 100 * start + length) for start in range(6) for length in range(1, 7 - start)],
        columns=[columns.MEASURE, columns.START, columns.LENGTH, columns.VALUE],
    )
    found = layer_predictions(importance, blocks, SIX)
    all_six = 1 + 2 + 4 + 8 + 16 + 32
    assert found["taylor"].tolist() == [1 - all_six, 3 - all_six, 48 - all_six, 9 - all_six, 15 - all_six, 0]
    # keep:0,3 leaves out the runs (1, 2) and (4, 2): 102 + 402
    assert found["angular"].tolist() == [-105, -204, -4, -(102 + 402), -402, 0]


@pytest.mark.parametrize(
    ("text", "runs"),
    [("first:6", []), ("first:0", [(0, 6)]), ("every:2", [(1, 1), (3, 1), (5, 1)]), ("last:2", [(0, 4)])],
)
def test_runs_left_out_are_the_maximal_ones(text: str, runs: list[tuple[int, int]]) -> None:
    assert runs_left_out(parse_selection(text, 6)) == runs


def test_spearman_equals_scipys_with_ties_and_over_leading_axes() -> None:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 4, size=9).astype(float)
    y = generator.integers(0, 5, size=(7, 9)).astype(float)
    expected = [stats.spearmanr(x, row).statistic for row in y]
    np.testing.assert_allclose(spearman(x, y), expected, rtol=0, atol=1e-12)


def test_a_score_in_the_order_of_the_curve_reads_one_and_its_reverse_minus_one() -> None:
    means = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    table, _ = predictiveness({"right": np.arange(6.0), "wrong": -np.arange(6.0)}, curve_of(means))
    right, wrong = row_of(table, "right"), row_of(table, "wrong")
    assert right[[columns.CORRELATION, columns.CI_LOW, columns.CI_HIGH]].tolist() == [1, 1, 1]
    assert wrong[columns.CORRELATION] == -1
    assert right[columns.P_VALUE] == pytest.approx(1 / 720)  # one order of 6! does as well
    assert wrong[columns.P_VALUE] == 1
    assert (table[columns.N_SELECTIONS] == 6).all()
    assert (table[columns.N_USERS] == 400).all()


def test_the_p_value_is_the_share_of_all_orders_that_correlate_as_well() -> None:
    score, means = np.array([3.0, 1.0, 2.0, 2.0, 5.0]), [0.1, 0.2, 0.3, 0.4, 0.5]
    curve = curve_of(means, noise=0.0)
    table, _ = predictiveness({"score": score}, curve)
    found = stats.spearmanr(score, means).statistic
    orders = [stats.spearmanr(score, order).statistic for order in permutations(means)]
    assert row_of(table, "score")[columns.P_VALUE] == pytest.approx(np.mean(np.array(orders) >= found - 1e-9))


def test_noise_of_the_curve_widens_the_interval_and_lowers_the_ceiling() -> None:
    """The same means: told apart by little noise, not by much."""
    means, score = [0.30, 0.31, 0.32, 0.33, 0.34, 0.35], {"score": np.arange(6.0)}
    clear, _ = predictiveness(score, curve_of(means, noise=0.001))
    noisy, _ = predictiveness(score, curve_of(means, noise=0.3))
    sharp, dull = row_of(clear, "score"), row_of(noisy, "score")
    assert sharp[columns.CI_HIGH] - sharp[columns.CI_LOW] < 0.05
    assert dull[columns.CI_HIGH] - dull[columns.CI_LOW] > 0.3
    assert row_of(clear, SAME_MODELS)[columns.CORRELATION] == 1
    assert row_of(noisy, SAME_MODELS)[columns.CORRELATION] < 0.95
    for row in (sharp, dull):
        assert row[columns.CI_LOW] <= row[columns.CORRELATION] <= row[columns.CI_HIGH]


def test_a_flat_curve_has_a_ceiling_whose_interval_holds_zero() -> None:
    for seed in range(5):
        table, _ = predictiveness({}, curve_of([0.3] * 6, n_users=500, seed=seed))
        assert row_of(table, SAME_MODELS)[columns.CI_LOW] <= 0


@pytest.mark.parametrize("noise", [0.1, 0.25, 0.5])
def test_the_ceiling_is_what_the_true_order_reaches_on_average(noise: float) -> None:
    """30 studies of six variants: how well the truth correlates with what was measured, and the ceiling each gives."""
    means, reached, ceilings = [0.30, 0.32, 0.34, 0.36, 0.38, 0.40], [], []
    for seed in range(30):
        table, _ = predictiveness({"truth": np.arange(6.0)}, curve_of(means, 400, noise, seed), n_boot=100, seed=seed)
        reached.append(row_of(table, "truth")[columns.CORRELATION])
        ceilings.append(row_of(table, SAME_MODELS)[columns.CORRELATION])
    assert np.mean(reached) < 0.99 or noise == 0.1
    assert np.mean(ceilings) == pytest.approx(np.mean(reached), abs=0.08)


def ceilings_of(means: list[float], n_seeds: int, luck: float, n_studies: int) -> np.ndarray:
    found = []
    for seed in range(n_studies):
        found.append(_ceiling(trained(means, n_seeds, luck, seed), 0.05, seed)[columns.CORRELATION])
    return np.array(found)


def test_luck_of_training_is_no_truth() -> None:
    """Equal selections, 1 % luck per training: halves of users repeat it, halves of seeds do not."""
    equal = [0.30] * 6
    assert ceilings_of(equal, 1, 0.01, 20).mean() > 0.9  # these very models do differ
    for n_seeds in (2, 3):
        found = ceilings_of(equal, n_seeds, 0.01, 60)
        assert abs(found.mean()) < 3 * found.std() / 60**0.5
        assert abs(found.mean()) < 0.25


@pytest.mark.parametrize("n_seeds", [2, 3, 4])
def test_clearly_ordered_selections_have_a_ceiling_near_one(n_seeds: int) -> None:
    assert ceilings_of([0.20, 0.24, 0.28, 0.32, 0.36, 0.40], n_seeds, 0.01, 10).min() > 0.97


@pytest.mark.parametrize(("n_seeds", "low", "high"), [(2, -0.1, 0.05), (3, -0.12, 0.02), (4, -0.1, 0.05)])
def test_halves_of_seeds_give_what_the_true_order_reaches(n_seeds: int, low: float, high: float) -> None:
    """80 studies whose trainings have luck of the size of two steps; with 3 seeds the ceiling is a bit too low."""
    means = [0.30, 0.303, 0.306, 0.309, 0.312, 0.315]
    studies = [trained(means, n_seeds, 0.02, seed, n_users=100) for seed in range(80)]
    reached = np.mean([stats.spearmanr(np.arange(6), study.means).statistic for study in studies])
    found = _reachable(float(np.mean([_agreement(study, seed) for seed, study in enumerate(studies)])))
    assert low < found - reached < high


def test_an_interval_over_seeds_is_wider_by_what_training_adds() -> None:
    """The spread of resampled curves is that of the mean of independent trainings: sd / sqrt(seeds) per variant."""
    for n_seeds in (2, 3, 5):
        variances = [
            _resampled(trained([0.3] * 6, n_seeds, 0.05, seed, 500), 400, seed).var(axis=0).mean() for seed in range(40)
        ]
        expected = (0.3 * 0.05) ** 2 / n_seeds + 2 * 0.01**2 / 500
        assert np.mean(variances) == pytest.approx(expected, rel=0.2)
    one, two = (trained([0.30, 0.31, 0.32, 0.33, 0.34, 0.35], n, 0.03, 1) for n in (1, 2))
    equal_seeds = MeasuredCurve(SIX, np.concatenate([one.per_user, one.per_user]))
    widths = []
    for curve in (one, equal_seeds, two):
        row = row_of(predictiveness({"score": np.arange(6.0)}, curve)[0], "score")
        widths.append(row[columns.CI_HIGH] - row[columns.CI_LOW])
    assert widths[0] == pytest.approx(widths[1], abs=1e-12)  # trainings that agree add nothing
    assert widths[2] > widths[0]


def test_a_curve_has_values_per_seed_user_and_selection() -> None:
    curve = trained([0.1, 0.2, 0.3], 2, 0.1, 0, n_users=50)
    np.testing.assert_allclose(curve.means, curve.per_user.reshape(100, 3).mean(axis=0))
    assert (curve.seeds, curve.n_users) == (2, 50)
    with pytest.raises(ValueError, match=r"expected values \[seeds, users, 3 selections\]; got shape \(50, 3\)"):
        MeasuredCurve(SIX[:3], curve.per_user[0])


def test_depth_is_always_there_to_be_beaten() -> None:
    table, points = predictiveness({}, curve_of([0.1, 0.2, 0.2, 0.2, 0.4, 0.6], noise=0.0))
    assert table[columns.SCORE].tolist() == [DEPTH_SCORE, SAME_MODELS]
    rows = points.loc[points[columns.SCORE] == DEPTH_SCORE]
    assert rows[columns.VALUE].tolist() == rows[columns.DEPTH].tolist() == [1, 2, 2, 2, 4, 6]
    np.testing.assert_allclose(rows[columns.MEASURED], [0.1, 0.2, 0.2, 0.2, 0.4, 0.6])
    assert row_of(table, DEPTH_SCORE)[columns.CORRELATION] == pytest.approx(1.0)


def test_a_score_of_some_selections_is_judged_on_those() -> None:
    score = np.array([1.0, 2.0, np.nan, np.nan, 3.0, 4.0])
    table, points = predictiveness({"exit": score}, curve_of([0.1, 0.2, 0.9, 0.9, 0.3, 0.4], noise=0.001))
    row = row_of(table, "exit")
    assert (row[columns.CORRELATION], row[columns.N_SELECTIONS]) == (1, 4)
    texts = points.loc[points[columns.SCORE] == "exit", columns.SELECTION].tolist()
    assert texts == ["first:1", "first:2", "first:4", "first:6"]


@pytest.mark.parametrize(("score", "n"), [([1.0, 2.0, np.nan, np.nan, np.nan, np.nan], 2), ([1.0] * 6, 6)])
def test_too_few_selections_or_one_value_for_all_have_no_correlation(score: list[float], n: int) -> None:
    table, _ = predictiveness({"score": np.array(score)}, curve_of([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    row = row_of(table, "score")
    assert row[columns.N_SELECTIONS] == n
    assert row[[columns.CORRELATION, columns.CI_LOW, columns.CI_HIGH, columns.P_VALUE]].isna().all()


def test_two_variants_have_no_ceiling() -> None:
    table, _ = predictiveness({}, curve_of([0.1, 0.2]))
    assert table[columns.CORRELATION].isna().all()


def test_the_columns_are_those_of_the_files_and_the_same_seed_gives_the_same_rows() -> None:
    found = [predictiveness({"score": np.arange(6.0)}, curve_of([0.3] * 6), seed=1) for _ in range(2)]
    assert tuple(found[0][0].columns) == columns.PREDICTIVENESS
    assert tuple(found[0][1].columns) == columns.PREDICTED
    for one, other in zip(*found, strict=True):
        pd.testing.assert_frame_equal(one, other)
