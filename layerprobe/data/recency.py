"""Recency: how long each test user was away, from the last item of the history to the target.

Takes the times of a data folder and its split, hands on one whole number per evaluated user. Rows of
`interactions.parquet` stand in the order of `Sequences`, so row p is the time of `sequences.items[p]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.data.prepare import load_times
from layerprobe.data.splits import Split
from layerprobe.data.times.cuts import TICKS, YEAR_1980, YEAR_2100

UNITS = ("s", "ms")


@dataclass(frozen=True, eq=False)
class Recency:
    """How long each test user was away before the test target.

    Attributes:
        users: row of each target's user in `Sequences`, ascending, shape (n_targets,).
        gaps: time of the test target minus that of the item before it, at least 0, in `unit`, shape (n_targets,).
        unit: `s` or `ms` where the times look like a calendar's, else empty: the log's own unit.
        lengths: history length of each target, ascending inside a user; None where every user has one target.
    """

    users: np.ndarray
    gaps: np.ndarray
    unit: str
    lengths: np.ndarray | None = None

    def beside(self, ranks: pd.DataFrame) -> pd.DataFrame:
        """Returns a ranks table of test targets with the column `columns.RECENCY`, joined by user and history."""
        users = ranks[columns.USER].to_numpy(np.int64)
        if self.lengths is None:
            return ranks.assign(**{columns.RECENCY: self.gaps[np.searchsorted(self.users, users)]})
        base = int(self.lengths.max()) + 1  # one number per user and length, in the order of both
        wanted = users * base + ranks[columns.HISTORY_LENGTH].to_numpy(np.int64)
        return ranks.assign(**{columns.RECENCY: self.gaps[np.searchsorted(self.users * base + self.lengths, wanted)]})


def read_recency(folder: Path, split: Split) -> Recency | None:
    """Reads how long each test user was away.

    Args:
        folder: the data folder.
        split: its sequences.

    Returns:
        One gap per test target; None where the log has no times, or where a target is older than the item before it
        (the rows were then not ordered by time).

    Raises:
        InputError: the folder holds another number of interactions than of items in its sequences.
    """
    times = load_times(folder, split.sequences)
    return None if times is None else recency(times, split)


def recency(times: np.ndarray, split: Split) -> Recency | None:
    """Subtracts the time of the item before the test target from the target's.

    Args:
        times: time of every item of `split.sequences`, whole numbers, shape (n_rows,).
        split: the sequences.

    Returns:
        As `read_recency`.
    """
    queries = split.queries("test")
    # The history ends before the target, so row `ends` is the target itself.
    gaps = times[queries.ends] - times[queries.ends - 1]
    if gaps.min() < 0:
        return None
    has_one = len(split.users("test")) == len(queries)
    return Recency(queries.users, gaps, time_unit(times), None if has_one else queries.ends - queries.starts)


def time_unit(times: np.ndarray) -> str:
    """Returns `s` or `ms` where all times lie between the years 1980 and 2100 in that unit since 1970, else "".

    Examples:
        >>> time_unit(np.array([881250949, 893286638])), time_unit(np.array([0, 1, 2]))
        ('s', '')
    """
    for unit in UNITS:  # the two ranges do not overlap, so the order does not matter
        if YEAR_1980 * TICKS[unit] <= times.min() and times.max() <= YEAR_2100 * TICKS[unit]:
            return unit
    return ""
