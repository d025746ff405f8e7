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
import pandas as pd

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
    """

    targets: int
    met_before: int
    same_as_last: int
    rows: int
    identical: int | None

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
        if self.met_before:
            notes.append(
                f"{self.met_before:,} of {self.targets:,} test targets were met before by their user "
                f"({100 * self.share_met:.1f} %)"
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
    items, targets = split.sequences.items, split.queries("test").ends
    pair = _users(split.sequences) * (split.sequences.n_items + 1) + items  # one number per (user, item), [rows]
    again = pd.Series(pair).duplicated().to_numpy()  # rows are in the order of the sequence, so the first is no repeat
    identical = None
    if times is not None:
        places = np.flatnonzero(again)  # only a pair that is there twice can be identical, and they are few as a rule
        often = np.isin(pair, pair[places]) if len(places) else again
        identical = int(pd.DataFrame({"pair": pair[often], "time": times[often]}).duplicated().sum())
    return Repeats(
        targets=len(targets),
        met_before=int(again[targets].sum()),
        same_as_last=int((items[targets] == items[targets - 1]).sum()),
        rows=len(items),
        identical=identical,
    )


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
