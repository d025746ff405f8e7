"""Recency: how long each test user was away, from the last item of the history to the target.

Takes the times of a data folder and its split, hands on one whole number per evaluated user. Rows of
`interactions.parquet` stand in the order of `Sequences`, so row p is the time of `sequences.items[p]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet

from layerprobe import columns
from layerprobe.data.prepare import INTERACTIONS
from layerprobe.data.splits import Split
from layerprobe.errors import InputError

YEAR_1980, YEAR_2100 = 315_532_800, 4_102_444_800
"""In seconds since 1970. Times that all lie between are taken for seconds; a thousand times that, for milliseconds."""
UNITS = {"s": 1, "ms": 1000}


@dataclass(frozen=True, eq=False)
class Recency:
    """How long each evaluated user was away before the test target.

    Attributes:
        users: rows of the users in `Sequences`, ascending, shape (n_evaluated,).
        gaps: time of the test target minus that of the item before it, at least 0, in `unit`, shape (n_evaluated,).
        unit: `s` or `ms` where the times look like a calendar's, else empty: the log's own unit.
    """

    users: np.ndarray
    gaps: np.ndarray
    unit: str

    def beside(self, ranks: pd.DataFrame) -> pd.DataFrame:
        """Returns a ranks table of test targets with the column `columns.RECENCY`, joined by user."""
        return ranks.assign(**{columns.RECENCY: self.gaps[np.searchsorted(self.users, ranks[columns.USER])]})


def read_recency(folder: Path, split: Split) -> Recency | None:
    """Reads how long each test user was away.

    Args:
        folder: the data folder.
        split: its sequences.

    Returns:
        One gap per evaluated user; None where the log has no times, or where a target is older than the item before it
        (the rows were then not ordered by time).

    Raises:
        InputError: the folder holds another number of interactions than of items in its sequences.
    """
    path = folder / INTERACTIONS
    if columns.TIMESTAMP not in parquet.read_schema(path).names:  # the schema alone: no row is read
        return None
    times = pd.read_parquet(path, columns=[columns.TIMESTAMP])[columns.TIMESTAMP].to_numpy(np.int64)
    if len(times) != len(split.sequences.items):
        raise InputError(
            f"{path} must have a row for each of the {len(split.sequences.items)} items of the sequences beside it; it "
            f"has {len(times)}: the files come from different runs; prepare the folder again"
        )
    return recency(times, split)


def recency(times: np.ndarray, split: Split) -> Recency | None:
    """Subtracts the time of the item before the test target from the target's.

    Args:
        times: time of every item of `split.sequences`, whole numbers, shape (n_rows,).
        split: the sequences.

    Returns:
        As `read_recency`.
    """
    ends = split.queries("test").ends
    gaps = times[ends] - times[ends - 1]  # the history ends before the target, so row `ends` is the target itself
    return None if gaps.min() < 0 else Recency(split.queries("test").users, gaps, time_unit(times))


def time_unit(times: np.ndarray) -> str:
    """Returns `s` or `ms` where all times lie between the years 1980 and 2100 in that unit since 1970, else "".

    Examples:
        >>> time_unit(np.array([881250949, 893286638])), time_unit(np.array([0, 1, 2]))
        ('s', '')
    """
    for unit, per_second in UNITS.items():  # the two ranges do not overlap, so the order does not matter
        if YEAR_1980 * per_second <= times.min() and times.max() <= YEAR_2100 * per_second:
            return unit
    return ""
