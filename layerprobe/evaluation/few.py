"""Bounds for a mean over users where few users differ, which a bootstrap cannot give.

Takes counts per column (no torch), hands on limits. A resample of users holds only users that were seen. Where none of
them differs, it finds no variation, and where a handful does, far too little: one loser in fifty that was not drawn
among a hundred users is missed in 13 % of such studies. So the share of users who lose, or gain, is bounded exactly.
The same holds where many users differ a little and a handful very much: then what is lost, or gained, is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, rel_entr

from layerprobe.errors import InputError

LEAST_DIFFERING = 30
"""Users that a column's differences must rest on, so that the bootstrap counts alone.

One-sided 5 % bounds then fail in at most 5.6 % of studies, in 6.5 % where not one user gains (computed for Poisson
numbers of losers and gainers).
"""


@dataclass(frozen=True, eq=False)
class Differing:
    """Who differs at all in each column; arrays of shape (columns,).

    Attributes:
        users: users with a value other than 0 in any seed.
        effective: 1 / skewness ** 2 of the mean over users, (sum of c ** 2) ** 3 / (sum of c ** 3) ** 2 over users'
            centred means c over seeds: about the number of those that differ where all lose the same, few where few
            lose much more than others, many where losses and gains are alike. The skewness is what bounds by a
            variance miss first (Johnson 1978).
        losers, gainers: users whose mean over seeds lies below, and above, 0.
        lost, gained: mean over all users of what the losers lose, and the gainers gain.
        n_users: all users.
    """

    users: np.ndarray
    effective: np.ndarray
    losers: np.ndarray
    gainers: np.ndarray
    lost: np.ndarray
    gained: np.ndarray
    n_users: int

    @classmethod
    def of(cls, values: np.ndarray) -> Differing:
        """Counts in values [seeds, users, columns].

        Raises:
            InputError: a column in which few users differ has a value outside [-1, 1].
        """
        over_seeds = values.mean(axis=0)  # [users, columns]
        centred = over_seeds - over_seeds.mean(axis=0)
        squares, cubes = (centred**2).sum(axis=0) ** 3, (centred**3).sum(axis=0) ** 2
        found = cls(
            users=np.count_nonzero((values != 0).any(axis=0), axis=0),
            effective=np.divide(squares, cubes, out=np.full_like(squares, np.inf), where=cubes > squares * 1e-18),
            losers=np.count_nonzero(over_seeds < 0, axis=0),
            gainers=np.count_nonzero(over_seeds > 0, axis=0),
            lost=np.maximum(-over_seeds, 0.0).mean(axis=0),
            gained=np.maximum(over_seeds, 0.0).mean(axis=0),
            n_users=values.shape[1],
        )
        largest = np.abs(values[:, :, found.are_few]).max(initial=0.0)
        if largest > 1:
            raise InputError(
                f"where fewer than {LEAST_DIFFERING} users differ, values must lie between -1 and 1, as differences of "
                f"metrics do; got {largest:g}: divide them by their largest possible size"
            )
        return found

    @property
    def are_few(self) -> np.ndarray:
        """Whether a column has too few users that differ for a bootstrap, bool (columns,)."""
        return self.resting < LEAST_DIFFERING

    @property
    def resting(self) -> np.ndarray:
        """Users that a column rests on, whole (columns,): those that differ, or fewer where few differ much."""
        is_skewed = (self.users >= LEAST_DIFFERING) & (self.effective < LEAST_DIFFERING)
        return np.where(is_skewed, self.effective, self.users).astype(np.int64)

    def lower(self, bounds: np.ndarray, alpha: float, training: np.ndarray | float = 0.0) -> np.ndarray:
        """Returns lower bounds (columns,), widened where few users differ.

        Values lie in [-1, 1], so a mean is at least minus the share of users who lose.

        Args:
            bounds: as the bootstrap gives them; the lower of both counts.
            alpha: probability that one exact bound fails.
            training: what the noise of training takes from the exact bound besides.
        """
        exact = -self._most(self.losers, self.lost, alpha) - training
        return np.where(self.are_few, np.minimum(bounds, exact), bounds)

    def upper(self, bounds: np.ndarray, alpha: float, training: np.ndarray | float = 0.0) -> np.ndarray:
        """Returns upper bounds (columns,), widened where few users differ, as `lower` does."""
        exact = self._most(self.gainers, self.gained, alpha) + training
        return np.where(self.are_few, np.maximum(bounds, exact), bounds)

    def _most(self, count: np.ndarray, mean: np.ndarray, alpha: float) -> np.ndarray:
        """Returns the most that a mean of losses, or gains, can truly be: by their number, or by their size."""
        by_size = _largest_mean(mean, self.n_users, alpha)
        return np.where(self.users < LEAST_DIFFERING, _most(count, self.n_users, alpha), by_size)


def _most(count: np.ndarray, n_users: int, alpha: float) -> np.ndarray:
    """Returns the upper limit of a share by Clopper and Pearson (1934), (columns,): exact, so at least 1 - alpha.

    >>> _most(np.array([0, 1, 100]), 100, 0.05).round(4).tolist()  # 0: 1 - alpha ** (1 / 100)
    [0.0295, 0.0466, 1.0]
    """
    others = np.maximum(n_users - count, 1)  # all users: the limit is 1
    return np.where(count < n_users, betaincinv(count + 1, others, 1 - alpha), 1.0)


def _largest_mean(mean: np.ndarray, n_users: int, alpha: float) -> np.ndarray:
    """Returns an upper limit, (columns,), of the true mean of values in [0, 1] whose mean over users is `mean`.

    Valid for every distribution: the largest p with n KL(mean, p) <= log(1 / alpha) (Hoeffding 1963, theorem 1).

    >>> _largest_mean(np.array([0.0, 0.01]), 100, 0.05).round(4).tolist()  # 0: 1 - alpha ** (1 / 100), as by numbers
    [0.0295, 0.0561]
    """
    low, high = np.array(mean, dtype=np.float64), np.ones_like(mean, dtype=np.float64)
    for _ in range(60):  # halves the range each time
        middle = (low + high) / 2
        is_possible = n_users * (rel_entr(mean, middle) + rel_entr(1 - mean, 1 - middle)) <= -np.log(alpha)
        low, high = np.where(is_possible, middle, low), np.where(is_possible, high, middle)
    return high
