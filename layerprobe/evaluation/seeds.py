"""Training noise: how far a mean over users and seeds could move if other users were drawn and models trained again.

Takes values per training seed and user (no torch), hands on variances of their mean by source. Users and seeds are
crossed: every seed's model ranks every user. Three sources then move a column's mean over S seeds and U users:

- users: some are harder, or gain more. Shrinks with U.
- seeds and users together: a model that is trained again is better for other users. Shrinks with S times U.
- seeds: a model that is trained again is better or worse for all users at once. Shrinks with S only.

A bootstrap over users of the seeds' mean covers the first two. The third is the spread of the seeds' means beyond what
the second explains. Three seeds say little about it, so models of one study share their estimate (`shared_noise`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from layerprobe.errors import InputError
from layerprobe.evaluation.few import Differing

NOISIER = 1.5
"""Times the expected spread of seeds from which on a column counts as noisier than the others, and its noise as known
from its own seeds only. Simulated: above it a depth three times as noisy passes in over 6 % of studies of 3 seeds."""

LEAST_ALIKE = 0.5
"""Correlation of the seeds' means of two differences from one full model, where all models are equally noisy."""


@dataclass(frozen=True)
class SeedNoise:
    """How much one pair of trainings moves the difference of two models, for all users at once.

    Attributes:
        variance: of that difference's mean over users by the seed, the users' part subtracted, at least 0.
        df: degrees of freedom behind it; 0 where nothing was trained twice, and `variance` is 0 then.
    """

    variance: float
    df: float


@dataclass(frozen=True, eq=False)
class TrainingNoise:
    """What is known of the noise of training besides a column's own seeds; explained in `mean_error`.

    Attributes:
        noise: seed noise that the study's differences have in common; None takes each column's own alone.
        trained: models behind each column that were trained anew for every seed.
        prior: stated noise, in the units of the values.
    """

    noise: SeedNoise | None = None
    trained: np.ndarray | int = 2
    prior: float = 0.0


@dataclass(frozen=True, eq=False)
class MeanError:
    """Where the error of each column's mean over seeds and users comes from; arrays of shape (columns,).

    Attributes:
        mean: mean over seeds and users.
        by_users: variance of the mean by the choice of users, seeds' and users' joint part included.
        joint: the part of it that seeds and users have together; 0 with one seed, which cannot tell them apart.
        by_seeds: variance of the mean by the choice of seeds, for all users at once; with one seed it cannot be
            measured and is what was stated, or 0.
        df: degrees of freedom of `by_users + by_seeds` (Satterthwaite); infinite with one seed.
        n_seeds, n_users: how many of each.
    """

    mean: np.ndarray
    by_users: np.ndarray
    joint: np.ndarray
    by_seeds: np.ndarray
    df: np.ndarray
    n_seeds: int
    n_users: int

    @property
    def standard_error(self) -> np.ndarray:
        """Standard error of each mean."""
        return np.sqrt(self.by_users + self.by_seeds)


def shared_noise(differences: Sequence[np.ndarray]) -> SeedNoise:
    """Estimates the seed noise that several differences of one study have in common.

    Each difference gives an estimate: the spread of its seeds minus what users explain. An estimate is as uncertain as
    the sum of that part and the noise itself is large, and has a weight of one over this sum. (Its square would be best
    for independent estimates, but rests on one or two of them, and on the luck of these: simulated, bounds of 2 seeds
    then fail in up to 7 %.) The pairs share one full model, so the estimates depend on each other: their correlation is
    the square of that between the seeds' means of two differences. It is 1/2 where all models are equally noisy, and
    near 1 where the full model is the noisiest, and is taken from the seeds, but as 1/2 at least.

    Args:
        differences: differences to the full model [seeds, users] of each selection; those with one seed, or without
            variation, hold no information and are left out.

    Returns:
        The estimate. It holds where training is about as noisy at every depth; where one model is noisier than the
        others, `mean_error` takes its own noise.
    """
    estimates = [
        tuple(float(part[0]) for part in _by_seed(difference[:, :, None]))
        for difference in differences
        if len(difference) > 1
    ]
    estimates = [(spread, joint) for spread, joint in estimates if joint > 0]
    if not estimates:
        return SeedNoise(0.0, 0.0)
    spread, joint = np.array(estimates).T  # [differences] each
    variance, weights = 0.0, joint
    for _ in range(2):  # the noise is part of its own weights; more rounds change little
        weights = 1 / (joint + variance)
        weights /= weights.sum()
        # The mean before the cut at 0: cutting each estimate first would bias the noise upwards.
        variance = max(0.0, float(weights @ (spread - joint)))
    n_seeds = max(len(difference) for difference in differences)
    parts = weights * (joint + variance)
    alike = _correlation([difference.mean(axis=1) for difference in differences if len(difference) == n_seeds]) ** 2
    # Satterthwaite: more differences add degrees of freedom, but less than independent ones.
    df = (n_seeds - 1) * parts.sum() ** 2 / (alike * parts.sum() ** 2 + (1 - alike) * (parts**2).sum())
    return SeedNoise(variance, float(df))


def _correlation(means: Sequence[np.ndarray]) -> float:
    """Returns how alike several differences move from seed to seed: mean covariance by mean variance, in [1/2, 1]."""
    moved = np.stack(means, axis=1)  # [seeds, differences]
    moved = moved - moved.mean(axis=0)
    own, together = (moved**2).sum(), (moved.sum(axis=1) ** 2).sum()
    n = moved.shape[1]
    if n < 2 or own == 0:
        return LEAST_ALIKE
    return float(np.clip((together - own) / (n - 1) / own, LEAST_ALIKE, 1.0))


def mean_error(
    values: np.ndarray, noise: SeedNoise | None = None, trained: np.ndarray | int = 2, prior: float = 0.0
) -> MeanError:
    """Splits the error of each column's mean over seeds and users by its sources.

    Args:
        values: [seeds, users, columns]; differences between two models, or one model's values.
        noise: seed noise of the study's differences; the larger of it and the column's own counts. None: its own alone.
        trained: models behind a column that were trained anew for every seed: 2 for a difference of such models. With
            one seed: models that another training would change.
        prior: stated training noise, the standard deviation of one training's mean in the units of `values`. It counts
            where it is larger than what was measured, as if it were known exactly; with one seed it is all there is.

    Returns:
        The sources. By seeds = max(own, trained / 2 * noise.variance / S, trained * prior**2 / S), own = the spread of
        the seeds' means / S minus the joint part, at least 0: the usual estimates of a crossed layout with random rows
        and columns (Searle, Casella and McCulloch 1992, chapter 4), with degrees of freedom after Satterthwaite (1946).
        They are those of `noise`, or of the column's own seeds where these spread more than `NOISIER` times as widely
        as `noise` says. How often bounds fail is simulated in `benchmarks/decision_errors.md`.

    Raises:
        InputError: `values` has no seed, user or column, or is not finite; `prior` is negative or not finite.
    """
    if not 0 <= prior < np.inf:
        raise InputError(f"a stated training noise must be a finite number, at least 0; got {prior}")
    values = np.asarray(values, dtype=np.float64)  # sums of squares of small differences need the digits
    if values.ndim != 3 or not values.size:
        raise InputError(f"values must have shape (seeds, users, columns), none of them 0; got {values.shape}")
    if not np.isfinite(values).all():
        raise InputError("values must be finite; a metric per user is NaN or infinite")
    n_seeds, n_users, n_columns = values.shape
    over_seeds = values.mean(axis=0)  # [users, columns]
    varies = np.ptp(values, axis=(0, 1)) > 0  # the mean of equal values is that value, and not nearly so
    over_seeds = np.where(varies, over_seeds, values[0, :1])
    mean = np.where(varies, over_seeds.mean(axis=0), values[0, 0])
    by_users = ((over_seeds - mean) ** 2).sum(axis=0) / max(n_users - 1, 1) / n_users  # [columns]
    stated = np.broadcast_to(np.asarray(trained) * prior**2 / n_seeds, n_columns)
    if n_seeds == 1:
        return MeanError(mean, by_users, np.zeros(n_columns), stated, np.full(n_columns, np.inf), 1, n_users)
    spread, joint = (part / n_seeds for part in _by_seed(values))
    own_noise = np.maximum(spread - joint, 0.0)
    # The shared noise is that of two trainings; where one side was trained once, half of it counts.
    shared = 0.0 if noise is None else np.asarray(trained) / 2 / n_seeds * noise.variance
    measured = np.maximum(own_noise, shared)
    by_seeds = np.maximum(measured, stated)
    seeds_df = np.full(n_columns, n_seeds - 1.0)
    if noise is not None:
        seeds_df = np.where(spread > NOISIER * (shared + joint), seeds_df, np.maximum(noise.df, seeds_df))
    # The users' part was subtracted from the spread, so its noise is in the rest, also where the rest was cut at 0.
    # What was stated and is larger than what was measured is taken as known.
    doubt = np.where(measured >= stated, (by_seeds + joint) ** 2 / seeds_df, 0.0)
    doubt += by_users**2 / max(n_users - 1, 1)
    variance = by_users + by_seeds
    df = np.where(doubt > 0, variance**2 / np.where(doubt > 0, doubt, 1.0), np.inf)
    return MeanError(mean, by_users, joint, by_seeds, df, n_seeds, n_users)


def seeded_intervals(
    values: np.ndarray, alpha: float, noise: SeedNoise | None = None, trained: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Two-sided interval of each column's mean, by Student's t; each holds on its own.

    With one seed it covers the choice of users only. With several it covers training, too. Without `noise` it is
    computed from the seeds of one difference: both parts enter with their own t, squared and added (Howe 1974). The
    users' part is not subtracted from the seeds', since two or three seeds cannot tell how large it is. So the interval
    is rather too wide than too narrow. Where fewer than `few.LEAST_DIFFERING` users differ from 0, an exact bound
    widens it (`few.Differing`).

    Args:
        values: [seeds, users, columns].
        alpha: share left outside, in (0, 1).
        noise: as for `mean_error`.
        trained: as for `mean_error`.

    Returns:
        Low and high, float64 (columns,) each.

    Raises:
        InputError: alpha lies outside its range, or as `mean_error`.
    """
    if not 0 < alpha < 1:
        raise InputError(f"alpha must lie between 0 and 1, usually .05; got {alpha}")
    error = mean_error(values, noise, trained)
    users_df, level = max(error.n_users - 1, 1), 1 - alpha / 2
    if noise is None and error.n_seeds > 1:
        spread = np.asarray(values, dtype=np.float64).mean(axis=1).var(axis=0, ddof=1) / error.n_seeds  # [columns]
        squares = stdtrit(users_df, level) ** 2 * error.by_users + stdtrit(error.n_seeds - 1, level) ** 2 * spread
        half, by_training = np.sqrt(squares), stdtrit(error.n_seeds - 1, level) * np.sqrt(spread)
    else:
        # With one seed df is infinite, and the users' own degrees of freedom count.
        critical = stdtrit(np.minimum(error.df, users_df), level)
        half, by_training = critical * error.standard_error, critical * np.sqrt(error.by_seeds)
    differing = Differing.of(np.asarray(values, dtype=np.float64))
    low = differing.lower(error.mean - half, alpha / 2, by_training)
    return low, differing.upper(error.mean + half, alpha / 2, by_training)


def _by_seed(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the variance of a seed's mean over users as it is, and the part of it that users explain, (columns,)."""
    n_seeds, n_users = values.shape[:2]
    per_seed, over_seeds = values.mean(axis=1), values.mean(axis=0)  # [seeds, columns], [users, columns]
    spread = per_seed.var(axis=0, ddof=1)
    # What neither the seed nor the user explains, as in a two-way analysis of variance; [seeds, users, columns].
    residual = values - per_seed[:, None] - over_seeds[None] + over_seeds.mean(axis=0)
    joint = (residual**2).sum(axis=(0, 1)) / ((n_seeds - 1) * max(n_users - 1, 1)) / n_users
    return spread, joint
