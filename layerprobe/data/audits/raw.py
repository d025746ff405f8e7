"""Checks of a log as it was read: marks for missing ids, and times of several units."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from layerprobe.data.interactions import Interactions
from layerprobe.data.times.cuts import TICKS, YEAR_1980, YEAR_2100, calendar_unit
from layerprobe.errors import InputError

NULL_MARKS = ("", "na", "n/a", "#n/a", "<na>", "nan", "null", "(null)", "none", "nil", "nat", "\\n", "undefined")
"""What programs write for a missing value, in small letters."""
SPELLINGS = sorted({
    "".join(letters) for mark in NULL_MARKS for letters in product(*zip(mark, mark.upper(), strict=True))
})  # fmt: skip
"""The same in all cases: whole texts are found among millions of ids in a tenth of the time of folding each."""
UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
FEW = 0.01
"""Share of the rows that may be of a second unit by mistake, or of none, such as a missing time written as 0."""


def require_ids(log: Interactions) -> None:
    """Makes sure that no user or item is a mark for a missing value.

    Raises:
        InputError: there is one; the message has the number of its rows and the place of the first.
    """
    for kind, codes, ids in (("user", log.user, log.user_ids), ("item", log.item, log.item_ids)):
        is_mark = pd.Series(ids, dtype=object).isin(SPELLINGS).to_numpy()  # [ids]; readers cut spaces off
        if is_mark.any():
            found = np.flatnonzero(is_mark[codes])
            first = str(ids[codes[found[0]]])
            raise InputError(
                f"every row must have a {kind} id; {len(found):,} of {len(log):,} have a mark for a missing value, "
                f"first {first!r} in {log.place_of(int(found[0]))}: leave these rows out, or set read.null_ids true "
                "if they are ids"
            )


def require_one_unit(times: np.ndarray | None) -> list[str]:
    """Makes sure that times that look like dates have one unit. Numbers that only give an order always may.

    Times that also lie between the units' ranges are counted from some start of their own, and of one unit.

    Args:
        times: of each row, any order; None where the log has none.

    Returns:
        A sentence where at most 1 % of the rows look like another unit, else nothing.

    Raises:
        InputError: more of them do.
    """
    if times is None or times.max() < YEAR_1980 or calendar_unit(times):
        return []
    inside = {unit: times[(YEAR_1980 * ticks <= times) & (times <= YEAR_2100 * ticks)] for unit, ticks in TICKS.items()}
    found = {unit: values for unit, values in inside.items() if len(values)}
    if len(found) < 2 or len(times) - sum(map(len, found.values())) > FEW * len(times):
        return []
    shown = ", ".join(
        f"{len(values):,} rows look like {UNITS[unit]} ({values.min()} to {values.max()})"
        for unit, values in found.items()
    )
    if len(times) - max(map(len, found.values())) > FEW * len(times):
        raise InputError(f"all times must have one unit; {shown}: convert them to one")
    return [f"times of several units: {shown}; the few are in a wrong place of the order"]
