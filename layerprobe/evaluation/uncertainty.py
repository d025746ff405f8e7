"""Bootstrap over users: how far a mean could move if other users of the same kind had been ranked.

Takes values per user (no torch), hands on intervals. All columns of one call share one set of resamples, so a
resample of a hundred columns costs one matrix product. The intervals cover the choice of users; those of
`simultaneous_bounds` also cover the noise of training where there are several seeds. None covers another data set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincinv

from layerprobe.errors import InputError
from layerprobe.evaluation.few import Differing
from layerprobe.evaluation.seeds import MeanError, TrainingNoise, mean_error

CHUNK_ENTRIES = 1 << 19
"""Resample weights held at a time. Changes memory and speed, never the numbers."""
MIN_BOOT = 100
MOST_DF = 1e6
"""Degrees of freedom at which Student's t is the normal distribution to six digits."""
OWN_SEEDS = TrainingNoise()


@dataclass(frozen=True, eq=False)
class SimultaneousBounds:
    """Bounds that hold for all columns at once with probability 1 - alpha; each array has shape (m,).

    Bounds of a column in which fewer than `few.LEAST_DIFFERING` users differ are the wider of what is said below and an
    exact bound.

    Attributes:
        error: mean of each column over seeds and users, and where its error comes from.
        differing: users that the column rests on (`few.Differing.resting`).
        lower: one-sided lower bounds, mean - critical_lower * standard error.
        low, high: two-sided bounds, mean -+ critical_two_sided * standard error.
        alone: one-sided lower bounds that hold for each column on its own, mean - critical_alone * standard error.
        critical_lower, critical_two_sided: quantiles of the largest studentised error over the columns.
        critical_alone: quantile of each column's own studentised error.
    """

    error: MeanError
    differing: np.ndarray
    lower: np.ndarray
    low: np.ndarray
    high: np.ndarray
    alone: np.ndarray
    critical_lower: float
    critical_two_sided: float
    critical_alone: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean of each column."""
        return self.error.mean

    @property
    def standard_error(self) -> np.ndarray:
        """Standard error of each mean."""
        return self.error.standard_error


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
        drawn = generator.integers(0, n_users, size=(n_rows, n_users))  # [resamples, users]
        drawn += np.arange(n_rows)[:, None] * n_users  # each resample gets its own range, so one bincount counts all
        counts = np.bincount(drawn.ravel(), minlength=n_rows * n_users)
        yield counts.reshape(n_rows, n_users).astype(np.float32)  # small whole numbers: exact


def resampled_means(values: np.ndarray, n_boot: int, seed: int) -> np.ndarray:
    """Returns how far each resample of users moves the mean of each column.

    It is linear: what a resample moves a difference of two columns by is the difference of what it moves them by. So
    one pass over all columns of a study serves every comparison of them.

    Args:
        values: per-user values [n_users, m], finite.
        n_boot: number of resamples.
        seed: seed of the resamples; calls with equal `n_users`, `n_boot` and `seed` share them.

    Returns:
        float32 [n_boot, m]; 0 in a column without variation.
    """
    narrow = (_centre(values)[1] / len(values)).astype(np.float32)
    return np.concatenate([weights @ narrow for weights in bootstrap_weights(len(values), n_boot, seed)])


def mean_intervals(values: np.ndarray, alpha: float, n_boot: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap interval of each column's mean over users.

    Each interval covers its own mean with probability about 1 - alpha; they do not hold together for all columns
    (see `simultaneous_bounds`). They describe; no claim may hang on them, since a column in which no user differs has
    an interval without width.

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
    low, high = np.quantile(resampled_means(values, n_boot, seed), [alpha / 2, 1 - alpha / 2], axis=0)
    mean = _centre(values)[0]
    return mean + low, mean + high


def simultaneous_bounds(
    differences: np.ndarray,
    alpha: float,
    n_boot: int,
    seed: int,
    training: TrainingNoise = OWN_SEEDS,
    moved: np.ndarray | None = None,
) -> SimultaneousBounds:
    """Bounds on the means of all columns that hold together, by the bootstrap of the largest studentised error.

    Resample b moves the mean of column j by e_bj; with the standard error s_j, t_bj = e_bj / s_j. The critical value
    is the 1 - alpha quantile over b of max_j t_bj (one-sided) or of max_j |t_bj| (two-sided). The maximum over j makes
    the error family-wise, and since all columns are resampled together, correlated columns cost little.

    With several seeds it is a hierarchical bootstrap: each resample draws users and, for each column, new noise of
    training. Users are drawn with replacement. The few seeds are not, since three of them have no tails (and a variance
    too small by a third): their part is drawn from a normal distribution of the estimated variance, and the sum is
    divided by a chi variable with the degrees of freedom of that estimate, as in Student's t.

    Where fewer than `few.LEAST_DIFFERING` users differ in a column, resamples show too little, or nothing. Its bounds
    are then at most as narrow as exact ones: values lie in [-1, 1], so the mean is at least minus the share of users
    who lose, and that share is bounded by Clopper and Pearson at alpha over m (`alone`: alpha; two-sided: half of it).

    Args:
        differences: paired per-user differences [n_users, m], or [n_seeds, n_users, m]; users the same in every column.
        alpha: probability that any bound of the family fails, in (0, 1).
        n_boot: number of resamples, at least 100.
        seed: seed of the resamples.
        training: what is known of training noise besides the columns' own seeds.
        moved: `resampled_means` of the differences' mean over seeds, with these `n_boot` and `seed`, [n_boot, m]; None
            computes it. To be given where several families of columns share their users.

    Returns:
        The bounds.

    Raises:
        InputError: an argument lies outside its range, a value is not finite, or it lies outside [-1, 1] in a column in
            which few users differ.

    Source:
        Westfall and Young, Resampling-Based Multiple Testing, 1993. We divide by the standard error of the sample,
        not of each resample: where few users differ, a resample can hold none of them and would divide by 0.
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[None] if values.ndim == 2 else values  # [seeds, users, m]
    _checked(values.reshape(-1, values.shape[-1]) if values.ndim == 3 else values, alpha, n_boot)
    error, differing = mean_error(values, training.noise, training.trained, training.prior), Differing.of(values)
    moved = resampled_means(values.mean(axis=0), n_boot, seed) if moved is None else moved
    if moved.shape != (n_boot, values.shape[-1]):
        raise InputError(f"moved must have shape {(n_boot, values.shape[-1])}, (resamples, columns); got {moved.shape}")
    # A constant column moves by 0 in any case. studentised: t of each resample and column, [n_boot, m]
    studentised = moved / np.where(error.standard_error > 0, error.standard_error, 1.0).astype(np.float32)
    if error.n_seeds > 1 or error.by_seeds.any():
        studentised = _with_training(studentised, error, seed)
    alone = np.quantile(studentised, 1 - alpha, axis=0)
    upward, either = (float(np.quantile(part.max(axis=1), 1 - alpha)) for part in (studentised, np.abs(studentised)))
    half, by_training, share = either * error.standard_error, np.sqrt(error.by_seeds), alpha / len(error.mean)
    lower = error.mean - upward * error.standard_error
    return SimultaneousBounds(
        error=error,
        differing=differing.resting,
        lower=differing.lower(lower, share, upward * by_training),
        low=differing.lower(error.mean - half, share / 2, either * by_training),
        high=differing.upper(error.mean + half, share / 2, either * by_training),
        alone=differing.lower(error.mean - alone * error.standard_error, alpha, alone * by_training),
        critical_lower=upward,
        critical_two_sided=either,
        critical_alone=alone,
    )


def _with_training(moved: np.ndarray, error: MeanError, seed: int) -> np.ndarray:
    """Adds the noise of training to studentised resamples [n_boot, m], and the doubt about how large it is."""
    generator = np.random.default_rng((seed, len(moved)))  # apart from the draws of users, which take `seed` alone
    variance = error.by_users + error.by_seeds
    share = np.sqrt(np.divide(error.by_seeds, variance, out=np.zeros_like(variance), where=variance > 0))
    trained = moved + share * generator.standard_normal(moved.shape)  # [n_boot, m], drawn for each column
    # One draw of a chi-squared quantile for all columns: they share the estimate, and with it the doubt.
    drawn, df = generator.random(len(moved))[:, None], np.minimum(error.df, MOST_DF)  # [n_boot, 1], [m]
    return trained / np.sqrt(2 * gammaincinv(df / 2, drawn) / df)


def _centre(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean of each column and what is left of the column, exactly 0 where it has no variation.

    Centred values can be multiplied in float32 without losing a small difference.
    """
    varies = np.ptp(values, axis=0) > 0  # a mean of equal values can differ from them in the last bit
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
