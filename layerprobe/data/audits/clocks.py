"""Times of two units in one log, such as seconds and milliseconds, and times that lie outside the others' calendar.

Sorted by such times, the rows of one unit all come before those of the other, and every target is wrong. Units are
known by the ranges of calendar times, which do not overlap; small numbers, such as places in an order, are in none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from layerprobe.data.times.cuts import TICKS, YEAR_1980, YEAR_2100, in_words
from layerprobe.errors import InputError

UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
MOSTLY = 0.9
"""Share of the times that must be of the calendar before any is doubted: numbers without a unit spread wider."""


@dataclass(frozen=True)
class UnitRange:
    """Times of one unit: how many rows, and the first and last time."""

    unit: str
    rows: int
    first: int
    last: int

    def words(self) -> str:
        """Returns the range as text."""
        first, last = (in_words(time, self.unit)[: len("2014-05-01")] for time in (self.first, self.last))
        return f"{self.rows:,} in {UNITS[self.unit]} ({first} to {last})"


def unit_ranges(times: np.ndarray) -> list[UnitRange]:
    """Returns the calendar units that a log's times are found in; none where most of them are of no calendar.

    >>> [found.unit for found in unit_ranges(np.array([881250949, 881250949000]))], unit_ranges(np.array([1, 2, 3]))
    (['s', 'ms'], [])
    """
    if times.max() < YEAR_1980:
        return []
    found = []
    for unit, ticks in TICKS.items():
        inside = times[(times >= YEAR_1980 * ticks) & (times <= YEAR_2100 * ticks)]
        if len(inside):
            found.append(UnitRange(unit, len(inside), int(inside.min()), int(inside.max())))
    return found if sum(range_.rows for range_ in found) >= MOSTLY * len(times) else []


def clock_notes(times: np.ndarray | None, decides: bool) -> list[str]:
    """Returns what to know of the units of a log's times, one sentence each.

    Args:
        times: of all rows, any order; None where the log has none.
        decides: whether the times decide the order of rows or the split.

    Raises:
        InputError: they do, and are of more than one unit.
    """
    ranges = [] if times is None else unit_ranges(times)
    if not ranges:
        return []
    assert times is not None
    if len(ranges) > 1:
        text = "the times are of more than one unit: " + "; ".join(found.words() for found in ranges)
        if decides:
            raise InputError(f"{text}: write all in one unit, or set order.by file if the rows are in order already")
        return [text]
    outside = times[(times < ranges[0].first) | (times > ranges[0].last)]
    if not len(outside):
        return []
    return [
        f"{len(outside):,} of {len(times):,} times ({outside.min()} to {outside.max()}) lie outside the years 1980 to "
        f"2100, where the others, in {UNITS[ranges[0].unit]}, lie: do they stand for unknown times?"
    ]
