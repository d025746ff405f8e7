"""Checks of a log as it was read: marks for missing ids, and times of several units."""

from __future__ import annotations

import numpy as np
import pandas as pd

from layerprobe.data.interactions import Interactions
from layerprobe.errors import InputError

NULL_MARKS = ("", "na", "n/a", "#n/a", "<na>", "nan", "null", "(null)", "none", "nil", "nat", "\\n", "undefined")
"""What programs write for a missing value, in small letters."""
UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
FIRST_YEAR, LAST_YEAR = 631_152_000, 4_102_444_800
"""1990 and 2100 in seconds since 1970: times of all units in between are told apart by their size."""


def require_ids(log: Interactions) -> None:
    """Makes sure that no user or item is a mark for a missing value.

    Raises:
        InputError: there is one; the message has the number of its rows and the place of the first.
    """
    for kind, codes, ids in (("user", log.user, log.user_ids), ("item", log.item, log.item_ids)):
        is_mark = pd.Series(ids, dtype=object).str.strip().str.lower().isin(NULL_MARKS).to_numpy()  # [ids]
        if is_mark.any():
            found = np.flatnonzero(is_mark[codes])
            first = str(ids[codes[found[0]]])
            raise InputError(
                f"every row must have a {kind} id; {len(found):,} of {len(log):,} have a mark for a missing value, "
                f"first {first!r} in {log.place_of(int(found[0]))}: leave these rows out, or set read.null_ids true "
                "if they are ids"
            )


def require_one_unit(log: Interactions) -> None:
    """Makes sure that times that look like dates have one unit. Small numbers, such as those of an order, always may.

    Raises:
        InputError: some look like seconds and others like milliseconds, or the like.
    """
    if log.timestamp is None:
        return
    found = {}
    for unit, times in UNITS.items():
        fits = (log.timestamp >= FIRST_YEAR * times) & (log.timestamp < LAST_YEAR * times)
        if fits.any():
            found[unit] = log.timestamp[fits]
    if len(found) > 1:
        shown = [f"{len(one):,} rows look like {unit} ({one.min()} to {one.max()})" for unit, one in found.items()]
        raise InputError(f"all times must have one unit; {', '.join(shown)}: convert them to one")
