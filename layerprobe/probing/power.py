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
class VarianceParts:
    """Where the variance of a difference comes from: at U users and S seeds it is (users + joint / S) / U + seeds / S.

    Attributes:
        users: by the choice of users.
        joint: by users and seeds together; 0 where one seed cannot tell it from `users`.
        seeds: by the choice of seeds, for all users at once; 0 where it is not known.
        value: the full model's metric, of which margins are a share.
    """

    users: float
    joint: float
    seeds: float
    value: float

    @staticmethod
    def of(error: MeanError, column: int, value: float) -> VarianceParts:
        """Returns the parts of the difference in one column."""
        by_users, joint, by_seeds = (float(part[column]) for part in (error.by_users, error.joint, error.by_seeds))
        alone = max(by_users - joint, 0.0)
        return VarianceParts(
            users=alone * error.n_users,
            joint=joint * error.n_users * error.n_seeds,
            seeds=by_seeds * error.n_seeds,
            value=value,
        )


@dataclass(frozen=True)
class Power:
    """What this number of users and seeds can show of one selection: the one that stopped the test.

    Attributes:
        selection: the selection; where all passed, the smallest.
        minimal_detectable_relative_difference: smallest margin within which this selection, if it truly equals the full
            model, would be shown to be not worse with 80 % power, (critical value + 0.84) * standard error / full
            value. None with one seed and no stated noise, since what another training does is not known then, and where
            fewer than `few.LEAST_DIFFERING` users differ, which is too few for a variance.
        n_users: users compared.
        n_seeds: trainings of each model.
        covers_training: whether training noise is included; else the power holds for these trained models.
        users_needed_for_margin: users at which that difference equals the margin of the study, with the same number of
            seeds; None where training noise alone is too large, or the error is not known.
        seeds_needed_for_margin: seeds at which it does, with the same number of users; None where the choice of users
            alone is too large, or where training noise is not known or left out. At least 2.
        observed: the observed difference, as a share of the full model's value.
        users_needed_at_observed, seeds_needed_at_observed: the same, if the true difference is the observed one; None
            also where the observed loss is beyond the margin: more users or seeds would not help then.
        variance: where the error of the difference comes from.
    """

    selection: str
    minimal_detectable_relative_difference: float | None
    n_users: int
    n_seeds: int
    covers_training: bool
    users_needed_for_margin: int | None
    seeds_needed_for_margin: int | None
    observed: float
    users_needed_at_observed: int | None
    seeds_needed_at_observed: int | None
    variance: VarianceParts


@dataclass(frozen=True)
class Tested:
    """The selection whose power is asked for.

    Attributes:
        selection: its text.
        column: its column in the error.
        critical: critical value of its one-sided bound.
        seeds: trainings of each model.
        is_known: whether its error is known: training noise known, stated or left out on purpose, and enough users
            that differ.
    """

    selection: str
    column: int
    critical: float
    seeds: int
    is_known: bool


def power_of(error: MeanError, tested: Tested, reference: float, margin: float) -> Power:
    """Returns the power of one difference.

    With variance parts u by users, j by users and seeds together and s by seeds, that of a difference at U users and S
    seeds is (u + j / S) / U + s / S. The numbers needed are those at which (critical + 0.84) times its root equals
    the margin plus the true difference. The critical value is kept fixed. With few seeds it comes from Student's t and
    falls with more seeds, so the numbers are upper bounds. The power is then slightly below 80 % (76.5 % at 2 degrees
    of freedom, 78.5 % at 4).

    Args:
        error: variances of the differences from the full model, by source.
        tested: which difference.
        reference: the full model's value, above 0.
        margin: share of the full model's value that may be lost.
    """
    parts = VarianceParts.of(error, tested.column, reference)
    factor = tested.critical + NormalDist().inv_cdf(POWER)
    spread = float(error.standard_error[tested.column])
    difference = float(error.mean[tested.column])
    at_zero, at_observed = (
        _needed(parts, error, factor, margin * reference + true) if tested.is_known else (None, None)
        for true in (0.0, difference)
    )
    return Power(
        selection=tested.selection,
        minimal_detectable_relative_difference=factor * spread / reference if tested.is_known else None,
        n_users=error.n_users,
        n_seeds=tested.seeds,
        covers_training=error.n_seeds > 1 or parts.seeds > 0,
        users_needed_for_margin=at_zero[0],
        seeds_needed_for_margin=at_zero[1],
        observed=difference / reference,
        users_needed_at_observed=at_observed[0],
        seeds_needed_at_observed=at_observed[1],
        variance=parts,
    )


def _needed(parts: VarianceParts, error: MeanError, factor: float, distance: float) -> tuple[int | None, int | None]:
    """Returns the users, and the seeds, at which `factor` standard errors fit into a distance from the margin."""
    if distance <= 0:
        return None, None
    allowed, n_users, n_seeds = (distance / factor) ** 2, error.n_users, error.n_seeds
    users = _draws(parts.users + parts.joint / n_seeds, allowed - parts.seeds / n_seeds)
    seeds = None if n_seeds == 1 else _draws(parts.joint / n_users + parts.seeds, allowed - parts.users / n_users)
    return users, None if seeds is None else max(2, seeds)


def _draws(variance: float, allowed: float) -> int | None:
    """Returns how many draws bring the variance of their mean down to `allowed`; None where no number does."""
    return max(1, ceil(variance / allowed)) if allowed > 0 else None
