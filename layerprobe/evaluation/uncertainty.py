"""Bootstrap over users: how far a mean could move if other users of the same kind had been ranked.

Takes values per user (no torch), hands on intervals. All columns of one call share one set of resamples, so a
resample of a hundred columns costs one matrix product. The intervals cover the choice of users and nothing else: not
the noise of training, not another data set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from layerprobe.errors import InputError

CHUNK_ENTRIES = 1 << 19
"""Resample weights held at a time. Changes memory and speed, never the numbers."""
MIN_BOOT = 100


@dataclass(frozen=True, eq=False)
class SimultaneousBounds:
    """Bounds that hold for all columns at once with probability 1 - alpha; each array has shape (m,).

    Attributes:
        mean: mean of each column over users.
        standard_error: its standard error, sample standard deviation / sqrt(n_users).
        lower: one-sided lower bounds, mean - critical_lower * standard_error.
        low, high: two-sided bounds, mean -+ critical_two_sided * standard_error.
        critical_lower, critical_two_sided: quantiles of the largest studentised error over the columns.
    """

    mean: np.ndarray
    standard_error: np.ndarray
    lower: np.ndarray
    low: np.ndarray
    high: np.ndarray
    critical_lower: float
    critical_two_sided: float


def bootstrap_weights(n_users: int, n_boot: int, seed: int) -> Iterator[np.ndarray]:
    """Yields how often each user is drawn in each resample, in chunks of resamples.

    Every resample draws `n_users` users with replacement, so each row sums to `n_users`.

    Args:
        n_users: at least 1.
        n_boot: total number of resamples, at least 1.
        seed: the rows depend on it, on `n_users` and on nothing else.

    Yields:
        float32 [resamples in the chunk, n_users]; the chunks together hold `n_boot` rows.
    """
    generator = np.random.default_rng(seed)
    chunk = max(1, CHUNK_ENTRIES // n_users)
    for start in range(0, n_boot, chunk):
        n_rows = min(chunk, n_boot - start)
        drawn = generator.integers(0, n_users, size=(n_rows, n_users))
        drawn += np.arange(n_rows)[:, None] * n_users
        counts = np.bincount(drawn.ravel(), minlength=n_rows * n_users)
        yield counts.reshape(n_rows, n_users).astype(np.float32)


def mean_intervals(values: np.ndarray, alpha: float, n_boot: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap interval of each column's mean over users.

    Each interval covers its own mean with probability about 1 - alpha; they do not hold together for all columns
    (see `simultaneous_bounds`).

    Args:
        values: per-user values [n_users, m].
        alpha: share of resampled means left outside, half on each side, in (0, 1).
        n_boot: number of resamples, at least 100; 1000 fix the bounds to a few per cent of their distance.
        seed: seed of the resamples; calls with equal `n_users`, `n_boot` and `seed` share them.

    Returns:
        Low and high, float64 (m,) each. A column without variation has low == high == its mean.

    Raises:
        InputError: an argument lies outside its range or `values` is not finite.
    """
    values = _checked(values, alpha, n_boot)
    mean, centred = _centre(values)
    narrow = centred.astype(np.float32)
    moved = np.concatenate([weights @ narrow for weights in bootstrap_weights(len(values), n_boot, seed)])
    low, high = np.quantile(moved / len(values), [alpha / 2, 1 - alpha / 2], axis=0)
    return mean + low, mean + high


def simultaneous_bounds(differences: np.ndarray, alpha: float, n_boot: int, seed: int) -> SimultaneousBounds:
    """Bounds on the means of all columns that hold together, by the bootstrap of the largest studentised error.

    Resample b moves the mean of column j by e_bj; with the standard error s_j, t_bj = e_bj / s_j. The critical value
    is the 1 - alpha quantile over b of max_j t_bj (one-sided) or of max_j |t_bj| (two-sided). The maximum over j makes
    the error family-wise, and since all columns are resampled together, correlated columns cost little.

    Args:
        differences: paired per-user differences [n_users, m], users the same in every column.
        alpha: probability that any bound of the family fails, in (0, 1).
        n_boot: number of resamples, at least 100.
        seed: seed of the resamples.

    Returns:
        The bounds. A column without variation has a standard error of 0 and bounds equal to its mean.

    Raises:
        InputError: an argument lies outside its range, or a value is not finite.

    Source:
        Westfall and Young, Resampling-Based Multiple Testing, 1993. We divide by the standard error of the sample,
        not of each resample: where few users differ, a resample can hold none of them and would divide by 0.
    """
    values = _checked(differences, alpha, n_boot)
    mean, centred = _centre(values)
    standard_error = np.sqrt((centred**2).sum(axis=0) / max(len(values) - 1, 1) / len(values))
    scale = np.where(standard_error > 0, standard_error, 1.0)
    studentised = (centred / (scale * len(values))).astype(np.float32)
    upward, either = [], []
    for weights in bootstrap_weights(len(values), n_boot, seed):
        moved = weights @ studentised
        upward.append(moved.max(axis=1))
        either.append(np.abs(moved).max(axis=1))
    critical_lower = float(np.quantile(np.concatenate(upward), 1 - alpha))
    critical_two_sided = float(np.quantile(np.concatenate(either), 1 - alpha))
    return SimultaneousBounds(
        mean=mean,
        standard_error=standard_error,
        lower=mean - critical_lower * standard_error,
        low=mean - critical_two_sided * standard_error,
        high=mean + critical_two_sided * standard_error,
        critical_lower=critical_lower,
        critical_two_sided=critical_two_sided,
    )


def _centre(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean of each column and what is left of the column, exactly 0 where it has no variation.

    Centred values can be multiplied in float32 without losing a small difference.
    """
    varies = np.ptp(values, axis=0) > 0
    mean = np.where(varies, values.mean(axis=0), values[0])
    return mean, values - mean


def _checked(values: np.ndarray, alpha: float, n_boot: int) -> np.ndarray:
    if not 0 < alpha < 1:
        raise InputError(f"alpha must lie between 0 and 1, usually .05; got {alpha}")
    if n_boot < MIN_BOOT:
        raise InputError(f"an interval needs n_boot of at least {MIN_BOOT} resamples; got {n_boot}")
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise InputError(f"values must have shape (users, columns) with at least one of each; got {values.shape}")
    if not np.isfinite(values).all():
        raise InputError("values must be finite; a metric per user is NaN or infinite")
    return values
