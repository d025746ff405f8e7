"""Preprocessing: filters an ordered log in explicit steps and counts what every step leaves.

Takes rows that are already in sequence order (`order.sort_rows`), since which of two repeats is the first depends on
it; every step keeps the order. The steps, in this order:

1. rows of null ids; rows that equal an earlier one in user, item and time; rating threshold;
2. for `none` and `k-core`: repeats of an item within a user (first kept); then
   `k-core`: users and items with too few rows, again and again until none is left, so the result is a true core;
3. for `one-pass` (SLMRec's notebook): users and items with too few rows, each counted once on the same rows; users
   again; repeats; users once more. Items may end below `min_item`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from layerprobe.arguments import checked
from layerprobe.data.audits.ids import null_rows
from layerprobe.data.audits.repeats import identical_rows, repeated_rows
from layerprobe.data.interactions import Interactions
from layerprobe.errors import InputError


@dataclass(frozen=True)
@checked
class PreprocessOptions:
    """Which rows stay.

    Raises:
        InputError: an option has no effect beside the others, or a number is out of range.
    """

    min_rating: float | None = None
    """Rows with a lower rating are dropped; None keeps all."""
    filter: Literal["none", "k-core", "one-pass"] = "none"
    """`k-core`: to a fixed point; `one-pass`: as SLMRec's notebook did, users and items counted once."""
    min_user: int = 1
    """Rows a user must have, at least 1."""
    min_item: int = 1
    """Rows an item must have, at least 1."""
    drop_repeats: bool = False
    """True keeps only the first of a user's rows with the same item."""
    drop_identical: bool = False
    """True keeps only the first of rows that are equal in user, item and time."""
    null_ids: Literal["refuse", "keep", "drop"] = "refuse"
    """Users and items called NA, null, None or the like: `keep` takes them as ids, `drop` leaves out their rows."""

    def __post_init__(self) -> None:
        if min(self.min_user, self.min_item) < 1:
            raise InputError(f"min_user and min_item must be at least 1; got {self.min_user} and {self.min_item}")
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
        InputError: `min_rating` is set and the log has no ratings, `drop_identical` and it has no times, or a step
            leaves no row; the message names the step.
    """
    if options.min_rating is not None and log.rating is None:
        raise InputError(f"min_rating = {options.min_rating:g} needs ratings, and the log has none")
    if options.drop_identical and log.timestamp is None:
        raise InputError("drop_identical needs times, and the log has none; drop_repeats needs none")
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


Step = Literal["null-ids", "identical", "rating", "users", "users-and-items", "repeats", "core"]


def _steps(options: PreprocessOptions) -> Iterator[tuple[str, Step]]:
    """Yields the printed name and the kind of every step, in order."""
    if options.null_ids == "drop":
        yield "rows of null ids dropped", "null-ids"
    if options.drop_identical:
        yield "identical rows dropped, first kept", "identical"
    if options.min_rating is not None:
        yield f"rating >= {options.min_rating:g}", "rating"
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
    if step == "null-ids":
        return ~null_rows(log)[rows]
    if step == "identical":
        assert log.timestamp is not None
        return ~identical_rows(user, item, log.timestamp[rows])
    if step == "rating":
        assert log.rating is not None
        assert options.min_rating is not None
        return log.rating[rows] >= options.min_rating
    if step == "users":
        return _often(user, options.min_user)
    if step == "users-and-items":
        return _often(user, options.min_user) & _often(item, options.min_item)
    if step == "repeats":
        return ~repeated_rows(user, item)
    return k_core_rows(user, item, options.min_user, options.min_item)


def _often(codes: np.ndarray, at_least: int) -> np.ndarray:
    return (np.bincount(codes) >= at_least)[codes]  # counted once per code, then looked up for every row


def _count(step: str, log: Interactions, rows: np.ndarray) -> StepCount:
    users = np.count_nonzero(np.bincount(log.user[rows]))
    items = np.count_nonzero(np.bincount(log.item[rows]))
    return StepCount(step, int(users), int(items), len(rows))
