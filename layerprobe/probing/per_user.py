"""`PerUser`: the metric of every test user under every training seed, and differences paired by user.

The user is the unit: where a user has several targets, the metric is their mean.

Takes ranks tables, hands on arrays [seeds, users] for comparisons, controls, the student and the test of cheap scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.arguments import require_columns
from layerprobe.errors import InputError
from layerprobe.evaluation.metrics import metric_values, target_key, user_means
from layerprobe.probing.decision_options import DecisionOptions

RankTables: TypeAlias = "pd.DataFrame | Sequence[pd.DataFrame]"
"""One ranks table, or one per training seed."""


@dataclass(frozen=True, eq=False)
class PerUser:
    """The metric of each user of one depth or floor.

    Attributes:
        name: its name in error messages.
        users: users ascending, shape (n_users,).
        targets: their targets in the order of users, shape (n_targets,); leave-one-out has one per user.
        metric: metric of each user under each training seed, the mean over the user's targets, float64
            [seeds, n_users].
        n_targets: targets of each user, shape (n_users,); None stands for one.
    """

    name: str
    users: np.ndarray
    targets: np.ndarray
    metric: np.ndarray
    n_targets: np.ndarray | None = None

    @property
    def seeds(self) -> int:
        """Number of trainings."""
        return len(self.metric)

    @property
    def over_seeds(self) -> np.ndarray:
        """Mean over seeds of the metric of each user, shape (n_users,)."""
        return self.metric.mean(axis=0)

    @property
    def value(self) -> float:
        """Mean over seeds and users."""
        return float(self.over_seeds.mean())

    @staticmethod
    def read(name: str, tables: RankTables, options: DecisionOptions) -> PerUser:
        """Computes the metric from one ranks table, or from one per seed.

        Raises:
            InputError: no table, no row for test and full, a target twice, or seeds with different users or targets.
        """
        if not isinstance(tables, (pd.DataFrame, list, tuple)):
            got = type(tables).__name__
            raise InputError(f"the ranks of {name} must be a table, or a list of one per seed; got a {got}")
        per_seed = [tables] if isinstance(tables, pd.DataFrame) else list(tables)
        for table in per_seed:
            require_columns(f"the ranks of {name}", table, columns.RANKED)
        if not per_seed:
            raise InputError(f"{name} has no ranks; rank it or leave it out of the decision")
        first, *others = models = [PerUser._read_one(name, table, options) for table in per_seed]
        for other in others:
            first.check_same_users(other)
        metric = np.concatenate([model.metric for model in models])  # one row per seed: [seeds, users]
        return PerUser(name, first.users, first.targets, metric, first.n_targets)

    @staticmethod
    def _read_one(name: str, table: pd.DataFrame, options: DecisionOptions) -> PerUser:
        rows = table.loc[(table[columns.SPLIT] == "test") & (table[columns.PROTOCOL] == "full")]
        rows = rows.iloc[np.argsort(rows[columns.USER].to_numpy(), kind="stable")]
        users, n_targets = np.unique(rows[columns.USER].to_numpy(), return_counts=True)
        if not len(users) or rows.duplicated(target_key(rows)).any():
            raise InputError(
                f"the ranks of {name} must hold each user and target once with split test and protocol full; got "
                f"{len(rows)} rows of {len(users)} users; rank it again"
            )
        values = user_means(rows[columns.USER].to_numpy(), metric_values(rows, options.metric, options.k))  # [users]
        several = n_targets if len(rows) > len(users) else None
        return PerUser(name, users, rows[columns.TARGET].to_numpy(), values[None], several)

    def check_same_users(self, other: PerUser) -> None:
        """Refuses an `other` with other users or targets, since differences are paired by user.

        Raises:
            InputError: users or targets differ; the message names both.
        """
        counts = [model.n_targets if model.n_targets is not None else np.ones(1) for model in (self, other)]
        same = np.array_equal(self.users, other.users) and np.array_equal(self.targets, other.targets)
        if not same or not np.array_equal(counts[0], counts[1]):
            differing = len(np.setxor1d(self.users, other.users))
            raise InputError(
                f"{other.name} must be ranked on the same users and targets as {self.name}; {differing} users are in "
                f"only one of them ({len(other.users)} and {len(self.users)} users); rank both on one data folder"
            )


def paired(left: PerUser, right: PerUser) -> np.ndarray:
    """Returns `left` minus `right` for each seed and user, float64 [seeds, n_users].

    Seeds are paired in order. A model that was trained once, or not at all, is compared with every seed of the other.

    Raises:
        InputError: users or targets differ, or both have several seeds but different numbers of them.
    """
    right.check_same_users(left)
    if left.seeds != right.seeds and 1 not in (left.seeds, right.seeds):
        raise InputError(
            f"{left.name} and {right.name} must have the same number of training seeds, or one of them one seed; got "
            f"{left.seeds} and {right.seeds}: train the missing ones"
        )
    return left.metric - right.metric  # [seeds, users]; a single seed is broadcast
