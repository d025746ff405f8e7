"""Power is of the selection that stopped the test, and its numbers solve their equation."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from made_ranks import HR_1, evidence_of, twice

from layerprobe.probing.decide import decide
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.power import POWER
from layerprobe.probing.verdicts.judge import judge

TOGETHER = replace(HR_1, rule="simultaneous")
NUMBERS = ("users_needed_for_margin", "seeds_needed_for_margin", "users_needed_at_observed", "seeds_needed_at_observed")


def by_hand(metric: np.ndarray) -> tuple[float, float, float, float]:
    """Mean, and variance parts by users, jointly and by seeds, of a difference [seeds, users]: a two-way layout."""
    n_seeds, n_users = metric.shape
    per_seed, per_user, mean = metric.mean(axis=1), metric.mean(axis=0), metric.mean()
    residual = metric - per_seed[:, None] - per_user[None] + mean
    joint = (residual**2).sum() / ((n_seeds - 1) * (n_users - 1))
    users = per_user.var(ddof=1) - joint / n_seeds
    seeds = per_seed.var(ddof=1) - joint / n_users
    return mean, users, joint, seeds


def test_the_numbers_solve_their_equation() -> None:
    # Joint noise is small and training noise large, so that the parts are far from 0 and nothing is cut.
    generator = np.random.default_rng(3)
    n_seeds, n_users = 3, 400
    base = generator.random(n_users)
    luck = np.array([[-0.01, 0.0, 0.012], [0.02, -0.005, 0.0]])
    metric = np.clip(base + luck[..., None] + generator.normal(0, 0.1, (2, 1, n_users)) * [[[1]], [[0]]], 0, 2) / 2
    metric += generator.normal(0, 0.005, metric.shape)
    options = DecisionOptions(n_boot=2000, margin=0.05)
    judged = judge(evidence_of(metric, options))
    power, row = judged.power, next(iter(judged.comparisons.values()))
    full = metric[1].mean()
    mean, users, joint, seeds = by_hand(metric[0] - metric[1])
    parts = power.variance
    assert (parts.users, parts.joint, parts.seeds, parts.value) == (
        pytest.approx(users), pytest.approx(joint), pytest.approx(seeds), pytest.approx(full),
    )  # fmt: skip
    error = np.sqrt((users + joint / n_seeds) / n_users + seeds / n_seeds)
    critical = (mean - row.lower_bound) / error  # one depth is tested, and alone
    assert critical > scipy.stats.norm.ppf(0.95)
    factor = critical + scipy.stats.norm.ppf(0.8)
    assert power.minimal_detectable_relative_difference == pytest.approx(factor * error / full)
    assert power.observed == pytest.approx(mean / full)
    for distance, n_users_needed, n_seeds_needed in (
        (0.05 * full, power.users_needed_for_margin, power.seeds_needed_for_margin),
        (0.05 * full + mean, power.users_needed_at_observed, power.seeds_needed_at_observed),
    ):
        allowed = (distance / factor) ** 2
        rest = allowed - seeds / n_seeds
        assert n_users_needed == (ceil((users + joint / n_seeds) / rest) if rest > 0 else None)
        assert n_seeds_needed == max(2, ceil((joint / n_users + seeds) / (allowed - users / n_users)))


def test_users_alone_shrink_with_the_square_of_the_margin() -> None:
    n_users, options = 2000, replace(HR_1, n_boot=20_000, margin=0.05)
    decision = decide({4: twice(0.5, n_users), 2: twice(0.5, n_users, flipped=0.2)}, {}, options)
    # One difference: its sd is sqrt(.2), the one-sided critical value 1.645, 80 % power adds .8416.
    error = np.sqrt(0.2 / n_users) / 0.5
    expected = (scipy.stats.norm.ppf(0.95) + scipy.stats.norm.ppf(0.8)) * error
    power = decision.power
    assert power.n_users == n_users
    assert power.minimal_detectable_relative_difference == pytest.approx(expected, rel=0.02)
    assert power.minimal_detectable_relative_difference is not None
    assert power.users_needed_for_margin == ceil(n_users * (power.minimal_detectable_relative_difference / 0.05) ** 2)


@pytest.mark.parametrize(("df", "power"), [(2, 0.765), (4, 0.785)])
def test_power_at_few_degrees_of_freedom_is_what_the_docstring_says(df: int, power: float) -> None:
    critical = scipy.stats.t.ppf(0.95, df)
    true = 1 - scipy.stats.nct.cdf(critical, df, critical + scipy.stats.norm.ppf(POWER))
    assert true == pytest.approx(power, abs=5e-4)


def calm(share: float) -> list[pd.DataFrame]:
    return twice(share, flipped=0.1)


def wild(share: float) -> list[pd.DataFrame]:
    return twice(share, flipped=0.6)


@pytest.mark.parametrize(
    ("by_depth", "options", "stopped"),
    [
        # The depth that fails first in a sequence, not the one with the largest error below it.
        ({4: twice(0.5), 3: calm(0.497), 2: calm(0.489), 1: wild(0.45)}, HR_1, "first:2"),
        ({4: twice(0.5), 3: calm(0.45), 2: wild(0.4)}, HR_1, "first:3"),
        # The next one below what is kept.
        ({4: twice(0.5), 3: calm(0.5), 2: wild(0.3)}, HR_1, "first:2"),
        # All passed: the smallest.
        ({4: twice(0.5), 3: calm(0.5), 2: calm(0.51)}, HR_1, "first:2"),
        # Together none stops another: the largest open one below what is kept, before those that are worse.
        ({4: twice(0.5), 3: twice(0.3), 2: calm(0.489), 1: wild(0.489)}, TOGETHER, "first:2"),
        ({4: twice(0.5), 3: calm(0.489), 2: calm(0.5), 1: twice(0.3)}, TOGETHER, "first:1"),
        ({4: twice(0.5), 3: twice(0.4), 1: twice(0.3)}, TOGETHER, "first:3"),
    ],
)
def test_power_is_of_the_selection_that_stopped_the_test(
    by_depth: dict, options: DecisionOptions, stopped: str
) -> None:
    decision = decide(by_depth, {}, options)
    assert decision.power.selection == stopped
    alone = {4: by_depth[4], int(stopped[-1]): by_depth[int(stopped[-1])]}
    expected = decide(alone, {}, options).power
    assert decision.power.observed == pytest.approx(expected.observed)
    assert decision.power.variance.users == pytest.approx(expected.variance.users)
    if options is HR_1:
        found, own = (each.minimal_detectable_relative_difference for each in (decision.power, expected))
        assert found == pytest.approx(own, rel=0.02)  # the doubt about two seeds is drawn anew


def test_no_power_is_told_from_the_spread_of_a_handful_of_users() -> None:
    few = decide({4: twice(0.5), 2: twice(0.499)}, {}, replace(HR_1, margin=1e-4))
    assert few.depths[2].differing == 10
    assert few.verdict == "undecided"
    assert few.power.minimal_detectable_relative_difference is None
    assert [getattr(few.power, name) for name in NUMBERS] == [None] * 4
    assert "To show a margin" not in few.sentence
    enough = decide({4: twice(0.5), 2: twice(0.497)}, {}, replace(HR_1, margin=1e-4))
    assert enough.depths[2].differing == 30
    assert enough.power.minimal_detectable_relative_difference is not None


def test_where_no_user_differs_the_bound_is_that_of_a_share_and_a_small_study_is_undecided() -> None:
    small, large = (decide({4: twice(0.5, n), 2: twice(0.5, n)}, {}, HR_1) for n in (100, 10_000))
    for decision, n_users, passes in ((small, 100, False), (large, 10_000, True)):
        found = decision.depths[2]
        assert (found.differing, found.difference) == (0, 0)
        # Not one loser among n: the share of losers is at most 1 - alpha ** (1 / n).
        assert found.lower_bound == pytest.approx(-(1 - 0.05 ** (1 / n_users)))
        assert found.ci_low == pytest.approx(-(1 - 0.025 ** (1 / n_users)))
        assert found.ci_high == pytest.approx(1 - 0.025 ** (1 / n_users))
        assert found.not_worse is passes
        assert (
            "Fewer than 30 users make up the difference in HR@1 from the full model, too few for a variance: depth 2 "
            "(0). Their bounds allow for as many users who lose as such a sample can hide." in decision.notes
        )
    assert small.verdict == "undecided"
    assert "tested first, differs by 0.0 % [-7.2 %, +7.2 %]." in small.sentence  # (1 - .025 ** .01) / .5
