"""Decisions of hundreds of simulated studies: how often they are wrong, and how often they find what is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from made_ranks import evidence_of

from layerprobe.backbone.selection import LayerSelection, parse_selection
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.verdicts.best import could_be_best
from layerprobe.probing.verdicts.evidence import Evidence
from layerprobe.probing.verdicts.judge import Judged, judge

STUDIES, USERS, DEPTHS = 500, 150, 4
FULL, MARGIN, ALPHA = 0.5, 0.04, 0.05
OPTIONS = DecisionOptions(margin=MARGIN, alpha=ALPHA, n_boot=200)
AT_MOST = ALPHA + 2 * (ALPHA * (1 - ALPHA) / STUDIES) ** 0.5
"""Two standard errors of a share of 500 studies above alpha."""
SELECTIONS = tuple(parse_selection(f"first:{k}", DEPTHS) for k in range(DEPTHS))


def evidences(
    losses: list[float], n_seeds: int, training: float, options: DecisionOptions, count: int = STUDIES
) -> Iterator[Evidence]:
    """Yields studies whose depths truly lose these shares of the full model's metric.

    Args:
        losses: of depths 0 to 3.
        n_seeds: trainings of every model.
        training: standard deviation by which a training moves a model's metric for all users, as a share of it.
        options: of the decision.
        count: number of studies.
    """
    generator = np.random.default_rng(hash((tuple(losses), n_seeds, training)) % 2**32)
    truth = FULL * (1 - np.array([*losses, 0.0]))
    for _ in range(count):
        taste = 0.3 * generator.standard_normal(USERS)
        served = 0.06 * generator.standard_normal((n_seeds, DEPTHS + 1, USERS))
        luck = training * FULL * generator.standard_normal((n_seeds, DEPTHS + 1, 1))
        metric = truth[None, :, None] + taste + served + luck
        yield evidence_of(metric.swapaxes(0, 1), options)


def studies(losses: list[float], n_seeds: int, training: float, options: DecisionOptions) -> Iterator[Judged]:
    """Judges such studies."""
    return map(judge, evidences(losses, n_seeds, training, options))


def share(judged: Iterable[Judged], verdicts: tuple[str, ...], of: tuple[LayerSelection, ...] = SELECTIONS) -> float:
    """Returns the share of studies that give any of these selections one of these verdicts."""
    return float(np.mean([any(each.comparisons[one].verdict in verdicts for one in of) for each in judged]))


NOISES = [(1, 0.0), (2, 0.02), (3, 0.05)]


@pytest.mark.parametrize(("n_seeds", "training"), NOISES)
@pytest.mark.parametrize("rule", ["sequence", "simultaneous"])
def test_depths_that_lose_the_margin_pass_no_more_often_than_alpha(rule: str, n_seeds: int, training: float) -> None:
    found = list(studies([MARGIN] * DEPTHS, n_seeds, training, replace(OPTIONS, rule=rule)))
    assert share(found, ("not worse", "better")) <= AT_MOST
    assert share(found, ("worse",)) <= AT_MOST


@pytest.mark.parametrize(("n_seeds", "training"), NOISES)
def test_depths_that_equal_the_full_model_are_called_better_no_more_often_than_alpha(
    n_seeds: int, training: float
) -> None:
    assert share(studies([0.0] * DEPTHS, n_seeds, training, OPTIONS), ("better",)) <= AT_MOST


def test_one_lucky_training_passes_for_a_good_depth_where_its_noise_is_left_out() -> None:
    # What the seeds are for: intervals over users alone are about these very models.
    found = studies([MARGIN] * DEPTHS, 1, 0.05, OPTIONS)
    assert share(found, ("not worse", "better")) > 0.2


@pytest.mark.parametrize(("n_seeds", "training"), [(2, 0.0), (3, 0.002)])
def test_a_planted_drop_is_found_with_the_power_that_is_stated(n_seeds: int, training: float) -> None:
    losses = [0.3, 0.3, 0.0, 0.0]
    found = list(studies(losses, n_seeds, training, OPTIONS))
    # Of few seeds the variance is known badly, but without bias, so the studies' statements are averaged as variances.
    told = [each.power.minimal_detectable_relative_difference for each in found]
    stated = float(np.mean(np.square(np.array(told, dtype=float))) ** 0.5)
    # At the margin that is stated, each equal depth passes in 8 of 10 studies, and both in over half.
    at_that_margin = list(studies(losses, n_seeds, training, replace(OPTIONS, margin=stated)))
    three, two = SELECTIONS[3], SELECTIONS[2]
    passed = np.array([[each.comparisons[one].not_worse for one in (three, two)] for each in at_that_margin])
    assert passed[:, 0].mean() == pytest.approx(0.8, abs=0.07)
    assert passed[:, 1].mean() >= 0.55
    wrong = [each.comparisons[one].not_worse for each in at_that_margin for one in SELECTIONS[:2]]
    assert not any(wrong)


def test_the_truly_best_one_is_ruled_out_no_more_often_than_alpha() -> None:
    # All are equal, which is where it is hardest; any one of them may be called the best.
    count = 200
    found = [could_be_best(each) for each in evidences([0.0] * DEPTHS, 3, 0.01, replace(OPTIONS, n_boot=100), count)]
    at_most = ALPHA + 2 * (ALPHA * (1 - ALPHA) / count) ** 0.5
    for selection in SELECTIONS:
        assert np.mean([selection not in each for each in found]) <= at_most


@pytest.mark.parametrize("n_seeds", [1, 2])
@pytest.mark.parametrize("n_users", [30, 60, 100, 300])
def test_where_few_users_differ_a_large_loss_is_never_called_not_worse(n_users: int, n_seeds: int) -> None:
    # HR@1 of the full model is .024 and the depth loses 20 % of it; in many studies no user differs at all.
    generator = np.random.default_rng(n_users)
    options, found = DecisionOptions(n_boot=100), []
    while len(found) < 200:
        full = np.broadcast_to(generator.random(n_users) < 0.024, (n_seeds, n_users))
        if not full.any():
            continue  # a full model of 0 is refused
        smaller = full & (generator.random((n_seeds, n_users)) < 0.8)
        found.append(judge(evidence_of(np.array([smaller, full], dtype=float), options)))
    rows = [next(iter(each.comparisons.values())) for each in found]
    assert sum(row.differing == 0 for row in rows) > 10
    assert {row.verdict for row in rows} <= {"undecided"}
    assert all(each.chosen is None for each in found)
