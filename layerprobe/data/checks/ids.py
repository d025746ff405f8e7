"""Ids that stand for nothing: a missing user written as text becomes one giant user. And a user that holds much."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from layerprobe.data.interactions import Interactions
from layerprobe.errors import InputError
from layerprobe.wording import count, percent

NULL_MARKERS = ("", "na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none", "\\n")
"""What programs write for a missing value, in lower case."""
SPELLINGS = sorted({
    "".join(word) for marker in NULL_MARKERS for word in product(*zip(marker, marker.upper(), strict=True))
})  # fmt: skip
"""The same in upper, lower and mixed case: exact texts, which are found among millions of ids without a loop."""
LARGE_SHARE = 0.05
LARGE_ROWS = 1000


def require_ids(log: Interactions) -> None:
    """Makes sure that no user and no item is a text that stands for a missing value.

    Args:
        log: rows in file order.

    Raises:
        InputError: one is; the message counts its rows and shows the first.
    """
    for name, codes, ids in (("user", log.user, log.user_ids), ("item", log.item, log.item_ids)):
        missing = pd.Series(ids).isin(SPELLINGS).to_numpy()
        if not missing.any():
            continue
        rows = np.flatnonzero(missing[codes])
        if len(rows):
            raise InputError(
                f"{count(len(rows))} of {count(len(log))} rows have no {name} but {str(ids[codes[rows[0]]])!r}, which "
                f"stands for a missing value; the first: {_row(log, int(rows[0]))}. Take such rows out of the file, or "
                "set preprocess.keep_null_ids true where it is an id"
            )


def large_user(rows: np.ndarray) -> list[str]:
    """Returns what to know of a user that holds a large share of all rows, one sentence; none where there is none.

    The user is not named: the sentence goes into reports.

    Args:
        rows: of each user.

    >>> large_user(np.array([1500, 8500]))
    ['one user holds 85.0 % of all rows (8,500): a person, or a placeholder for many?']
    """
    largest, total = rows.max(), rows.sum()
    if largest < LARGE_ROWS or largest <= LARGE_SHARE * total:
        return []
    share = percent(largest / total)
    return [f"one user holds {share} of all rows ({count(largest)}): a person, or a placeholder for many?"]


def _row(log: Interactions, row: int) -> str:
    time = "" if log.timestamp is None else f", time {log.timestamp[row]}"
    return f"user {_short(log.user_ids[log.user[row]])}, item {_short(log.item_ids[log.item[row]])}{time}"


def _short(raw: object) -> str:
    """An id as it may be printed: control characters escaped, at most 30 characters of it."""
    text = str(raw)
    return repr(text if len(text) <= 30 else f"{text[:27]}...")
