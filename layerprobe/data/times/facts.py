"""What a split holds, as plain values for `facts.json` and as lines: its rule, its counts, and what it reads too early.

Leave-one-out is audited: the share of its training rows that are later than a test target. A split by time has none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from layerprobe.data.interactions import Interactions
from layerprobe.data.splits import PARTS, Part, Split
from layerprobe.data.times.cuts import TimeCuts, calendar_unit, in_words
from layerprobe.data.times.options import GLOBAL_TIME, LEAVE_ONE_OUT, SplitOptions
from layerprobe.errors import InputError

LEAVE_ONE_OUT_RULE = (
    "leave-one-out: a user's last item is the test target, the one before it the validation target; "
    "users with fewer than 3 items are not evaluated and train on all their items"
)
TARGETS = {
    "last": "a user's last item there is the target",
    "first": "a user's first item there is the target",
    "all": "each item of a user there is a target",
}


def split_rule(split: Split) -> str:
    """Returns the rule of a split as the sentence that is stored and printed."""
    if split.cuts is None or split.times is None:
        return LEAVE_ONE_OUT_RULE
    cuts, unit = split.cuts, calendar_unit(split.times)
    new = "are evaluated from their second item on" if cuts.no_history == "keep" else "are not evaluated there"
    return (
        f"{GLOBAL_TIME}: training before {in_words(cuts.valid, unit)}, validation from then to before "
        f"{in_words(cuts.test, unit)}, test from then on; {TARGETS[cuts.target]}, after everything of the user before "
        f"it; users whose first item lies there {new}"
    )


def split_facts(split: Split, cold: Interactions | None, options: SplitOptions) -> dict[str, Any]:
    """Returns the facts of a split: kind, rule and, by kind, the audit of the future or the counts of each part.

    Args:
        split: what was made.
        cold: rows without an interaction of their item before the first cut, in or out of the split; None where no cut
            was made.
        options: what it was made by.
    """
    facts: dict[str, Any] = {"kind": split.kind, "rule": split_rule(split)}
    if split.times is None:
        return facts
    n_training = int(np.count_nonzero(split.train_mask()))
    if split.cuts is None:
        ends = split.queries("test").ends
        return facts | {"later": later_share(split), "targets": len(ends), "training_interactions": n_training}
    unit = calendar_unit(split.times)
    rows, items = (0, 0) if cold is None else (len(cold), cold.n_items)
    return facts | {
        "valid_from": in_words(split.cuts.valid, unit),
        "test_from": in_words(split.cuts.test, unit),
        "training_users": int(np.count_nonzero(split.train_ends > split.sequences.offsets[:-1])),
        "training_interactions": n_training,
        **{part: _part_facts(split, part) for part in PARTS},
        "cold": {"policy": options.cold_items, "items": items, "interactions": rows},
    }


def later_share(split: Split) -> float:
    """Returns the share of the training rows that are later than a test target, averaged over the test targets."""
    assert split.times is not None
    training = np.sort(split.times[split.train_mask()])
    up_to = np.searchsorted(training, split.times[split.queries("test").ends], side="right")
    return float(1 - up_to.mean() / len(training))


def split_lines(facts: dict[str, Any] | None) -> list[str]:
    """Returns what to know of a split, as lines; none for folders of versions that did not store it."""
    if facts is None:
        return []
    if facts["kind"] == LEAVE_ONE_OUT:
        return [] if "later" not in facts else [leak_sentence(facts)]
    lines = [facts["rule"]]
    lines.append(
        f"training: {facts['training_interactions']:,} interactions of {facts['training_users']:,} users; "
        + "; ".join(_part_words(name, facts[part]) for part, name in (("valid", "validation"), ("test", "test")))
    )
    return [*lines, cold_sentence(facts)]


def leak_sentence(facts: dict[str, Any]) -> str:
    """Returns what leave-one-out reads of the future, and what to do."""
    return (
        f"leave-one-out reads the future: {100 * facts['later']:.0f} % of the training rows are later than a test "
        f"target, on average; a split by time: data.split.kind {GLOBAL_TIME}"
    )


def cold_sentence(facts: dict[str, Any]) -> str:
    """Returns what became of the items that no training row has."""
    cold = facts["cold"]
    done = "left out of the log" if cold["policy"] == "drop" else "kept as candidates and targets"
    return (
        f"items first seen from {facts['valid_from']} on: {cold['items']:,} with {cold['interactions']:,} "
        f"interactions, {done}"
    )


def _part_facts(split: Split, part: Part) -> dict[str, int]:
    return {
        "users": len(split.users(part)),
        "targets": len(split.queries(part)),
        "without_history": len(split.new_users(part)),
    }


def _part_words(name: str, part: dict[str, int]) -> str:
    return (
        f"{name}: {part['targets']:,} targets of {part['users']:,} users ({part['without_history']:,} users without "
        "history there)"
    )


def warm_rows(log: Interactions, times: np.ndarray, cuts: TimeCuts) -> np.ndarray:
    """Tells which rows are of items with an interaction before the first cut, bool [rows]."""
    known = np.zeros(len(log.item_ids), dtype=bool)
    known[log.item[times < cuts.valid]] = True
    return known[log.item]


def require_pair(split: Split) -> None:
    """Makes sure that a user has two training items, the least that a model can learn from.

    Raises:
        InputError: no user has.
    """
    if (split.train_ends - split.sequences.offsets[:-1]).max() < 2:
        raise InputError(
            "the split leaves no training pair: no user has 2 items before split.valid_cut; move it to a later time"
        )
