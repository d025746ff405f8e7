"""Times of two units in one log, told by their ranges: seconds, milli-, micro- and nanoseconds since 1970.

Rows in milliseconds come after all rows in seconds, whatever their date, so the order is not that of time.
"""

from __future__ import annotations

import numpy as np

from layerprobe.data.times.cuts import TICKS, YEAR_1980, YEAR_2100, calendar_unit
from layerprobe.errors import InputError
from layerprobe.wording import count, listed

FEW = 0.01
"""Share of the rows that may lie in no unit's range (missing times written as 0), or in a second unit's, by mistake."""
UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


def require_one_unit(times: np.ndarray | None) -> list[str]:
    """Makes sure that the times of a log are of one unit; numbers that only give an order are of none and pass.

    Args:
        times: of each row, any order; None where the log has none.

    Returns:
        A sentence where at most 1 % of the rows are of a second unit, else nothing.

    Raises:
        InputError: more of them are.
    """
    if times is None or times.max() < YEAR_1980 or calendar_unit(times):
        return []
    found = {unit: times[_within(times, ticks)] for unit, ticks in TICKS.items()}
    found = {unit: values for unit, values in found.items() if len(values)}
    in_range = sum(map(len, found.values()))
    if len(found) < 2 or len(times) - in_range > FEW * len(times):
        return []  # such as nanoseconds since the start of a recording, which run through all ranges
    ranges = listed([
        f"{count(len(values))} rows from {values.min()} to {values.max()} ({UNITS[unit]} since 1970)"
        for unit, values in found.items()
    ])  # fmt: skip
    second = sorted(map(len, found.values()))[-2]
    if second <= FEW * len(times):
        return [f"the times seem to be of several units: {ranges}; rows of a wrong unit are in the wrong order"]
    raise InputError(f"the times of a log must be of one unit; found {ranges}: convert them to one")


def _within(times: np.ndarray, ticks: int) -> np.ndarray:
    return (times >= YEAR_1980 * ticks) & (times <= YEAR_2100 * ticks)
