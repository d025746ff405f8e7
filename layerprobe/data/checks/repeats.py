"""Repeats: test targets that their user met before, targets right after themselves, and rows that are copies.

With the history taken off the candidates, a target that was met before is the only met item left: what ranks a user's
own history first then finds it. A file that holds every row twice makes each target the item before it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from layerprobe.data.sequences import Sequences
from layerprobe.data.splits import Split
from layerprobe.errors import InputError
from layerprobe.wording import count, percent

MOST_MET = 0.01
"""Share of test targets that may have been met before where the history is no candidate."""


def count_repeats(split: Split, times: np.ndarray | None) -> dict[str, int | None]:
    """Counts the repeats of a log, for `facts.json`.

    Args:
        split: its sequences and test targets.
        times: of each row; None where the log has none.

    Returns:
        `targets`: test targets; `met`: of these, items of their history; `after_itself`: items right before them;
        `identical_rows`: rows equal to an earlier one in user, item and time, None without times.
    """
    sequences, ends = split.sequences, split.queries("test").ends
    pairs = _pairs(sequences)
    again = pd.Series(pairs).duplicated().to_numpy()  # a user's rows are adjacent, so an equal earlier row is history
    return {
        "targets": len(ends),
        "met": int(np.count_nonzero(again[ends])),
        "after_itself": int(np.count_nonzero(sequences.items[ends] == sequences.items[ends - 1])),
        "identical_rows": None if times is None else int(np.count_nonzero(identical_rows(pairs, times))),
    }


def identical_rows(pairs: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Tells which rows equal an earlier one in user, item and time, bool [rows].

    Args:
        pairs: one number per user and item, int64 [rows].
        times: of each row, int64 [rows].
    """
    found = np.zeros(len(pairs), dtype=bool)
    shared = np.flatnonzero(pd.Series(pairs).duplicated(keep=False))  # few in most logs: only these are compared
    found[shared] = pd.DataFrame({"pair": pairs[shared], "time": times[shared]}).duplicated().to_numpy()
    return found


def repeat_lines(repeats: dict[str, Any]) -> list[str]:
    """Returns the counts as lines, what is wrong as a note."""
    met, targets = repeats["met"], repeats["targets"]
    lines = [f"repeats: {count(met)} of {count(targets)} test targets ({percent(met / targets)}) met before"]
    return [*lines, *(f"note: {note}" for note in repeat_notes(repeats))]


def repeat_notes(repeats: dict[str, Any]) -> list[str]:
    """Returns what a reader should know of copies and of targets right after themselves, one sentence each."""
    notes, after, targets = [], repeats["after_itself"], repeats["targets"]
    if repeats["identical_rows"]:
        notes.append(
            f"{count(repeats['identical_rows'])} rows equal an earlier one in user, item and time; "
            "preprocess.drop_identical drops such rows"
        )
    if after:
        notes.append(f"{count(after)} test targets ({percent(after / targets)}) are the item right before them")
    return notes


def repeats_refused(repeats: dict[str, Any]) -> bool:
    """Tells whether too many targets were met before for a ranking without the history."""
    return repeats["met"] > MOST_MET * repeats["targets"]


def run_note(repeats: dict[str, Any]) -> list[str]:
    """Returns what `layerprobe run` will do with such data, as lines; none where it takes them."""
    if not repeats_refused(repeats):
        return []
    return [
        f"note: above {percent(MOST_MET, 0)} of the targets met before, `layerprobe run` refuses these data unless it "
        "has --evaluation.remove_history false; --preprocess.drop_repeats true here drops the repeats"
    ]


def require_new_targets(repeats: dict[str, Any], option: str) -> None:
    """Makes sure that a ranking without the history means something.

    Args:
        repeats: what `count_repeats` returned.
        option: how repeats are dropped.

    Raises:
        InputError: more than 1 % of the test targets are items that their user met before.
    """
    if repeats_refused(repeats):
        met, targets = repeats["met"], repeats["targets"]
        raise InputError(
            f"evaluation.remove_history true needs test targets that are new to their user; {count(met)} of "
            f"{count(targets)} ({percent(met / targets)}, at most {percent(MOST_MET, 0)}) were met before and would be "
            f"the only met candidate: set --evaluation.remove_history false, or drop repeats with {option}"
        )


def _pairs(sequences: Sequences) -> np.ndarray:
    """One number per user and item, int64 [rows]."""
    user = np.repeat(np.arange(sequences.n_users), sequences.lengths)
    return user * (sequences.n_items + 1) + sequences.items
