"""Paired comparisons with the full model: the evidence under a decision.

Takes ranks tables, hands on one `Comparison` per depth or floor and the power of the study.

Per user the metric minus that of the full model; simultaneous bounds over the family (max-t bootstrap over users). A
member is *not worse* if its lower bound lies above minus the margin, a share of the full model's value; *worse* if its
upper bound lies below that; else *undecided*. The full model's value in the threshold is taken as known: for models
alike Cov(difference, full) = -Var(difference) / 2, which makes the rule slightly too careful.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import NormalDist
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.errors import InputError
from layerprobe.evaluation.metrics import METRICS, metric_values
from layerprobe.evaluation.uncertainty import simultaneous_bounds

POWER = 0.8
RankTables: TypeAlias = "pd.DataFrame | Sequence[pd.DataFrame]"
"""One ranks table, or one per training seed."""
Verdict = Literal["not worse", "worse", "undecided"]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class DecisionOptions:
    """What "not worse" means.

    Attributes:
        metric: one of `METRICS`, on test targets ranked among the whole catalogue.
        k: cut-off of the metric; 0 for mrr, which has none.
        margin: share of the full model's value that may be lost, in (0, 1).
        alpha: probability that any "not worse" said of a depth is false, in (0, 1); "worse" has its own, two-sided.
        n_boot: number of resamples.
        seed: seed of the resamples.

    Raises:
        InputError: a value lies outside its range.
    """

    metric: str = "ndcg"
    k: int = 10
    margin: float = 0.02
    alpha: float = 0.05
    n_boot: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise InputError(f"metric must be one of {', '.join(METRICS)}; got {self.metric!r}")
        if (self.metric == "mrr") != (self.k == 0) or self.k < 0:
            raise InputError(f"k must be at least 1 for hr and ndcg and 0 for mrr; got {self.metric} with k = {self.k}")
        if self.n_boot < 100 or self.seed < 0:
            raise InputError(f"n_boot must be at least 100 and seed not negative; got {self.n_boot} and {self.seed}")
        for name in ("margin", "alpha"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise InputError(f"{name} must lie between 0 and 1 (a share: .02 means 2 %); got {value}")

    @property
    def label(self) -> str:
        """Name of the metric in text, such as NDCG@10."""
        return self.metric.upper() + (f"@{self.k}" if self.k else "")


@dataclass(frozen=True)
class Comparison:
    """One depth or floor against the full model.

    Attributes:
        value: mean of the metric.
        difference: `value` minus the full model's.
        relative: `difference` as a share of the full model's value.
        ci_low, ci_high: two-sided bounds of the difference, simultaneous in their family.
        lower_bound: one-sided lower bound of the difference, simultaneous in its family.
        not_worse: `lower_bound` > -margin * the full model's value.
        verdict: "not worse", "worse" (`ci_high` < -margin * the full model's value) or "undecided".
        seeds: trainings that the metric was averaged over per user.
    """

    value: float
    difference: float
    relative: float
    ci_low: float
    ci_high: float
    lower_bound: float
    not_worse: bool
    verdict: Verdict
    seeds: int


@dataclass(frozen=True)
class Power:
    """What this number of users can show.

    Attributes:
        minimal_detectable_relative_difference: smallest margin within which a depth that is truly equal to the full
            model would be shown to be not worse with 80 % power, (critical value + 0.84) * standard error / full value.
        n_users: users compared.
        users_needed_for_margin: users at which that difference would be the margin asked for.
    """

    minimal_detectable_relative_difference: float
    n_users: int
    users_needed_for_margin: int


@dataclass(frozen=True, eq=False)
class PerUser:
    """The metric of each user of one depth or floor, averaged over training seeds.

    Attributes:
        name: what error messages call it.
        users, targets: users ascending and their targets, shape (n_users,).
        metric: mean over seeds of the metric of each user, shape (n_users,).
        seeds: number of tables averaged.
    """

    name: str
    users: np.ndarray
    targets: np.ndarray
    metric: np.ndarray
    seeds: int

    @staticmethod
    def read(name: str, tables: RankTables, options: DecisionOptions) -> PerUser:
        """Computes the metric from one ranks table, or from one per seed.

        Raises:
            InputError: no table, no row for test and full, a user twice, or seeds with different users.
        """
        per_seed = [tables] if isinstance(tables, pd.DataFrame) else list(tables)
        if not per_seed:
            raise InputError(f"{name} has no ranks; rank it or leave it out of the decision")
        read = [PerUser._read_one(name, table, options) for table in per_seed]
        for other in read[1:]:
            read[0].check_same_users(other)
        metric = np.mean([found.metric for found in read], axis=0)
        return PerUser(name, read[0].users, read[0].targets, metric, len(read))

    @staticmethod
    def _read_one(name: str, table: pd.DataFrame, options: DecisionOptions) -> PerUser:
        rows = table.loc[(table[columns.SPLIT] == "test") & (table[columns.PROTOCOL] == "full")]
        rows = rows.iloc[np.argsort(rows[columns.USER].to_numpy(), kind="stable")]
        users = rows[columns.USER].to_numpy()
        if not len(users) or np.any(users[1:] == users[:-1]):
            raise InputError(
                f"the ranks of {name} must hold each user once with split test and protocol full; got {len(users)} "
                f"rows of {len(np.unique(users))} users; rank it again"
            )
        return PerUser(name, users, rows[columns.TARGET].to_numpy(), metric_values(rows, options.metric, options.k), 1)

    def check_same_users(self, other: PerUser) -> None:
        """Refuses an `other` with another user or target; paired differences would compare apples and pears.

        Raises:
            InputError: users or targets differ; the message names both.
        """
        same = np.array_equal(self.users, other.users) and np.array_equal(self.targets, other.targets)
        if not same:
            differing = len(np.setxor1d(self.users, other.users))
            raise InputError(
                f"{other.name} must be ranked on the same users and targets as {self.name}; {differing} users are in "
                f"only one of them ({len(other.users)} and {len(self.users)} users); rank both on one data folder"
            )


def compare(
    others: Mapping[Key, PerUser], full: PerUser, options: DecisionOptions
) -> tuple[dict[Key, Comparison], Power]:
    """Compares a family with the full model, under one family-wise error.

    Args:
        others: at least one depth or floor.
        full: the full model; its metric must be above 0.
        options: margin, error and resamples.

    Returns:
        A comparison per key, in the order given, and what this number of users can show. The power is that of the
        loosest difference among those that are not worse for certain (among all, if all are): more users would not
        change the verdict on the others.

    Raises:
        InputError: users or targets differ from the full model's.
    """
    for other in others.values():
        full.check_same_users(other)
    differences = np.stack([other.metric - full.metric for other in others.values()], axis=1)
    bounds = simultaneous_bounds(differences, options.alpha, options.n_boot, options.seed)
    reference = float(full.metric.mean())
    threshold = -options.margin * reference
    found: dict[Key, Comparison] = {}
    for column, (key, other) in enumerate(others.items()):
        lower, high = float(bounds.lower[column]), float(bounds.high[column])
        verdict: Verdict = "not worse" if lower > threshold else "worse" if high < threshold else "undecided"
        found[key] = Comparison(
            value=float(other.metric.mean()),
            difference=float(bounds.mean[column]),
            relative=float(bounds.mean[column]) / reference,
            ci_low=float(bounds.low[column]),
            ci_high=high,
            lower_bound=lower,
            not_worse=verdict == "not worse",
            verdict=verdict,
            seeds=other.seeds,
        )
    open_ones = np.array([comparison.verdict != "worse" for comparison in found.values()])
    error = bounds.standard_error[open_ones if open_ones.any() else slice(None)].max()
    return found, _power(error / reference, bounds.critical_lower, len(full.metric), options.margin)


def _power(relative_error: float, critical: float, n_users: int, margin: float) -> Power:
    detectable = float((critical + NormalDist().inv_cdf(POWER)) * relative_error)
    needed = max(1, ceil(n_users * (detectable / margin) ** 2))
    return Power(detectable, n_users, needed)
