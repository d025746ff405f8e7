"""Simulated studies with a known truth: mostly-zero metrics of a full model and its smaller depths.

The target's log-rank is the sum of a normal part of the user, a normal part of depth and user that no training changes
(`TASTE`; the deeper, the smaller), luck of user and training (Student's t, 3 degrees of freedom), and what moves all
users at once: the depth's loss and a normal part of each training. The expected metric is an integral over the luck, so
losses are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import root_scalar
from scipy.special import ndtr
from scipy.stats import t as student

USER, LUCK, LUCK_DF = 2.0, 0.3, 3
"""Standard deviation of the user's part of the log-rank, and size of the luck."""
TASTE = np.array([0.8, 0.6, 0.4, 0.3, 0.2, 0.0])
"""Of each depth, the full model last."""
_LUCK_POINTS = LUCK * student.ppf((np.arange(2000) + 0.5) / 2000, LUCK_DF)
_RANKS = np.arange(1, 12)


@dataclass(frozen=True)
class World:
    """What all studies of one row have in common.

    Attributes:
        k: cut-off of NDCG.
        base: expected metric of every model that loses nothing.
        training: standard deviation of one training's expected metric, as a share of `base`, for each model.
        fixed: the same for an error of each depth that stays the same for every seed.
    """

    k: int
    base: float
    training: tuple[float, ...]
    fixed: float = 0.0

    @property
    def spreads(self) -> np.ndarray:
        """Standard deviations of each model's log-rank by training and by the fixed error, (models, 2)."""
        per_share = self.base / slope(self.k, self.base)
        fixed = np.append(np.full(len(self.training) - 1, self.fixed), 0.0)
        return np.stack([np.array(self.training), fixed], axis=1) * per_share

    def levels(self, loss: float) -> np.ndarray:
        """Returns the mean log-rank of each model, so that the depths lose `loss` and the full model nothing."""
        wide = np.sqrt(USER**2 + TASTE[-len(self.training) :] ** 2 + (self.spreads**2).sum(axis=1))
        losses = np.append(np.full(len(wide) - 1, loss), 0.0)
        return np.array([level(self.k, self.base * (1 - each), sd) for each, sd in zip(losses, wide, strict=True)])


@dataclass(frozen=True)
class Draw:
    """Log-ranks of one study without the levels, [seeds, users, models]."""

    log_ranks: np.ndarray

    def metric(self, k: int, levels: np.ndarray) -> np.ndarray:
        """Returns NDCG@k, [seeds, users, models]."""
        ranks = 1 + np.floor(np.exp(np.minimum(self.log_ranks + levels, 9.0)))
        return np.where(ranks <= k, 1 / np.log2(1 + ranks), 0.0)


def draw(world: World, n_seeds: int, n_users: int, generator: np.random.Generator) -> Draw:
    """Draws one study."""
    n_models = len(world.training)
    by_training, fixed = world.spreads.T
    shift = by_training * generator.standard_normal((n_seeds, n_models)) + fixed * generator.standard_normal(n_models)
    user = USER * generator.standard_normal((n_users, 1))
    taste = TASTE[-n_models:] * generator.standard_normal((n_users, n_models))
    luck = LUCK * generator.standard_t(LUCK_DF, (n_seeds, n_users, n_models))
    return Draw(luck + user + taste + shift[:, None])


def expected(k: int, mean: float, spread: float) -> float:
    """Returns the expected NDCG@k of a log-rank of this mean and normal standard deviation, plus luck."""
    gains = np.where(k >= _RANKS, 1 / np.log2(1 + _RANKS), 0.0)
    within = ndtr((np.log(_RANKS) - mean - _LUCK_POINTS[:, None]) / spread).mean(axis=0)  # P(rank <= 1, 2, ...)
    return float((gains[:-1] - gains[1:]) @ within[:-1])


@cache
def level(k: int, value: float, spread: float) -> float:
    """Returns the mean log-rank whose expected NDCG@k is `value`."""
    return float(root_scalar(lambda mean: expected(k, mean, spread) - value, bracket=(-5.0, 20.0), xtol=1e-9).root)


@cache
def slope(k: int, base: float) -> float:
    """Returns by how much the expected metric falls per unit of log-rank, for the full model."""
    mean = level(k, base, USER)
    return (expected(k, mean - 0.05, USER) - expected(k, mean + 0.05, USER)) / 0.1
