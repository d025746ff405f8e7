"""Decisions of hundreds of simulated studies: how often they are wrong, and how often they find what is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from layerprobe.backbone.selection import LayerSelection, parse_selection
from layerprobe.probing.decide import Judged, judge
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.per_user import PerUser

STUDIES, USERS, DEPTHS = 500, 150, 4
FULL, MARGIN, ALPHA = 0.5, 0.04, 0.05
OPTIONS = DecisionOptions(margin=MARGIN, alpha=ALPHA, n_boot=200)
AT_MOST = ALPHA + 2 * (ALPHA * (1 - ALPHA) / STUDIES) ** 0.5
"""Two standard errors of a share of 500 studies above alpha."""
SELECTIONS = tuple(parse_selection(f"first:{k}", DEPTHS) for k in range(DEPTHS))


def studies(losses: list[float], n_seeds: int, training: float, options: DecisionOptions) -> Iterator[Judged]:
    """Judges `STUDIES` studies whose depths truly lose these shares of the full model's metric.

    Args:
        losses: of depths 0 to 3.
        n_seeds: trainings of every model.
        training: standard deviation by which a training moves a model's metric for all users, as a share of it.
        options: of the decision.
    """
    generator = np.random.default_rng(hash((tuple(losses), n_seeds, training)) % 2**32)
    users = np.arange(USERS)
    truth = FULL * (1 - np.array([*losses, 0.0]))
    for _ in range(STUDIES):
        taste = 0.3 * generator.standard_normal(USERS)
        served = 0.06 * generator.standard_normal((n_seeds, DEPTHS + 1, USERS))
        luck = training * FULL * generator.standard_normal((n_seeds, DEPTHS + 1, 1))
        metric = truth[None, :, None] + taste + served + luck
        *smaller, full = (PerUser("", users, users, metric[:, k]) for k in range(DEPTHS + 1))
        yield judge(dict(zip(SELECTIONS, smaller, strict=True)), full, options)


def share(judged: Iterable[Judged], verdicts: tuple[str, ...], of: tuple[LayerSelection, ...] = SELECTIONS) -> float:
    """Returns the share of studies that give any of these selections one of these verdicts."""
    return float(np.mean([any(each.selections[one].verdict in verdicts for one in of) for each in judged]))


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


@pytest.mark.parametrize(("n_seeds", "training"), [(1, 0.0), (3, 0.002)])
def test_a_planted_drop_is_found_with_the_power_that_is_stated(n_seeds: int, training: float) -> None:
    losses = [0.3, 0.3, 0.0, 0.0]
    found = list(studies(losses, n_seeds, training, OPTIONS))
    stated = float(np.median([each.power.minimal_detectable_relative_difference for each in found]))
    # At the margin that a study says it can show, each equal depth passes in 8 of 10 studies, and both in over half.
    at_that_margin = list(studies(losses, n_seeds, training, replace(OPTIONS, margin=stated)))
    three, two = SELECTIONS[3], SELECTIONS[2]
    passed = np.array([[each.selections[one].not_worse for one in (three, two)] for each in at_that_margin])
    assert passed[:, 0].mean() == pytest.approx(0.8, abs=0.07)
    assert passed[:, 1].mean() >= 0.55
    wrong = [each.selections[one].not_worse for each in at_that_margin for one in SELECTIONS[:2]]
    assert not any(wrong)
