"""Slices: the metrics of groups of users, by length of history, popularity of the target and time since the last item.

Takes a ranks table of one split and protocol (no torch), hands on rows of `slices.csv`. Groups are cut once and from
the data only, then used for every model, so a group holds the same users for every model.

- History length: four groups of about equally many users.
- Target popularity: targets without a training interaction (cold) on their own, the others in thirds of users.
  A target is the next interaction of its user, so a third of the targets is about a third of the interactions: tail,
  middle and head by interaction share. The other definition, head = the most popular 20 % of the items, needs the whole
  catalogue, and in a skewed log it leaves few users in the tail and so wide intervals.
- Recency: where the table has that column (`data.recency`), four groups of about equally many users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.errors import InputError
from layerprobe.evaluation.metrics import metric_values, user_means
from layerprobe.evaluation.uncertainty import mean_intervals

N_LENGTH_GROUPS = 4
N_WARM_GROUPS = 3
N_RECENCY_GROUPS = 4
MIN_USERS = 100
"""A smaller group gets no interval: bootstrap intervals are too narrow there. Measured on NDCG@10 with a hit rate of
.05, 95 % intervals covered the true mean in 39, 63, 79, 80 and 91 % of samples of 10, 20, 30, 50 and 100 users."""


@dataclass(frozen=True)
class SliceCuts:
    """How users are grouped by one whole number; made by `slice_cuts`, used for every model."""

    column: str
    """What is cut: one of `columns.SLICED`, or `columns.RECENCY`."""
    lowest: int
    """Lowest value of any user."""
    highest: tuple[int, ...]
    """Highest value of each group, strictly increasing; the last is the highest of any user."""
    n_rows: tuple[int, ...]
    """Targets of each group, at least 1 each; they add up to all. Leave-one-out has one target per user."""
    unit: str = ""
    """Unit of the values, such as `s`; empty for counts and for times of an unknown unit."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Bounds of each group, both inclusive: `5-6`, `5` for a single value, `61-90 s` where there is a unit.

        No value lies between two groups.
        """
        starts = (self.lowest, *(end + 1 for end in self.highest[:-1]))
        unit = f" {self.unit}" if self.unit else ""
        return tuple(
            f"{end}{unit}" if start == end else f"{start}-{end}{unit}"
            for start, end in zip(starts, self.highest, strict=True)
        )

    def assign(self, ranks: pd.DataFrame) -> np.ndarray:
        """Returns the position of each row's group, int64, shape (rows,).

        Raises:
            InputError: the groups have other sizes than when they were cut, so these are other users.
        """
        values = ranks[self.column].to_numpy()
        group = np.searchsorted(self.highest, values)  # [rows]; the first group whose highest value is not below
        counts = tuple(np.bincount(group, minlength=len(self.highest)).tolist())
        if counts != self.n_rows or values.min() < self.lowest:
            raise InputError(
                f"slices need the same users for every model; by {self.column} the groups {', '.join(self.groups)} "
                f"were cut with {self.n_rows} targets and hold {counts} here: rank all models on one split"
            )
        return group


def slice_cuts(ranks: pd.DataFrame, time_unit: str = "") -> tuple[SliceCuts, ...]:
    """Cuts the users of a ranks table by history length, by target popularity and, where it is known, by recency.

    Args:
        ranks: table with the columns `columns.RANKS` and perhaps `columns.RECENCY`, of one split and protocol; at least
            one row.
        time_unit: unit of the recency, for the names of its groups.

    Returns:
        The cuts. Recency is left out where it would be one group: it then tells no users apart.

    Raises:
        InputError: there are no rows, or rows of several splits or protocols.
    """
    _check_one_part(ranks)
    lengths, popularity = (ranks[name].to_numpy() for name in columns.SLICED)
    cuts = (length_cuts(lengths), popularity_cuts(popularity))
    if columns.RECENCY not in ranks:
        return cuts
    recency = recency_cuts(ranks[columns.RECENCY].to_numpy(), time_unit)
    return (*cuts, recency) if len(recency.groups) > 1 else cuts


def length_cuts(lengths: np.ndarray) -> SliceCuts:
    """Cuts history lengths into at most four groups of about equally many users; equal lengths stay together.

    Args:
        lengths: items before the target, whole numbers, shape (users,), at least one.

    Examples:
        Of eight users four have length 5, so the first two quarters are one group:

        >>> length_cuts(np.array([5, 5, 5, 5, 6, 7, 9, 30])).groups
        ('5', '6-7', '8-30')
    """
    return _cuts(columns.HISTORY_LENGTH, lengths, _even_ends(lengths, N_LENGTH_GROUPS))


def popularity_cuts(popularity: np.ndarray) -> SliceCuts:
    """Cuts target popularities into cold (0) and at most three groups of about equally many users.

    Args:
        popularity: training interactions of each user's target, whole numbers, shape (users,), at least one.

    Examples:
        >>> popularity_cuts(np.array([0, 1, 2, 8, 8, 40, 90])).groups
        ('0', '1-2', '3-8', '9-90')
    """
    warm = popularity[popularity > 0]
    cold = [0] if len(warm) < len(popularity) else []
    ends = _even_ends(warm, N_WARM_GROUPS) if len(warm) else []
    return _cuts(columns.TARGET_POPULARITY, popularity, [*cold, *ends])


def recency_cuts(gaps: np.ndarray, unit: str = "") -> SliceCuts:
    """Cuts times since the last item into at most four groups of about equally many users; equal times stay together.

    Args:
        gaps: time from the last item of each user's history to the target, whole numbers, shape (users,), at least one.
        unit: unit of the times; empty where it is not known.

    Examples:
        >>> recency_cuts(np.array([0, 0, 0, 60, 90, 400, 86400]), "s").groups
        ('0 s', '1-90 s', '91-86400 s')
    """
    return replace(_cuts(columns.RECENCY, gaps, _even_ends(gaps, N_RECENCY_GROUPS)), unit=unit)


def slice_rows(
    ranks: pd.DataFrame,
    cuts: Sequence[SliceCuts],
    metrics: Sequence[tuple[str, int]],
    alpha: float,
    n_boot: int,
    seed: int,
) -> pd.DataFrame:
    """Averages metrics over the users of every group, with bootstrap intervals over the group's users.

    Where a user has several targets, those of a group are averaged first; a user may be in several groups.

    The intervals hold one by one. With many groups some differ by chance alone: use slices to find questions, not to
    decide.

    Args:
        ranks: table with the columns `columns.RANKS`, of one split and protocol.
        cuts: from `slice_cuts` of the first of the models that are compared.
        metrics: (metric, k) pairs as for `evaluation.metrics.metric_values`.
        alpha: share left outside each interval, in (0, 1).
        n_boot: number of resamples, at least 100.
        seed: seed of the resamples.

    Returns:
        Rows with the columns `columns.SLICE_ROWS`, slice by slice, groups in rising order. The interval is NaN where
        the group has fewer than `MIN_USERS` users or all of them have the same value, since a bootstrap has nothing to
        resample then. With one target per user, the users of a slice's groups add up to all.

    Raises:
        InputError: `ranks` has no rows, several splits or protocols, or other users than `cuts`.
    """
    _check_one_part(ranks)
    values = np.stack([metric_values(ranks, metric, k) for metric, k in metrics], axis=1)  # [targets, metrics]
    users, rows = ranks[columns.USER].to_numpy(), []
    for cut in cuts:
        position = cut.assign(ranks)
        for group, name in enumerate(cut.groups):
            inside = user_means(users[position == group], values[position == group])  # [users of the group, metrics]
            low, high = _intervals(inside, alpha, n_boot, seed)
            for column, (metric, k) in enumerate(metrics):
                mean = inside[:, column].mean()
                rows.append((cut.column, name, metric, k, mean, low[column], high[column], len(inside)))
    return pd.DataFrame(rows, columns=list(columns.SLICE_ROWS))


def _intervals(values: np.ndarray, alpha: float, n_boot: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    low, high = mean_intervals(values, alpha, n_boot, seed)
    is_known = (len(values) >= MIN_USERS) & (np.ptp(values, axis=0) > 0)  # [metrics]
    return np.where(is_known, low, np.nan), np.where(is_known, high, np.nan)


def _even_ends(values: np.ndarray, n_groups: int) -> list[int]:
    """Returns the highest value of each group, cut where the users below come nearest to 1/n, 2/n, ... of all.

    Of two cuts that are equally near, the lower one is taken. Cuts at the same value count as one.
    """
    levels, counts = np.unique(values, return_counts=True)
    below = np.cumsum(counts)
    goals = np.arange(1, n_groups) * len(values)
    nearest = np.abs(n_groups * below[:, None] - goals).argmin(axis=0)  # times n_groups: whole numbers, no rounding
    return sorted({*levels[nearest].tolist(), int(levels[-1])})


def _cuts(column: str, values: np.ndarray, highest: Sequence[int]) -> SliceCuts:
    counts = np.bincount(np.searchsorted(highest, values), minlength=len(highest))
    return SliceCuts(column, int(values.min()), tuple(highest), tuple(counts.tolist()))


def _check_one_part(ranks: pd.DataFrame) -> None:
    parts = ranks[[columns.PROTOCOL, columns.SPLIT]].drop_duplicates()
    if len(parts) != 1:
        names = ", ".join(f"{protocol} {split}" for protocol, split in parts.itertuples(index=False)) or "no rows"
        raise InputError(f"slices are of one protocol and one split; got {names}: pick one part of the ranks table")
