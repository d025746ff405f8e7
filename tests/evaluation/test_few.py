"""Columns in which few users differ: no bound from a variance of nearly nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from layerprobe.errors import InputError
from layerprobe.evaluation.few import LEAST_DIFFERING
from layerprobe.evaluation.seeds import seeded_intervals
from layerprobe.evaluation.uncertainty import SimultaneousBounds, simultaneous_bounds


def most(count: int, n_users: int, alpha: float) -> float:
    """Upper limit of a share, by the test that it inverts: so few would be seen with probability alpha."""
    return stats.binomtest(count, n_users, alternative="less").proportion_ci(1 - alpha, method="exact").high


def column(n_users: int, losers: int, gainers: int, size: float = 1.0) -> np.ndarray:
    values = np.zeros(n_users)
    values[:losers], values[losers : losers + gainers] = -size, size
    return values


def bounds_of(*columns: np.ndarray, alpha: float = 0.05) -> SimultaneousBounds:
    return simultaneous_bounds(np.stack(columns, axis=1), alpha, 400, seed=0)


def test_where_no_user_differs_the_share_of_those_who_might_is_bounded() -> None:
    bounds = bounds_of(column(60, 0, 0), column(60, 0, 0))
    assert bounds.differing.tolist() == [0, 0]
    assert (bounds.standard_error == 0).all()
    assert bounds.alone == pytest.approx([-(1 - 0.05 ** (1 / 60))] * 2)
    assert bounds.lower == pytest.approx([-(1 - 0.025 ** (1 / 60))] * 2)
    assert bounds.low == pytest.approx([-(1 - 0.0125 ** (1 / 60))] * 2)
    assert bounds.high == pytest.approx(-bounds.low)


def test_the_wider_of_both_bounds_counts_on_each_side() -> None:
    losing, gaining = column(100, 8, 1), column(100, 0, 9, size=0.4)
    bounds = bounds_of(losing, gaining)
    assert bounds.differing.tolist() == [9, 9]
    assert bounds.alone == pytest.approx([-most(8, 100, 0.05), -most(0, 100, 0.05)])
    assert bounds.lower == pytest.approx([-most(8, 100, 0.025), -most(0, 100, 0.025)])
    assert bounds.low == pytest.approx([-most(8, 100, 0.0125), -most(0, 100, 0.0125)])
    assert bounds.high == pytest.approx([most(1, 100, 0.0125), most(9, 100, 0.0125)])
    low, high = seeded_intervals(np.stack([losing, gaining], axis=1)[None], 0.05)
    assert low == pytest.approx([-most(8, 100, 0.025), -most(0, 100, 0.025)])
    assert high == pytest.approx([most(1, 100, 0.025), most(9, 100, 0.025)])


def test_with_enough_users_that_differ_the_bootstrap_counts_alone() -> None:
    few, enough = (bounds_of(column(500, count, 0)) for count in (LEAST_DIFFERING - 1, LEAST_DIFFERING))
    assert enough.alone == pytest.approx(enough.mean - enough.critical_alone * enough.standard_error)
    assert few.alone == pytest.approx([-most(LEAST_DIFFERING - 1, 500, 0.05)])
    assert few.alone < few.mean - few.critical_alone * few.standard_error


def test_where_few_of_many_lose_nearly_all_that_is_lost_the_size_of_the_loss_is_bounded() -> None:
    values = column(1000, 30, 30, size=0.01)
    values[60:63] = -1.0
    lost = (30 * 0.01 + 3 * 1.0) / 1000
    bounds = bounds_of(values, column(1000, 30, 30, size=0.01))
    assert bounds.differing.tolist() == [3, 60]  # 1 / skewness ** 2 is a little above three
    (exact, even) = bounds.alone
    assert exact < bounds.mean[0] - bounds.critical_alone[0] * bounds.standard_error[0]
    # Chernoff: a mean of values in [0, 1] lies so far below the true one with probability exp(-n KL) at most.
    assert 1000 * (lost * np.log(lost / -exact) + (1 - lost) * np.log((1 - lost) / (1 + exact))) == pytest.approx(
        np.log(1 / 0.05)
    )
    assert even == pytest.approx(bounds.mean[1] - bounds.critical_alone[1] * bounds.standard_error[1])


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_rare_full_losses_among_small_swaps_pass_no_more_often_than_alpha(n_seeds: int) -> None:
    # A twentieth of the users swap .012; three in a thousand lose all. A bootstrap alone fails in 19 %.
    generator = np.random.default_rng(n_seeds)
    failed = 0
    for _ in range(400):
        drawn, values = generator.random(1000), np.zeros((n_seeds, 1000))
        swapped = drawn < 0.05
        values[:, swapped] = 0.012 * generator.choice([-1, 1], size=(n_seeds, swapped.sum()))
        values[:, drawn > 0.997] = -1.0
        failed += simultaneous_bounds(values[:, :, None], 0.05, 200, seed=0).alone[0] > -0.003
    assert failed / 400 < 0.05 + 2.6 * (0.05 * 0.95 / 400) ** 0.5


def test_every_user_may_lose() -> None:
    assert bounds_of(column(20, 20, 0)).lower == pytest.approx([-1.0])


def test_users_who_differ_in_any_seed_are_counted_and_training_is_added() -> None:
    values = np.zeros((2, 400, 1))
    values[0, :10], values[1, 5:25] = -1.0, 1.0
    bounds = simultaneous_bounds(values, 0.05, 400, seed=0)
    assert bounds.differing.tolist() == [25]
    noise = np.sqrt(bounds.error.by_seeds)
    assert noise > 0
    assert bounds.alone == pytest.approx(-most(5, 400, 0.05) - bounds.critical_alone * noise)  # five lose over both


@pytest.mark.parametrize("n_users", [30, 60, 100, 300, 1000])
def test_a_depth_that_loses_a_fifth_passes_no_more_often_than_alpha(n_users: int) -> None:
    # NDCG@1 at .024, of which a fifth is lost, as in the smallest studies; a few users gain, too.
    generator = np.random.default_rng(n_users)
    drawn = generator.random((n_users, 1, 400))
    differences = np.where(drawn < 0.0096, -1.0, np.where(drawn > 1 - 0.0048, 1.0, 0.0))
    margin, passed, resampled = 0.02 * 0.024, 0, 0
    for study in range(400):
        bounds = simultaneous_bounds(differences[:, :, study], 0.05, 100, seed=study)
        passed += bounds.alone[0] > -margin
        resampled += (bounds.mean - bounds.critical_alone * bounds.standard_error)[0] > -margin
    assert passed / 400 <= 0.05
    assert n_users > 100 or resampled / 400 > 0.07  # what the bootstrap alone would say


@pytest.mark.parametrize(
    "function",
    [lambda values: simultaneous_bounds(values, 0.05, 100, 0), lambda values: seeded_intervals(values, 0.05)],
)
def test_values_outside_the_range_of_metrics_are_refused_where_few_differ(function: Callable) -> None:
    values = np.zeros((1, 50, 1))
    values[0, 3] = 1.5
    with pytest.raises(InputError, match="fewer than 30 users differ, values must lie between -1 and 1.*got 1.5"):
        function(values)
