"""What the models of a decision are called in a report, and what may be said of its intervals.

With one training seed and no stated noise nothing tells training noise from a difference: intervals then hold for these
trained models, and no word of a test is used.
"""

from __future__ import annotations

from collections.abc import Sequence

from layerprobe.store.decision import DecisionRecord, SelectionRow
from layerprobe.wording import level, listed, noun

FOR_THESE = "for these trained models"
MOST_LISTED = 12
"""Selections that a sentence names; of more it gives the number."""


def is_exploratory(decision: DecisionRecord) -> bool:
    """Tells whether one training seed stands behind it; a decision of an older version does not say so itself."""
    return decision.exploratory or (decision.power.n_seeds == 1 and not decision.prior_noise)


def error_level(decision: DecisionRecord) -> float:
    """Returns the error level of this look; in studies of older versions all looks had the whole alpha."""
    return decision.alpha if decision.level is None else decision.level


def an_interval(decision: DecisionRecord) -> str:
    """Returns what an interval of the decision is: `95 % confidence interval`, or `95 % interval` with one seed."""
    word = "" if is_exploratory(decision) else "confidence "
    return f"{level(1 - error_level(decision))} {word}interval"


def noun_of(decision: DecisionRecord) -> str:
    """Returns what one of the studied models is called: a depth where all are written `first:k`, else a selection."""
    return noun(row.text for row in decision.depths)


def called(row: SelectionRow, decision: DecisionRecord) -> str:
    """Returns the name of one of them in a sentence, such as `depth 2` or `keep:0,3`."""
    return f"depth {row.depth}" if noun_of(decision) == "depth" else row.text


def short(row: SelectionRow, decision: DecisionRecord) -> str:
    """Returns its name without the noun, such as `2` or `keep:0,3`."""
    return str(row.depth) if noun_of(decision) == "depth" else row.text


def row_title(row: SelectionRow, decision: DecisionRecord) -> str:
    """Returns its name in a table, such as `depth 2` or `depth 2, keep:0,3`."""
    full = " (full)" if row == decision.full else ""
    name = f"depth {row.depth}"
    return f"{name}{full}" if noun_of(decision) == "depth" else f"{name}, {row.text}{full}"


def all_of(rows: Sequence[SelectionRow], decision: DecisionRecord) -> str:
    """Returns the names of some of them, such as `depths 1, 2 and 4`; many are counted."""
    word = noun_of(decision)
    if len(rows) == len(decision.depths) > 1:
        return f"every {word}"
    if len(rows) > MOST_LISTED:
        return f"{len(rows)} of {len(decision.depths)} {word}s"
    names = [short(row, decision) for row in rows]
    return f"{word}{'s' if len(names) > 1 else ''} {listed(names)}"
