"""Ids that name nobody: markers of missing values read as one user or item, and users who hold much of a log."""

# pyright: reportAttributeAccessIssue=false
# Arrow makes its compute functions at import time, so no type checker sees them.

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from layerprobe.data.interactions import Interactions
from layerprobe.errors import InputError

NULL_MARKERS = (
    "", "na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "nat", "null", "(null)", "<null>", "none", "nil",
    "undefined", "\\n",
)  # fmt: skip
"""What pandas, databases, R, JavaScript and spreadsheets write for a missing value, in lower case."""
MOST_SHOWN = 3
LARGE_SHARE = 0.1
"""Share of all rows from which on a user is noted, where it also has `TIMES_MEDIAN` times the rows of most users."""
TIMES_MEDIAN = 10
LONGEST_ID = 40


def null_markers(ids: np.ndarray) -> np.ndarray:
    """Tells which ids are written like a missing value, bool [ids]; upper and lower case are the same.

    >>> null_markers(np.array(["NA", "7", "null", "Nina"], dtype=object)).tolist()
    [True, False, True, False]
    """
    plain = pc.utf8_lower(pc.utf8_trim_whitespace(pa.array(ids, pa.string())))
    return pc.is_in(plain, value_set=pa.array(NULL_MARKERS)).to_numpy(zero_copy_only=False)


def null_rows(log: Interactions) -> np.ndarray:
    """Tells which rows have a user or an item that is written like a missing value, bool [rows]."""
    return null_markers(log.user_ids)[log.user] | null_markers(log.item_ids)[log.item]


def require_ids(log: Interactions) -> None:
    """Makes sure that no user and no item is a marker of missing values.

    Args:
        log: as it was read, so that the place of a row is known.

    Raises:
        InputError: one is; the message shows the ids, their rows and the place of the first one.
    """
    for name, codes, ids in (("user", log.user, log.user_ids), ("item", log.item, log.item_ids)):
        found = np.flatnonzero(null_markers(ids))
        if len(found):
            rows = np.flatnonzero(np.isin(codes, found))
            shown = ", ".join(shown_id(ids[code]) for code in found[:MOST_SHOWN])
            raise InputError(
                f"{log.place_of(int(rows[0]))}: {name} ids {shown} stand for missing values in {len(rows):,} of "
                f"{len(log):,} rows, which would become one {name}; preprocess.null_ids drop leaves these rows out, "
                "keep takes them as ids"
            )


def large_user_notes(log: Interactions) -> list[str]:
    """Says which user holds a large share of all rows, if one does; the share is `LARGE_SHARE` or more."""
    counts = np.bincount(log.user)
    largest = int(counts.argmax())
    share = counts[largest] / len(log)
    usual = float(np.median(counts[counts > 0]))
    if share < LARGE_SHARE or counts[largest] < TIMES_MEDIAN * usual:
        return []
    return [
        f"user {shown_id(log.user_ids[largest])} holds {counts[largest]:,} of {len(log):,} rows ({100 * share:.1f} %), "
        f"and half of the users hold at most {usual:g}: is it one person, or all users without an id?"
    ]


def shown_id(text: object) -> str:
    """Returns an id as a message shows it: quoted, short, without control characters.

    >>> shown_id("a" * 50) == repr("a" * 40 + "..."), len(shown_id(chr(7)))
    (True, 6)
    """
    whole = str(text)
    return ascii(whole if len(whole) <= LONGEST_ID else f"{whole[:LONGEST_ID]}...")
