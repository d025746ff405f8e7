"""`PerUser`: the decision's metric of every test user under every training seed, and differences user by user.

Takes ranks tables, hands on arrays [seeds, users] that comparisons, controls and the worth of scores are made from.
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
from layerprobe.evaluation.metrics import metric_values
from layerprobe.probing.decision_options import DecisionOptions

RankTables: TypeAlias = "pd.DataFrame | Sequence[pd.DataFrame]"
"""One ranks table, or one per training seed."""


@dataclass(frozen=True, eq=False)
class PerUser:
    """The metric of each user of one depth or floor.

    Attributes:
        name: what error messages call it.
        users, targets: users ascending and their targets, shape (n_users,).
        metric: metric of each user under each training seed, float64 [seeds, n_users].
    """

    name: str
    users: np.ndarray
    targets: np.ndarray
    metric: np.ndarray

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
            InputError: no table, no row for test and full, a user twice, or seeds with different users.
        """
        if not isinstance(tables, (pd.DataFrame, list, tuple)):
            got = type(tables).__name__
            raise InputError(f"the ranks of {name} must be a table, or a list of one per seed; got a {got}")
        per_seed = [tables] if isinstance(tables, pd.DataFrame) else list(tables)
        for table in per_seed:
            require_columns(f"the ranks of {name}", table, columns.RANKS)
        if not per_seed:
            raise InputError(f"{name} has no ranks; rank it or leave it out of the decision")
        read = [PerUser._read_one(name, table, options) for table in per_seed]
        for other in read[1:]:
            read[0].check_same_users(other)
        return PerUser(name, read[0].users, read[0].targets, np.concatenate([found.metric for found in read]))

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
        values = metric_values(rows, options.metric, options.k)
        return PerUser(name, users, rows[columns.TARGET].to_numpy(), values[None])

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


def paired(left: PerUser, right: PerUser) -> np.ndarray:
    """Returns `left` minus `right` for each seed and user, float64 [seeds, n_users].

    Seed is paired with seed. A model that was trained once, or not at all, stands against every seed of the other.

    Raises:
        InputError: users or targets differ, or both have several seeds and not equally many.
    """
    right.check_same_users(left)
    if left.seeds != right.seeds and 1 not in (left.seeds, right.seeds):
        raise InputError(
            f"{left.name} and {right.name} must have as many training seeds, or one of them a single one; got "
            f"{left.seeds} and {right.seeds}: train the missing ones"
        )
    return left.metric - right.metric
