"""Preprocessing: filters an ordered log in explicit steps and counts what every step leaves.

Takes rows that are already in sequence order (`order.sort_rows`), since which of two repeats is the first depends on
it; every step keeps the order. The steps, in this order:

1. rating threshold; rows that equal an earlier one in user, item and time;
2. for `none` and `k-core`: repeats of an item within a user (first kept); then
   `k-core`: users and items with too few rows, again and again until none is left, so the result is a true core;
3. for `one-pass` (SLMRec's notebook): users and items with too few rows, each counted once on the same rows; users
   again; repeats; users once more. Items may end below `min_item`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pandas as pd

from layerprobe.arguments import checked
from layerprobe.data.audits.repeats import identical_rows
from layerprobe.data.interactions import Interactions
from layerprobe.errors import InputError
from layerprobe.ranges import Range


@dataclass(frozen=True)
@checked
class PreprocessOptions:
    """Which rows stay.

    Raises:
        InputError: an option has no effect beside the others, or a number is out of range.
    """

    min_rating: Annotated[float | None, Range(-(10**12), 10**12)] = None
    """Rows with a lower rating are dropped; None keeps all."""
    filter: Literal["none", "k-core", "one-pass"] = "none"
    """`k-core`: to a fixed point; `one-pass`: as SLMRec's notebook did, users and items counted once."""
    min_user: Annotated[int, Range(1, 10**9)] = 1
    """Rows a user must have, at least 1."""
    min_item: Annotated[int, Range(1, 10**9)] = 1
    """Rows an item must have, at least 1."""
    drop_repeats: bool = False
    """True keeps only the first of a user's rows with the same item."""
    drop_identical: bool = False
    """True keeps only the first of a user's rows with the same item at the same time."""

    def __post_init__(self) -> None:
        if self.drop_identical and self.drop_repeats:
            raise InputError("drop_identical has no effect beside drop_repeats, which drops such rows too: set one")
        has_bound = max(self.min_user, self.min_item) > 1
        if self.filter == "none" and has_bound:
            raise InputError("min_user and min_item need filter = k-core or one-pass; filter = none would ignore them")
        if self.filter != "none" and not has_bound:
            raise InputError(f"filter = {self.filter} needs min_user or min_item above 1; both are 1")


@dataclass(frozen=True)
class StepCount:
    """What a step left: users and items with at least one row, and rows."""

    step: str
    users: int
    items: int
    interactions: int

    def line(self) -> str:
        """Returns the step and what it left as text."""
        return f"{self.step}: {self.users:,} users, {self.items:,} items, {self.interactions:,} interactions"


def preprocess(
    log: Interactions, options: PreprocessOptions, done: Callable[[StepCount], object] | None = None
) -> tuple[Interactions, list[StepCount]]:
    """Runs the steps on a log in sequence order.

    Args:
        log: the rows, in sequence order.
        options: which of them stay.
        done: called with the count of every step when the step ends; None: nothing is called.

    Returns:
        The rows that stay, ids and codes unchanged, and the counts, the first of them those of `log` ("read").

    Raises:
        InputError: `min_rating` is set and the log has no ratings, or a step leaves no row; the message names the step.
    """
    if options.min_rating is not None and log.rating is None:
        raise InputError(f"min_rating = {options.min_rating:g} needs ratings, and the log has none")
    if options.drop_identical and log.timestamp is None:
        raise InputError("drop_identical compares times, and the log has none; drop_repeats compares items alone")
    rows = np.arange(len(log))
    counts = [_count("read", log, rows)]
    for step, keeps in _steps(options):
        rows = rows[_mask(log, rows, keeps, options)]
        if len(rows) == 0:
            before = counts[-1]
            raise InputError(
                f"preprocessing step '{step}' left no user and no item; before it there were {before.users} users, "
                f"{before.items} items and {before.interactions} interactions: lower its bound"
            )
        counts.append(_count(step, log, rows))
        if done is not None:
            done(counts[-1])
    return log.take(rows), counts


def k_core_rows(user: np.ndarray, item: np.ndarray, min_user: int, min_item: int) -> np.ndarray:
    """Tells which rows belong to the largest set where all users have min_user rows and all items min_item rows.

    Args:
        user: codes, int64 [rows].
        item: codes, int64 [rows].
        min_user: rows a user must have.
        min_item: rows an item must have.

    Returns:
        Boolean mask [rows]; all False where there is no such set.
    """
    rows = np.arange(len(user))
    while len(rows):  # a dropped item can bring a user below the bound, so both are counted until nothing changes
        stays = _often(user[rows], min_user) & _often(item[rows], min_item)
        if stays.all():
            break
        rows = rows[stays]
    mask = np.zeros(len(user), dtype=bool)
    mask[rows] = True
    return mask


Step = Literal["rating", "identical", "users", "users-and-items", "repeats", "core"]


def _steps(options: PreprocessOptions) -> Iterator[tuple[str, Step]]:
    """Yields the printed name and the kind of every step, in order."""
    if options.min_rating is not None:
        yield f"rating >= {options.min_rating:g}", "rating"
    if options.drop_identical:
        yield "rows equal in user, item and time dropped, first kept", "identical"
    bounds = f"users >= {options.min_user}, items >= {options.min_item}"
    if options.filter == "one-pass":
        yield f"{bounds}, counted once", "users-and-items"
        yield f"users >= {options.min_user}, second time", "users"
    if options.drop_repeats:
        yield "repeats dropped, first kept", "repeats"
    if options.filter == "one-pass":
        yield f"users >= {options.min_user}, last time", "users"
    if options.filter == "k-core":
        yield f"k-core: {bounds}", "core"


def _mask(log: Interactions, rows: np.ndarray, step: Step, options: PreprocessOptions) -> np.ndarray:
    user, item = log.user[rows], log.item[rows]
    if step == "rating":
        assert log.rating is not None
        assert options.min_rating is not None
        return log.rating[rows] >= options.min_rating
    if step == "users":
        return _often(user, options.min_user)
    if step == "users-and-items":
        return _often(user, options.min_user) & _often(item, options.min_item)
    if step in ("repeats", "identical"):
        # One number per (user, item), so that repeats are found in a single column.
        pair = user * len(log.item_ids) + item
        if step == "repeats" or log.timestamp is None:
            return ~pd.Series(pair).duplicated().to_numpy()
        return ~identical_rows(pair, log.timestamp[rows])
    return k_core_rows(user, item, options.min_user, options.min_item)


def _often(codes: np.ndarray, at_least: int) -> np.ndarray:
    return (np.bincount(codes) >= at_least)[codes]  # counted once per code, then looked up for every row


def _count(step: str, log: Interactions, rows: np.ndarray) -> StepCount:
    users = np.count_nonzero(np.bincount(log.user[rows]))
    items = np.count_nonzero(np.bincount(log.item[rows]))
    return StepCount(step, int(users), int(items), len(rows))
