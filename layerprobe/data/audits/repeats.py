"""`Repeats`: how many held-out targets their user had met before, and how many rows say the same thing twice.

Where met items are no candidates, a target that was met before is the only met item left among them, so it is nearly
given away. Takes a split and the times of its rows; the counts go into `facts.json`, onto the screen and the report.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from layerprobe.data.splits import PARTS, Part, Queries, Split
from layerprobe.errors import InputError

MOST_MET = 0.01
"""Largest share of the test targets that may be met before where met items are removed from the candidates."""
PART_NAMES: dict[Part, str] = {"valid": "validation", "test": "test"}
PREPARE_OPTION = "--preprocess.drop_repeats true"


@dataclass(frozen=True)
class Repeats:
    """Counts of rows and held-out targets; the keys of the three tables are the parts, `valid` and `test`."""

    identical: int | None
    """Rows that equal an earlier one in user, item and time; None where the log has no times."""
    targets: dict[str, int]
    """Held-out targets."""
    met: dict[str, int]
    """Targets that are in their user's history, so were met before."""
    same: dict[str, int]
    """Targets that are the item right before them."""

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return asdict(self)

    def share_met(self, part: Part = "test") -> float:
        """Returns the share of the targets of a part that were met before."""
        return self.met[part] / max(1, self.targets[part])

    def lines(self) -> list[str]:
        """Returns the counts as text, one finding per line."""
        parts = ", ".join(f"{_of(self.met, self.targets, part)} {PART_NAMES[part]} targets" for part in PARTS)
        same = ", ".join(f"{_of(self.same, self.targets, part)} {PART_NAMES[part]} targets" for part in PARTS)
        lines = [f"targets that their user met before: {parts}"]
        if any(self.same.values()):
            lines.append(f"note: targets that are the item right before them: {same}")
        if self.identical:
            lines.append(
                f"note: {self.identical:,} rows equal an earlier one in user, item and time; preprocess.drop_identical "
                "true drops them"
            )
        return lines

    def note_of_run(self) -> list[str]:
        """Returns what a study will say of these data, for those who only prepare them; nothing where it takes them."""
        if self.share_met() <= MOST_MET:
            return []
        return [
            f"note: with evaluation.remove_history true, the default, `run` refuses these data, since "
            f"{100 * self.share_met():.1f} % of the test targets were met before: set it false there, or prepare with "
            f"{PREPARE_OPTION}"
        ]

    def require_new_targets(self, drop: str) -> None:
        """Makes sure that targets stay hidden where the items a user met are taken out of the candidates.

        Args:
            drop: what drops repeats, in the user's words.

        Raises:
            InputError: more than `MOST_MET` of the test targets were met before.
        """
        if self.share_met() > MOST_MET:
            raise InputError(
                "evaluation.remove_history true leaves, of the items a user met, the target alone a candidate; "
                f"{self.met['test']:,} of {self.targets['test']:,} test targets ({100 * self.share_met():.1f} %) were "
                f"met before, so it gives them away: set evaluation.remove_history false, or drop repeats with {drop}"
            )


def count_repeats(split: Split, times: np.ndarray | None) -> Repeats:
    """Counts the repeats of a split.

    Args:
        split: where targets and histories come from.
        times: of each row of its sequences, whatever they mean; None where the log has none.
    """
    asked = {part: split.queries(part) for part in PARTS}
    sequences, users = split.sequences, np.repeat(np.arange(split.sequences.n_users), split.sequences.lengths)
    identical = None if times is None else identical_rows(users, sequences.items, times)
    return Repeats(
        identical=None if identical is None else int(np.count_nonzero(identical)),
        targets={part: len(queries) for part, queries in asked.items()},
        met={part: int(np.count_nonzero(_met_before(split, queries))) for part, queries in asked.items()},
        same={part: int(np.count_nonzero(_same_as_last(split, queries))) for part, queries in asked.items()},
    )


def identical_rows(user: np.ndarray, item: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Tells which rows equal an earlier one in user, item and time.

    Args:
        user: codes of each row, grouped by user.
        item: codes of each row.
        time: of each row, in any order.

    >>> identical_rows(np.array([0, 0, 0, 1]), np.array([5, 7, 5, 5]), np.array([1, 1, 1, 1])).tolist()
    [False, False, True, False]
    """
    rows = np.arange(len(user))
    if np.any((time[1:] < time[:-1]) & (user[1:] == user[:-1])):  # a log in file order
        rows = np.lexsort((time, user))  # stable: of equal rows the earlier one stays in front
        user, item, time = user[rows], item[rows], time[rows]
    ties = (time[1:] == time[:-1]) & (user[1:] == user[:-1])  # a row and the one before it
    tied = np.flatnonzero(np.r_[ties, False] | np.r_[False, ties])  # no other row can equal one
    moment = np.cumsum(~np.r_[False, ties])[tied]  # numbers user and time together
    pairs = pd.Series(moment * (int(item.max()) + 1) + item[tied])  # one number per user, time and item
    identical = np.zeros(len(user), dtype=bool)
    identical[rows[tied]] = pairs.duplicated().to_numpy()
    return identical


def repeated_rows(user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Tells which rows have an item that an earlier row of the same user has.

    >>> repeated_rows(np.array([0, 0, 0, 1]), np.array([5, 7, 5, 5])).tolist()
    [False, False, True, False]
    """
    # One number per (user, item), so that repeats are found in a single column.
    return pd.Series(user * (int(item.max()) + 1) + item).duplicated().to_numpy()


def _met_before(split: Split, queries: Queries) -> np.ndarray:
    """Tells which targets are in their histories, bool [queries]."""
    sequences = split.sequences
    if np.any(queries.users[1:] == queries.users[:-1]):  # several targets per user: rows that repeat an item are marked
        users = np.repeat(np.arange(sequences.n_users), sequences.lengths)
        return repeated_rows(users, sequences.items)[queries.ends]  # a history begins with its user's first row
    target, place = np.zeros(sequences.n_users, dtype=np.int64), np.zeros(sequences.n_users, dtype=np.int64)
    target[queries.users], place[queries.users] = queries.targets, queries.ends
    same = np.flatnonzero(sequences.items == np.repeat(target, sequences.lengths))  # few rows
    owner = np.searchsorted(sequences.offsets, same, side="right") - 1
    met = np.zeros(sequences.n_users, dtype=bool)
    met[owner[same < place[owner]]] = True
    return met[queries.users]


def _same_as_last(split: Split, queries: Queries) -> np.ndarray:
    return split.sequences.items[queries.ends - 1] == queries.targets


def _of(counts: dict[str, int], targets: dict[str, int], part: Part) -> str:
    share = counts[part] / max(1, targets[part])
    return f"{counts[part]:,} of {targets[part]:,} ({100 * share:.1f} %)"
