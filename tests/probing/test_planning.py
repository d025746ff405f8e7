"""Planning: power against simulated studies and against textbook formulas, and what a margin needs."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from scipy.special import stdtrit
from scipy.stats import nct

import layerprobe as lp
from layerprobe.errors import InputError
from layerprobe.evaluation.seeds import mean_error
from layerprobe.probing.planning import (
    SEEDS,
    Aim,
    DifferenceNoise,
    margin_table,
    planned_margins,
    power_at,
    seeds_needed,
    smallest_margin,
    users_needed,
)

NORMAL = NormalDist()
AIM = Aim()
STUDIES = 1500


def simulated(noise: DifferenceNoise, users: int, seeds: int, margin: float, aim: Aim) -> float:
    """Share of drawn studies whose lower bound lies above minus the margin."""
    generator = np.random.default_rng(0)
    passed = 0
    for _ in range(STUDIES):
        values = aim.difference + generator.normal(0, noise.users**0.5, (1, users))
        values = values + generator.normal(0, noise.joint**0.5, (seeds, users))
        values = values + generator.normal(0, noise.seeds**0.5, (seeds, 1))
        error = mean_error(values[:, :, None])
        lower = error.mean[0] - stdtrit(error.df[0], 1 - aim.alpha) * error.standard_error[0]
        passed += lower > -margin
    return passed / STUDIES


@pytest.mark.parametrize(
    ("noise", "users", "seeds", "margin", "aim"),
    [
        (DifferenceNoise(1.0, 0.5, 0.0001), 400, 3, 0.14, AIM),
        (DifferenceNoise(1.0, 0.0, 0.003), 400, 2, 0.2, AIM),
        (DifferenceNoise(1.0, 0.0, 0.003), 400, 3, 0.12, AIM),
        (DifferenceNoise(1.0, 1.0, 0.01), 300, 5, 0.15, AIM),
        (DifferenceNoise(1.0, 3.0, 0.0), 300, 3, 0.2, AIM),
        (DifferenceNoise(1.0, 0.5, 0.002), 300, 4, 0.2, Aim(alpha=0.1, difference=-0.05)),
        (DifferenceNoise(1.0, 0.5, 0.002), 300, 4, 0.1, Aim(difference=0.03)),
    ],
)
def test_power_is_that_of_simulated_studies(
    noise: DifferenceNoise, users: int, seeds: int, margin: float, aim: Aim
) -> None:
    expected = simulated(noise, users, seeds, margin, aim)
    assert 0.2 < expected < 0.99
    assert power_at(noise, users, seeds, margin, aim) == pytest.approx(expected, abs=3 * 0.5 / STUDIES**0.5)


@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_without_noise_of_users_it_is_the_power_of_students_t(seeds: int) -> None:
    noise, margin = DifferenceNoise(1e-12, 0.0, 0.0004), 0.05
    ratio = margin / (0.0004 / seeds) ** 0.5
    expected = nct.sf(stdtrit(seeds - 1, 0.95), seeds - 1, ratio)  # of a noncentral t
    assert power_at(noise, 1000, seeds, margin, AIM) == pytest.approx(expected, abs=0.003)


def test_without_noise_of_training_it_is_the_power_of_a_normal_mean() -> None:
    noise = DifferenceNoise.stated(1.2, 0.0)
    expected = NORMAL.cdf(0.02 / (1.2 / 20_000**0.5) - NORMAL.inv_cdf(0.95))
    assert power_at(noise, 20_000, 3, 0.02, AIM) == pytest.approx(expected, abs=1e-4)
    factor = NORMAL.inv_cdf(0.95) + NORMAL.inv_cdf(0.8)
    assert smallest_margin(noise, 20_000, 3, AIM) == pytest.approx(factor * 1.2 / 20_000**0.5, rel=1e-4)
    assert users_needed(noise, 3, 0.02, AIM) == pytest.approx((factor * 1.2 / 0.02) ** 2, rel=1e-3)


def test_at_the_margin_itself_a_test_passes_as_often_as_alpha() -> None:
    noise = DifferenceNoise.stated(1.0, 0.0)
    assert power_at(noise, 10_000, 3, 0.02, Aim(alpha=0.05, difference=-0.02)) == pytest.approx(0.05, abs=1e-3)


def test_stated_noise_of_a_training_counts_twice_in_a_difference() -> None:
    noise = DifferenceNoise.stated(1.2, 0.01)
    assert (noise.users, noise.joint, noise.seeds) == pytest.approx((1.44, 0.0, 0.0002))


@pytest.mark.parametrize("aim", [AIM, Aim(alpha=0.01, power=0.9, difference=-0.003), Aim(difference=0.01)])
@pytest.mark.parametrize("seeds", [2, 4, 8])
def test_the_smallest_margin_has_the_power_asked_for(seeds: int, aim: Aim) -> None:
    noise = DifferenceNoise(1.0, 0.5, 0.00005)
    margin = smallest_margin(noise, 5_000, seeds, aim)
    assert power_at(noise, 5_000, seeds, margin, aim) == pytest.approx(aim.power, abs=1e-6)


def test_a_depth_that_is_much_better_needs_no_margin() -> None:
    assert smallest_margin(DifferenceNoise(1.0, 0.0, 0.0), 10_000, 3, Aim(difference=0.5)) == 0.0


def test_the_numbers_needed_are_the_smallest_that_are_enough() -> None:
    noise = DifferenceNoise(1.0, 0.5, 0.0001)
    users, seeds = users_needed(noise, 4, 0.03, AIM), seeds_needed(noise, 12_000, 0.025, AIM)
    assert users is not None
    assert seeds is not None
    assert seeds > 2
    for just, fewer in (
        (power_at(noise, users, 4, 0.03, AIM), power_at(noise, users - 1, 4, 0.03, AIM)),
        (power_at(noise, 12_000, seeds, 0.025, AIM), power_at(noise, 12_000, seeds - 1, 0.025, AIM)),
    ):
        assert just >= AIM.power > fewer


def test_where_one_source_alone_is_too_large_no_number_of_the_other_is_enough() -> None:
    noise = DifferenceNoise.stated(1.2, 0.01)
    assert users_needed(noise, 3, 0.02, AIM) is None  # 2.49 * sqrt(2 * .01**2 / 3) = .0203 even with a normal bound
    assert seeds_needed(noise, 20_000, 0.02, AIM) is None  # 2.49 * 1.2 / sqrt(20000) = .0211


def test_two_seeds_are_the_fewest_that_are_ever_said_to_be_needed() -> None:
    assert seeds_needed(DifferenceNoise.stated(0.1, 0.0), 10**6, 0.5, AIM) == 2


def test_the_table_has_seeds_as_rows_and_users_as_columns() -> None:
    table = planned_margins(20_000, 1.2, 0.01)
    assert (table.index.tolist(), table.columns.tolist()) == (list(SEEDS), [10_000, 20_000, 40_000, 80_000])
    assert (table.index.name, table.columns.name) == ("seeds", "users")
    assert table.loc[4, 40_000] == smallest_margin(DifferenceNoise.stated(1.2, 0.01), 40_000, 4, AIM)
    by_seeds = table.to_numpy()
    assert (np.diff(by_seeds, axis=0) < 0).all()  # more seeds never hurt
    assert lp.planned_margins is planned_margins


def test_one_user_has_three_columns() -> None:
    assert margin_table(DifferenceNoise(1.0, 0.0, 0.0), 1, AIM).columns.tolist() == [1, 2, 4]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"users": 0}, "users must be a whole number of at least 1; got 0"),
        ({"users": 10.5}, "users must be a whole number"),
        ({"user_noise": 0}, "user_noise must be a number above 0"),
        ({"user_noise": -1.0}, "user_noise must be a number above 0"),
        ({"user_noise": float("nan")}, "user_noise must be a number above 0"),
        ({"user_noise": "1"}, "user_noise must be int or float; got '1'"),
        ({"training_noise": -0.01}, "training_noise must be a number of at least 0"),
        ({"training_noise": float("inf")}, "training_noise must be a number of at least 0"),
        ({"alpha": 0}, "Aim.alpha must lie in [1e-12, 1); got 0"),
        ({"alpha": 1.5}, "Aim.alpha must lie in [1e-12, 1); got 1.5"),
        ({"power": 0.03}, "power must lie between alpha, 0.05, and 1, usually .8; got 0.03"),
        ({"power": 1.0}, "power must lie between"),
        ({"power": "high"}, "Aim.power must be a number; got 'high'"),
        ({"difference": -1}, "difference must be above -1; got -1"),
    ],
)
def test_a_number_outside_its_range_is_one_line(changed: dict, message: str) -> None:
    with pytest.raises(InputError) as caught:
        planned_margins(**{"users": 1000, "user_noise": 1.0, "training_noise": 0.01, **changed})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("parts", [(-1.0, 0.0, 0.0), (0.0, 0.0, 0.1), (1.0, float("nan"), 0.0)])
def test_variances_are_checked(parts: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="must be at least 0|must lie in|variances of users must be above 0"):
        DifferenceNoise(*parts)
