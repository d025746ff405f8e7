"""Readable names of groups by time: `1-604800 s` becomes `1-7 days`.

Files keep the log's own whole numbers; only what a report shows is renamed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from layerprobe import columns

GROUP = re.compile(r"(\d+)(?:-(\d+))? (ms|s)")
PER_SECOND = {"s": 1, "ms": 1000}
DAY = 86_400
UNITS = ((DAY, "days"), (3600, "h"), (60, "min"), (1, "s"))
LEAST_UNITS, EXACT_FROM = 2, 10
"""A unit is used from two of it on: 75 s, not 1.2 min. From ten on a rounded number shows no decimal."""


def with_readable_times(table: pd.DataFrame) -> pd.DataFrame:
    """Returns a table of slices whose groups by recency have readable names; other groups keep theirs."""
    is_time = table[columns.SLICE] == columns.RECENCY
    names = readable_times(table.loc[is_time, columns.GROUP].drop_duplicates().to_list())
    group = table[columns.GROUP]
    return table.assign(**{columns.GROUP: group.mask(is_time, group.map(names))})


def readable_times(groups: Sequence[str]) -> dict[str, str]:
    """Returns a readable name of each group of times, by its own name.

    Where all bounds are whole days, the log holds days only and names are exact. Else each bound is shown in the
    largest of days, hours, minutes and seconds that it fills twice, below 10 with one decimal. Groups without a unit
    keep their names; so do all groups where rounding would give two of them the same name.

    Args:
        groups: names as `evaluation.slices` makes them, in rising order, each beginning where the one before it ends.

    Examples:
        >>> list(readable_times(["0 s", "1-604800 s", "604801-7171200 s"]).values())
        ['0 days', '1-7 days', '8-83 days']
        >>> list(readable_times(["0-19 s", "20-74 s", "75-7146612 s"]).values())
        ['0-19 s', '20-74 s', '75 s-83 days']
        >>> readable_times(["0", "1-30"])
        {'0': '0', '1-30': '1-30'}
    """
    matches = [GROUP.fullmatch(group) for group in groups]
    bounds = [(int(match[1]), int(match[2] or match[1]), PER_SECOND[match[3]]) for match in matches if match]
    if len(bounds) < len(groups):
        return {group: group for group in groups}
    names = _days(bounds) or [_rounded(low / per_second, high / per_second) for low, high, per_second in bounds]
    return dict(zip(groups, names if len(set(names)) == len(names) else groups, strict=True))


def _days(bounds: Sequence[tuple[int, int, int]]) -> list[str] | None:
    """Returns the names in whole days; None where a bound is no whole number of them."""
    names = []
    for position, (low, high, per_second) in enumerate(bounds):
        day = DAY * per_second
        below = low - 1 if position else low - day  # the end of the group before, or of the day before the lowest
        if below % day or high % day:
            return None
        start, end = below // day + 1, high // day
        names.append(f"{start}-{end} days" if start < end else "1 day" if end == 1 else f"{end} days")
    return names


def _rounded(low: float, high: float) -> str:
    """Returns both bounds in seconds rounded, with their unit once where they share it."""
    start, end = (_number(seconds) for seconds in (low, high))
    if start == end:
        return " ".join(end)
    return f"{start[0]}-{' '.join(end)}" if start[1] == end[1] or not low else f"{' '.join(start)}-{' '.join(end)}"


def _number(seconds: float) -> tuple[str, str]:
    """Returns a time as number and unit."""
    size, unit = next((entry for entry in UNITS if seconds >= LEAST_UNITS * entry[0]), UNITS[-1])
    value = seconds / size
    return (f"{value:.0f}" if value >= EXACT_FROM or value == round(value) else f"{value:.1f}"), unit
