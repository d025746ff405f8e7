"""Order audit: does the order of a log look like time or like a catalogue, and do item ids reveal the target?

Takes the log in its final sequence order; the result goes into `facts.json` and is printed. Evidence for the limits:
in true order about half of the neighbouring pairs ascend by item id, in a file sorted by id all of them do.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from layerprobe.data.interactions import Interactions
from layerprobe.data.splits import MIN_EVALUATED

NEARLY_ALL = 0.9
MOSTLY = 0.8
MIN_PAIRS = 30  # below, 90 % could be chance
LEAK_FACTOR = 10.0
MIN_LEAKING_USERS = 10
LONGEST_NUMBER = 18  # digits that fit int64
CATALOGUE_ADVICE = (
    "nearly all neighbours of different time follow the item id, so the id predicts the target; "
    "give a file with timestamps and order by time"
)


@dataclass(frozen=True)
class OrderAudit:
    """Shares in [0, 1]; None where there is nothing to count.

    "Pairs" are neighbouring rows of one user. Without timestamps all pairs count as pairs of different times.
    """

    n_pairs: int
    """Pairs in the log."""
    has_times: bool
    """Whether the log has timestamps."""
    equal_time: float | None
    """Pairs that share a time, of all pairs."""
    backward: float | None
    """Pairs whose second row has the earlier time, of all pairs; above 0 the order is not that of time."""
    ascending_equal: float | None
    """Pairs whose raw item id ascends, of the pairs with equal time."""
    ascending_different: float | None
    """The same among pairs of different times: about one half in true order, near 1 in catalogue order."""
    target_ties: float | None
    """Evaluated users whose test target shares the time of the item before it."""
    next_raw_id: float | None
    """Evaluated users whose test target has the raw id "last id + 1"; None where ids are not numbers."""
    next_first_appearance: float | None
    """The same if items were numbered by first appearance in this order, as many public files are."""
    chance: float
    """Chance of "last id + 1": 1 / number of items."""
    n_evaluated: int
    """Test targets; in leave-one-out these are the users with at least 3 rows."""
    catalogue_order: bool
    """True when nearly all pairs of different times ascend (or descend) by item id, pairs of the same item left out:
    the order is a catalogue's."""
    notes: tuple[str, ...]
    """What a reader should know, one sentence each."""

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return {**asdict(self), "notes": list(self.notes)}

    def lines(self) -> list[str]:
        """Returns the audit as text, one finding per line, the flag first."""
        flag = ["FLAG: catalogue order: " + CATALOGUE_ADVICE] if self.catalogue_order else []
        pairs = f"order audit of {self.n_pairs:,} neighbouring pairs: "
        if self.has_times:
            pairs += f"{_percent(self.equal_time)} share a time, {_percent(self.ascending_equal)} of those ascend by "
            pairs += f"item id; of the others {_percent(self.ascending_different)}"
        else:
            pairs += f"no times; {_percent(self.ascending_different)} ascend by item id"
        targets = f"{self.n_evaluated:,} test targets: {_percent(self.target_ties)} tie with the item before; "
        targets += f"'last id + 1' are {_percent(self.next_raw_id)} by raw id, "
        targets += f"{_percent(self.next_first_appearance)} by first appearance (chance {_percent(self.chance)})"
        return [*flag, pairs, targets, *(f"note: {note}" for note in self.notes)]


def audit_order(log: Interactions, targets: np.ndarray | None = None) -> OrderAudit:
    """Audits a log whose rows are grouped by user and in sequence order.

    Args:
        log: the rows.
        targets: places of the test targets; None takes those of leave-one-out.
    """
    pairs = _Pairs.of(log)
    equal, different = pairs.time == 0, pairs.time != 0  # bool [pairs]
    times, ends = log.timestamp, _target_rows(log.user) if targets is None else targets
    numbers = _numbers(log.item_ids)
    first_seen = pd.factorize(log.item)[0]  # each row's item, numbered by first appearance, [rows]
    audit = OrderAudit(
        n_pairs=len(pairs.step),
        has_times=times is not None,
        equal_time=None if times is None else _share(equal),
        backward=None if times is None else _share(pairs.time < 0),
        ascending_equal=_share(pairs.step[equal] > 0),
        ascending_different=_share(pairs.step[different] > 0),
        target_ties=None if times is None else _share(times[ends] == times[ends - 1]),
        next_raw_id=None if numbers is None else _share(_is_next(numbers[log.item], ends)),
        next_first_appearance=_share(_is_next(first_seen, ends)),
        chance=1 / (int(first_seen.max()) + 1),
        n_evaluated=len(ends),
        catalogue_order=_follows_ids(pairs.step[different], NEARLY_ALL),
        notes=(),
    )
    return replace(audit, notes=_notes(audit, has_tie_order=_follows_ids(pairs.step[equal], MOSTLY)))


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Neighbouring rows of one user: signs (+1, 0, -1) of the item id's step and of the time's step."""

    step: np.ndarray
    time: np.ndarray

    @staticmethod
    def of(log: Interactions) -> _Pairs:
        same_user = log.user[1:] == log.user[:-1]  # rows are grouped by user, so this finds all neighbours
        step = np.sign(np.diff(_id_ranks(log.item_ids)[log.item]))[same_user]
        if log.timestamp is None:
            return _Pairs(step, np.ones(len(step), dtype=np.int64))  # all pairs count as pairs of different times
        earlier, later = log.timestamp[:-1][same_user], log.timestamp[1:][same_user]
        # The sign by comparison: the difference of two int64 times could overflow.
        return _Pairs(step, (later > earlier).astype(np.int64) - (later < earlier))


def _follows_ids(step: np.ndarray, limit: float) -> bool:
    """Tells whether at least `limit` of the steps between different items go one way, and there are enough of them."""
    moves = step[step != 0]  # a repeated item says nothing about the order of ids
    if len(moves) < MIN_PAIRS:
        return False
    up = float(np.mean(moves > 0))
    return max(up, 1 - up) >= limit  # a catalogue may be listed in either direction


def _notes(audit: OrderAudit, has_tie_order: bool) -> tuple[str, ...]:
    notes = []
    if has_tie_order:
        notes.append(
            f"rows of equal time ({_percent(audit.equal_time)} of the pairs) are in catalogue order: "
            "metrics depend on that; compare with ties = hash"
        )
    if audit.backward:
        notes.append(f"{_percent(audit.backward)} of the pairs go back in time: the order is not that of time")
    share = audit.next_raw_id or 0.0
    # Both conditions: in a small log one user alone can be many times as often as chance.
    if share >= LEAK_FACTOR * audit.chance and share * audit.n_evaluated >= MIN_LEAKING_USERS:
        notes.append(
            f"'last raw id + 1' is the target {share / audit.chance:.0f} times as often as chance; "
            "indices here are a seeded permutation, so models do not see it"
        )
    return tuple(notes)


def _target_rows(user: np.ndarray) -> np.ndarray:
    """Row of the test target of every evaluated user."""
    starts = np.flatnonzero(np.r_[True, user[1:] != user[:-1]])
    ends = np.r_[starts[1:], len(user)]
    return ends[ends - starts >= MIN_EVALUATED] - 1


def _is_next(number: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return number[ends] == number[ends - 1] + 1


def _numbers(item_ids: np.ndarray) -> np.ndarray | None:
    """Ids as int64 where all of them are digits, else None."""
    texts = pd.Series(item_ids, dtype=str)
    if not texts.str.fullmatch(f"[0-9]{{1,{LONGEST_NUMBER}}}").all():
        return None
    return texts.astype(np.int64).to_numpy()


def _id_ranks(item_ids: np.ndarray) -> np.ndarray:
    """Place of every id among all ids: by number where all ids are digits (9 before 10), else as text."""
    keys = _numbers(item_ids)
    return np.unique(item_ids.astype(str) if keys is None else keys, return_inverse=True)[1]


def _share(mask: np.ndarray) -> float | None:
    return float(np.mean(mask)) if len(mask) else None


def _percent(share: float | None) -> str:
    if share is None:
        return "none"
    return f"{100 * share:.1f} %" if share == 0 or share >= 0.001 else f"{100 * share:.2g} %"
