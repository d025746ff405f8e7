"""Repeats in a log: targets that a user met before, rows that are there twice, users that hold much of the log.

Takes the split and the rows in sequence order, hands on counts and notes. Where targets were met before and met items
are removed from the candidates, the target is the only one of them left: a model that scores met items highly is then
right without knowing which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerprobe.data.interactions import Interactions
from layerprobe.data.sequences import Sequences
from layerprobe.data.splits import Split
from layerprobe.errors import InputError

MOST_MET = 0.01
"""Share of test targets that may have been met before where met items are removed from the candidates."""
LARGE_SHARE, LARGE_FACTOR = 0.05, 20
"""A user is noted who holds this share of all rows, and so many times the rows of the median of the others."""


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """Counts.

    Attributes:
        targets: test targets.
        met_before: of these, items that the user has earlier in the sequence.
        same_as_last: of these, the very item before it.
        rows: rows of the log.
        identical: rows that equal an earlier one in user, item and time; None where the log has no times.
        valid_targets: validation targets, by which the best epoch is chosen.
        valid_met_before: of these, items that the user has earlier in the sequence.
    """

    targets: int
    met_before: int
    same_as_last: int
    rows: int
    identical: int | None
    valid_targets: int = 0
    valid_met_before: int = 0

    @property
    def share_met(self) -> float:
        """Share of the test targets that were met before, in [0, 1]."""
        return self.met_before / self.targets if self.targets else 0.0

    def notes(self) -> list[str]:
        """Returns what a reader should know, one sentence each."""
        notes = []
        if self.identical:
            notes.append(
                f"{self.identical:,} of {self.rows:,} rows equal an earlier row in user, item and time: drop them with "
                "preprocess.drop_identical unless they are true"
            )
        if self.same_as_last:
            notes.append(f"{self.same_as_last:,} of {self.targets:,} test targets are the item right before them")
        if self.met_before or self.valid_met_before:
            notes.append(
                f"{self.met_before:,} of {self.targets:,} test targets were met before by their user "
                f"({100 * self.share_met:.1f} %), and {self.valid_met_before:,} of {self.valid_targets:,} validation "
                "targets"
            )
        if self.share_met > MOST_MET:
            notes.append(
                "a study with evaluation.remove_history true refuses this log: set it to false, or drop repeats with "
                "preprocess.drop_repeats"
            )
        return notes

    def require_few_met(self) -> None:
        """Makes sure that removing met items from the candidates takes no target's rivals away.

        Raises:
            InputError: more than `MOST_MET` of the test targets were met before.
        """
        if self.share_met > MOST_MET:
            raise InputError(
                f"{self.met_before:,} of {self.targets:,} test targets ({100 * self.share_met:.1f} %) were met before "
                "by their user, and evaluation.remove_history removes all other met items from the candidates: set "
                "evaluation.remove_history to false, or drop repeats with data.preprocess.drop_repeats true"
            )


def count_repeats(split: Split, times: np.ndarray | None) -> Repeats:
    """Counts the repeats of a log.

    Args:
        split: its sequences and targets.
        times: of every item of the sequences; None where the log has none.
    """
    items, targets, valid = split.sequences.items, split.queries("test").ends, split.queries("valid").ends
    pair = _users(split.sequences) * (split.sequences.n_items + 1) + items  # one number per (user, item), [rows]
    order = np.argsort(pair, kind="stable")  # equal pairs stay in the order of the sequence
    same = pair[order[1:]] == pair[order[:-1]]
    again = np.zeros(len(pair), dtype=bool)
    again[order[1:][same]] = True
    identical = None
    if times is not None:
        often = order[np.r_[False, same] | np.r_[same, False]]  # only a pair that is there twice can be identical
        identical = int(identical_rows(pair[often], times[often]).sum())
    return Repeats(
        targets=len(targets),
        met_before=int(again[targets].sum()),
        same_as_last=int((items[targets] == items[targets - 1]).sum()),
        rows=len(items),
        identical=identical,
        valid_targets=len(valid),
        valid_met_before=int(again[valid].sum()),
    )


def identical_rows(pair: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Tells which rows equal an earlier one in user, item and time, bool [rows].

    Args:
        pair: one number per user and item, int64 [rows].
        times: of each row, int64 [rows].

    >>> identical_rows(np.array([7, 7, 8, 7]), np.array([1, 2, 1, 1])).tolist()
    [False, False, False, True]
    """
    order = np.lexsort((times, pair))  # stable, so the first of equal rows is the earliest
    found = np.zeros(len(pair), dtype=bool)
    found[order[1:]] = (pair[order[1:]] == pair[order[:-1]]) & (times[order[1:]] == times[order[:-1]])
    return found


def repeats_of(facts: Mapping[str, Any]) -> Repeats:
    """Returns the counts that facts hold."""
    return Repeats(**facts["repeats"])


def large_users(log: Interactions) -> list[str]:
    """Returns a note where one user holds a large share of all rows; it stands in reports, so it names nobody."""
    rows = np.bincount(log.user)
    largest, share = int(rows.max()), float(rows.max()) / len(log)
    others = np.delete(rows[rows > 0], rows[rows > 0].argmax())
    # The median, not the mean: among few users one who holds nearly all rows raises the mean itself.
    if share < LARGE_SHARE or not len(others) or largest < LARGE_FACTOR * np.median(others):
        return []
    return [
        f"one user has {100 * share:.1f} % of all rows, {largest:,}: a robot, a shared account or a mark for unknown "
        "users?"
    ]


def _users(sequences: Sequences) -> np.ndarray:
    return np.repeat(np.arange(sequences.n_users), sequences.lengths)
