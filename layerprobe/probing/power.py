"""`Power`: what this number of users and seeds can show, and how many of each a margin would need.

Takes the error of a difference by source, hands on the margin that can be shown and the numbers that are needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from statistics import NormalDist

from layerprobe.evaluation.seeds import MeanError

POWER = 0.8


@dataclass(frozen=True)
class Power:
    """What this number of users and seeds can show.

    Attributes:
        minimal_detectable_relative_difference: smallest margin within which a depth that is truly equal to the full
            model would be shown to be not worse with 80 % power, (critical value + 0.84) * standard error / full value.
        n_users: users compared.
        n_seeds: trainings of each model.
        covers_training: whether training noise is included; else the power holds for these trained models.
        users_needed_for_margin: users at which that difference equals the margin of the study, with the same number of
            seeds; None where training noise alone is too large.
        seeds_needed_for_margin: seeds at which it does, with the same number of users; None where the choice of users
            alone is too large, or where training noise is not known or left out. At least 2.
    """

    minimal_detectable_relative_difference: float
    n_users: int
    n_seeds: int
    covers_training: bool
    users_needed_for_margin: int | None
    seeds_needed_for_margin: int | None


def power_of(error: MeanError, column: int, reference: float, critical: float, margin: float, trained: int) -> Power:
    """Returns the power of the difference in one column.

    With variance parts u by users, j by users and seeds together and s by seeds, that of a difference at U users and S
    seeds is (u + j / S) / U + s / S. The numbers needed are those at which (critical + 0.84) times its root equals
    the margin. The critical value is kept fixed. With few seeds it comes from Student's t and falls with more seeds, so
    the numbers are upper bounds. The power is then slightly below 80 % (76.5 % at 2 degrees of freedom, 78.5 % at 4).

    Args:
        error: variances of the differences from the full model, by source.
        column: which difference.
        reference: the full model's value, above 0.
        critical: critical value of the one-sided bound.
        margin: share of the full model's value that may be lost.
        trained: trainings of each model.
    """
    n_users, n_seeds = error.n_users, error.n_seeds
    factor = critical + NormalDist().inv_cdf(POWER)
    by_users, joint, by_seeds = (float(part[column]) for part in (error.by_users, error.joint, error.by_seeds))
    detectable = factor * (by_users + by_seeds) ** 0.5 / reference
    allowed = (margin * reference / factor) ** 2
    users = _needed(by_users * n_users, allowed - by_seeds)
    alone = max(by_users - joint, 0.0)
    seeds = None if n_seeds == 1 else _needed((joint + by_seeds) * n_seeds, allowed - alone)
    seeds = None if seeds is None else max(2, seeds)
    return Power(detectable, n_users, trained, n_seeds > 1, users, seeds)


def _needed(variance: float, allowed: float) -> int | None:
    """Returns how many draws bring the variance of their mean down to `allowed`; None where no number does."""
    return max(1, ceil(variance / allowed)) if allowed > 0 else None
