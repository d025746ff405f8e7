"""Training noise: how far a mean over users and seeds could move if other users were drawn and models trained again.

Takes values per training seed and user (no torch), hands on variances of their mean by source. Users and seeds are
crossed: every seed's model ranks every user. Three sources then move a column's mean over S seeds and U users:

- users: some are harder, or gain more. Shrinks with U.
- seeds and users together: trained again, a model serves other users well. Shrinks with S times U.
- seeds: trained again, a model is better or worse for all users at once. Shrinks with S alone.

A bootstrap over users of the seeds' mean covers the first two. The third needs the spread of the seeds' means beyond
what the second explains. Three seeds say little about it, so models of one study share theirs (`shared_noise`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from layerprobe.errors import InputError


@dataclass(frozen=True)
class SeedNoise:
    """How much one training moves a model's mean over users, for all users at once.

    Attributes:
        variance: of one model's mean over users by its seed, the users' part taken off, at least 0.
        spread: variance of that mean over seeds as it is, the users' part included.
        df: degrees of freedom behind both; 0 where nothing was trained twice, and both are 0 then.
    """

    variance: float
    spread: float
    df: int


@dataclass(frozen=True, eq=False)
class MeanError:
    """Where the error of each column's mean over seeds and users comes from; arrays of shape (columns,).

    Attributes:
        mean: mean over seeds and users.
        by_users: variance of the mean by the choice of users, seeds' and users' joint part included.
        joint: of that the part of seeds and users together; 0 with one seed, where it cannot be told apart.
        by_seeds: variance of the mean by the choice of seeds, for all users at once; 0 with one seed, where it is not
            known.
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


def shared_noise(models: Sequence[np.ndarray]) -> SeedNoise:
    """Averages the seed noise of several models of one study.

    Args:
        models: values [seeds, users] of each model; those with one seed say nothing and are left out.

    Returns:
        The mean of the models' variances. It is exact where training is about as noisy at every depth; where one model
        is noisier than the others, `mean_error` takes its own noise.
    """
    known = [_by_seed(values[:, :, None]) for values in models if len(values) > 1]
    if not known:
        return SeedNoise(0.0, 0.0, 0)
    spread = float(np.mean([found[0] for found in known]))
    joint = float(np.mean([found[1] for found in known]))
    df = sum(len(values) - 1 for values in models)
    return SeedNoise(max(0.0, spread - joint), spread, df)


def mean_error(values: np.ndarray, noise: SeedNoise | None = None, trained: np.ndarray | int = 2) -> MeanError:
    """Splits the error of each column's mean over seeds and users by its sources.

    Args:
        values: [seeds, users, columns]; differences between two models, or one model's values.
        noise: seed noise of the study's models; the larger of it and the column's own counts. None: its own alone.
        trained: models behind a column that were trained anew for every seed: 2 for a difference of such models.

    Returns:
        The sources. By seeds = max(own, trained * noise.variance / S), own = the spread of the seeds' means / S minus
        the joint part, at least 0: the usual estimates of a crossed layout with random rows and columns (Searle,
        Casella and McCulloch 1992, chapter 4). Simulated at 3 seeds, one-sided 5 % bounds with `noise` fail in 2.9 to
        4.5 % where all models are equally noisy.

    Raises:
        InputError: `values` has no seed, user or column, or is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 3 or not values.size:
        raise InputError(f"values must have shape (seeds, users, columns), none of them 0; got {values.shape}")
    if not np.isfinite(values).all():
        raise InputError("values must be finite; a metric per user is NaN or infinite")
    n_seeds, n_users, n_columns = values.shape
    over_seeds = values.mean(axis=0)
    varies = np.ptp(values, axis=(0, 1)) > 0  # the mean of equal values is that value, and not nearly so
    over_seeds = np.where(varies, over_seeds, values[0, :1])
    mean = np.where(varies, over_seeds.mean(axis=0), values[0, 0])
    by_users = ((over_seeds - mean) ** 2).sum(axis=0) / max(n_users - 1, 1) / n_users
    if n_seeds == 1:
        nothing = np.zeros(n_columns)
        return MeanError(mean, by_users, nothing, nothing, np.full(n_columns, np.inf), 1, n_users)
    noise = noise or SeedNoise(0.0, 0.0, 0)
    spread, joint = (part / n_seeds for part in _by_seed(values))
    shared = trained * noise.variance / n_seeds
    by_seeds = np.maximum(np.maximum(spread - joint, 0.0), shared)
    # The estimate that counts brings its degrees of freedom along, and the spread it came from.
    spread = np.maximum(spread, trained * noise.spread / n_seeds)
    df = satterthwaite(by_users, n_users - 1, by_seeds, spread, max(noise.df, n_seeds - 1))
    return MeanError(mean, by_users, joint, by_seeds, df, n_seeds, n_users)


def satterthwaite(
    by_users: np.ndarray, users_df: int, by_seeds: np.ndarray, spread: np.ndarray, seeds_df: int
) -> np.ndarray:
    """Returns the degrees of freedom of the sum of two estimated variances (Satterthwaite 1946).

    `spread`, from which `by_seeds` came by subtraction, stands in the denominator: what was subtracted is noise, too.
    """
    parts = by_users**2 / max(users_df, 1) + spread**2 / seeds_df
    return np.where(parts > 0, (by_users + by_seeds) ** 2 / np.where(parts > 0, parts, 1.0), np.inf)


def seeded_intervals(
    values: np.ndarray, alpha: float, noise: SeedNoise | None = None, trained: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Two-sided interval of each column's mean, by Student's t; each holds on its own.

    With one seed it covers the choice of users alone. With several it covers training, too.

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
    found = mean_error(values, noise, trained)
    df = np.minimum(found.df, max(found.n_users - 1, 1))
    half = stats.t.ppf(1 - alpha / 2, df) * found.standard_error
    return found.mean - half, found.mean + half


def _by_seed(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the variance of a seed's mean over users as it is, and the part of it that users explain, (columns,)."""
    n_seeds, n_users = values.shape[:2]
    per_seed, over_seeds = values.mean(axis=1), values.mean(axis=0)
    spread = per_seed.var(axis=0, ddof=1)
    rest = values - per_seed[:, None] - over_seeds[None] + over_seeds.mean(axis=0)
    joint = (rest**2).sum(axis=(0, 1)) / ((n_seeds - 1) * max(n_users - 1, 1)) / n_users
    return spread, joint
