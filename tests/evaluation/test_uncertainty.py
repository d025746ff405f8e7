from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.stats

from layerprobe.errors import InputError
from layerprobe.evaluation import uncertainty
from layerprobe.evaluation.uncertainty import (
    bootstrap_weights,
    mean_intervals,
    resampled_means,
    simultaneous_bounds,
)


def test_each_resample_draws_as_many_users_as_there_are() -> None:
    weights = np.concatenate(list(bootstrap_weights(n_users=50, n_boot=300, seed=0)))
    assert weights.shape == (300, 50)
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(weights.sum(axis=1), 50)
    # A user's count is binomial(50, 1 / 50): variance 1 - 1 / 50.
    assert weights.var() == pytest.approx(1 - 1 / 50, abs=0.03)


def test_resamples_depend_on_the_seed_and_not_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(bootstrap_weights(30, 200, seed=1)))
    monkeypatch.setattr(uncertainty, "CHUNK_ENTRIES", 30 * 7)
    np.testing.assert_array_equal(np.concatenate(list(bootstrap_weights(30, 200, seed=1))), whole)
    assert (np.concatenate(list(bootstrap_weights(30, 200, seed=2))) != whole).any()


def test_intervals_equal_scipy_on_the_same_resamples() -> None:
    values = np.random.default_rng(0).exponential(size=(80, 1))
    low, high = mean_intervals(values, alpha=0.1, n_boot=500, seed=3)
    expected = scipy.stats.bootstrap(
        (values[:, 0],),
        np.mean,
        n_resamples=500,
        confidence_level=0.9,
        method="percentile",
        rng=np.random.default_rng(3),
    ).confidence_interval
    assert low[0] == pytest.approx(expected.low, rel=1e-6)
    assert high[0] == pytest.approx(expected.high, rel=1e-6)


def test_a_column_has_the_same_interval_alone_and_among_others() -> None:
    values = np.random.default_rng(0).random((60, 5))
    together = mean_intervals(values, 0.05, 200, seed=0)
    alone = mean_intervals(values[:, [3]], 0.05, 200, seed=0)
    np.testing.assert_allclose([together[0][3], together[1][3]], [alone[0][0], alone[1][0]], rtol=1e-6)


def test_intervals_cover_the_true_mean_as_often_as_they_say() -> None:
    # 2,000 studies of 200 users each, side by side as columns; hits with probability .2.
    values = np.random.default_rng(1).random((200, 2000)) < 0.2
    low, high = mean_intervals(values, alpha=0.1, n_boot=400, seed=0)
    covered = np.mean((low <= 0.2) & (high >= 0.2))
    assert 0.87 < covered < 0.93


def test_a_column_without_variation_has_its_mean_as_bounds() -> None:
    values = np.stack([np.full(50, 0.1), np.random.default_rng(0).random(50)], axis=1)
    low, high = mean_intervals(values, 0.05, 100, seed=0)
    assert low[0] == high[0] == 0.1
    bounds = simultaneous_bounds(values, 0.05, 100, seed=0)
    assert bounds.standard_error[0] == 0
    assert bounds.lower[0] == bounds.low[0] == bounds.high[0] == 0.1
    assert np.isfinite(bounds.critical_two_sided)
    assert bounds.lower[1] < values[:, 1].mean() < bounds.high[1]


def test_bounds_lie_at_critical_value_times_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=(100, 3))
    bounds = simultaneous_bounds(values, 0.05, 200, seed=0)
    error = scipy.stats.sem(values, axis=0)
    np.testing.assert_allclose(bounds.mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(bounds.standard_error, error, rtol=1e-12)
    np.testing.assert_allclose(bounds.lower, bounds.mean - bounds.critical_lower * error, rtol=1e-9)
    np.testing.assert_allclose(bounds.low, bounds.mean - bounds.critical_two_sided * error, rtol=1e-9)
    np.testing.assert_allclose(bounds.high, bounds.mean + bounds.critical_two_sided * error, rtol=1e-9)


def test_one_pass_of_resamples_serves_every_family_of_differences() -> None:
    models = np.random.default_rng(3).random((70, 4))
    moved = resampled_means(models, 300, seed=5)
    assert moved.dtype == np.float32
    weights = np.concatenate(list(bootstrap_weights(70, 300, seed=5)))
    np.testing.assert_allclose(moved, (weights @ models - models.sum(axis=0)) / 70, atol=1e-6)
    own = simultaneous_bounds(models[:, :3] - models[:, 3:], 0.05, 300, seed=5)
    given = simultaneous_bounds(models[:, :3] - models[:, 3:], 0.05, 300, seed=5, moved=moved[:, :3] - moved[:, 3:])
    for name in ("lower", "low", "high", "alone"):
        np.testing.assert_allclose(getattr(given, name), getattr(own, name), rtol=1e-4)
    with pytest.raises(InputError, match=r"moved must have shape \(300, 3\).*got \(300, 4\)"):
        simultaneous_bounds(models[:, :3] - models[:, 3:], 0.05, 300, seed=5, moved=moved)


def test_critical_values_are_those_of_the_normal_law_for_one_and_for_independent_columns() -> None:
    values = np.random.default_rng(0).normal(size=(500, 8))
    one = simultaneous_bounds(values[:, :1], 0.05, 20_000, seed=0)
    assert one.critical_lower == pytest.approx(scipy.stats.norm.ppf(0.95), abs=0.06)
    assert one.critical_two_sided == pytest.approx(scipy.stats.norm.ppf(0.975), abs=0.06)
    eight = simultaneous_bounds(values, 0.05, 20_000, seed=0)
    assert eight.critical_lower == pytest.approx(scipy.stats.norm.ppf(0.95 ** (1 / 8)), abs=0.1)


def test_columns_that_say_the_same_do_not_widen_the_bounds() -> None:
    values = np.random.default_rng(0).normal(size=(200, 1))
    alone = simultaneous_bounds(values, 0.05, 500, seed=0)
    repeated = simultaneous_bounds(np.tile(values, (1, 10)), 0.05, 500, seed=0)
    assert repeated.critical_lower == pytest.approx(alone.critical_lower, rel=1e-5)


def test_the_whole_family_is_covered_as_often_as_alpha_says() -> None:
    # 500 studies: 6 depths that share a teacher, so their differences are correlated; true means are 0.
    generator = np.random.default_rng(2)
    shared = generator.normal(size=(500, 150, 1))
    studies = shared + generator.normal(size=(500, 150, 6))
    failed = {"lower": 0, "two-sided": 0, "each alone": 0}
    for seed, differences in enumerate(studies):
        bounds = simultaneous_bounds(differences, 0.1, 300, seed)
        failed["lower"] += np.any(bounds.lower > 0)
        failed["two-sided"] += np.any((bounds.low > 0) | (bounds.high < 0))
        failed["each alone"] += np.any(bounds.mean > 1.2816 * bounds.standard_error)
    assert 0.06 < failed["lower"] / 500 < 0.14
    assert 0.06 < failed["two-sided"] / 500 < 0.14
    # Bounds that hold one by one fail far more often, so the test above can fail.
    assert failed["each alone"] / 500 > 0.2


def test_forty_columns_of_a_real_data_set_stay_small_in_memory() -> None:
    values = np.random.default_rng(0).random((22_363, 40))
    tracemalloc.start()
    mean_intervals(values, 0.05, 100, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


@pytest.mark.parametrize("function", [mean_intervals, simultaneous_bounds])
@pytest.mark.parametrize(
    ("values", "alpha", "n_boot", "message"),
    [
        (np.ones((5, 2)), 0.0, 100, "alpha must lie between 0 and 1"),
        (np.ones((5, 2)), 5.0, 100, "alpha must lie between 0 and 1.*got 5.0"),
        (np.ones((5, 2)), 0.05, 10, "at least 100 resamples; got 10"),
        (np.ones(5), 0.05, 100, r"shape \(users, columns\).*got \(5,\)"),
        (np.ones((0, 2)), 0.05, 100, r"at least one of each; got \(0, 2\)"),
        (np.array([[1.0], [np.nan]]), 0.05, 100, "NaN or infinite"),
    ],
)
def test_bad_input_is_refused(function, values: np.ndarray, alpha: float, n_boot: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        function(values, alpha, n_boot, 0)
