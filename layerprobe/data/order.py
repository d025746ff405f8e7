"""Order: turns a log in file order into row positions grouped by user, each user's rows in sequence order.

In real logs half of the neighbouring rows share a time, and the order of such rows alone changes metrics. So the rule
is an option with a name, and it is stored with the data as a sentence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pandas.util import hash_array

from layerprobe.arguments import checked
from layerprobe.data.interactions import Interactions
from layerprobe.errors import InputError
from layerprobe.ranges import Range


@dataclass(frozen=True)
@checked
class OrderOptions:
    """How a user's rows are put in order.

    Raises:
        InputError: an option has no effect beside the others, or the salt is out of range.
    """

    by: Literal["time", "file"] = "time"
    """`time`: by timestamp, stable. `file`: rows stay in file order, as they always do where there are no times."""
    ties: Literal["file", "hash"] = "file"
    """Rows of equal time: `file` keeps file order (published numbers hold there), `hash` takes a salted item hash."""
    salt: Annotated[int, Range(0, 2**63 - 1)] = 0
    """Salt of the hash, in [0, 2^63)."""

    def __post_init__(self) -> None:
        if self.by == "file" and self.ties == "hash":
            raise InputError("order ties = hash needs by = time; by = file has no equal times to order")
        if self.ties == "file" and self.salt != 0:
            raise InputError(f"order salt = {self.salt} needs ties = hash; ties = file uses no salt")


def order_rule(options: OrderOptions) -> str:
    """Returns the rule as the sentence that is stored and printed."""
    users = "users in the order of their first row in the file"
    if options.by == "file":
        return f"{users}; a user's rows in file order"
    ties = "file order" if options.ties == "file" else f"the order of a hash of (salt {options.salt}, user id, item id)"
    return f"{users}; a user's rows by ascending time (stable sort), rows of equal time in {ties}"


def order_that_holds(log: Interactions, options: OrderOptions) -> OrderOptions:
    """Returns the order for a log: that of the file where the log has no times, else the one that was asked for.

    A log without times is in sequence order by the nature of its format or by declaration.

    Raises:
        InputError: rows of equal time were to be ordered by hash, and there are no times.
    """
    return options if log.timestamp is not None else replace(options, by="file")


def sort_rows(log: Interactions, options: OrderOptions) -> np.ndarray:
    """Returns row positions, int64 [rows]: grouped by user, each user's rows in sequence order.

    Raises:
        InputError: the rows must be ordered by time and the log has no times.
    """
    user = pd.factorize(log.user)[0]  # numbered by first row, so users keep the order in which they appear
    if options.by == "file":
        return np.argsort(user, kind="stable")
    if log.timestamp is None:
        raise InputError("order by = time needs timestamps, and the log has none; set order by = file")
    keys = [log.timestamp, user]  # least important first
    if options.ties == "hash":
        keys.insert(0, row_hashes(log, options.salt))
    rows = np.arange(len(log))
    for key in keys:  # the same as np.lexsort(keys), in half the time
        rows = rows[np.argsort(key[rows], kind="stable")]
    return rows


def row_hashes(log: Interactions, salt: int) -> np.ndarray:
    """Hashes (salt, user id, item id) of every row to uint64, shape (rows,); the same on every machine.

    The user is part of the hash: with the item alone, all users would get the same order of items inside equal times,
    and Markov-1 would learn it (on Beauty HR@10 .057 instead of .050).
    """
    user = _id_hashes(log.user_ids, salt)[log.user]
    item = _id_hashes(log.item_ids, salt)[log.item]
    with np.errstate(over="ignore"):  # uint64 wraps around on purpose
        mixed = item + user * np.uint64(0x9E3779B97F4A7C15)  # the factor keeps (a, b) and (b, a) apart
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # the finaliser of splitmix64
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def _id_hashes(ids: np.ndarray, salt: int) -> np.ndarray:
    return hash_array(np.asarray(ids, dtype=object), hash_key=f"{salt:016x}")  # pyright: ignore
