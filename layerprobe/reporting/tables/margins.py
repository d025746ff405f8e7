"""Which margin each depth proves: the tidy table behind the figure, and what a reader's own margin keeps."""

from __future__ import annotations

import pandas as pd

from layerprobe import columns
from layerprobe.reporting.tables.curve import CHOSEN, NAME, row_name
from layerprobe.store.decision import DecisionRecord, SelectionRow

ANY, FIXED, COULD_BE_BEST = "proven_margin", "proven_margin_fixed_beforehand", "could_be_best"
MARGINS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1)
"""Margins that a report answers; a reader finds any other in the table of proven margins."""


def knows_proven(decision: DecisionRecord) -> bool:
    """Tells whether the decision has proven margins; those of older versions do not."""
    return all(row.proven_margin is not None and row.proven_alone is not None for row in decision.depths)


def proven_table(decision: DecisionRecord) -> pd.DataFrame:
    """Puts the proven margins of all selections into one table.

    Args:
        decision: one that `knows_proven`.

    Returns:
        Columns name (empty for `first:k`), depth, proven_margin, proven_margin_fixed_beforehand, could_be_best, chosen.
        Margins are shares of the full model's value; chosen is the kept selection, also where a baseline is better.
    """
    rows = decision.depths
    return pd.DataFrame(
        {
            NAME: [row_name(row) for row in rows],
            columns.DEPTH: pd.array([row.depth for row in rows], dtype="Int64"),
            ANY: [row.proven_margin for row in rows],
            FIXED: [row.proven_alone for row in rows],
            COULD_BE_BEST: [row.could_be_best for row in rows],
            CHOSEN: [row == decision.chosen for row in rows],
        }
    )


def kept_at(decision: DecisionRecord, margin: float) -> SelectionRow:
    """Returns the smallest selection that proves a margin brought after looking; at equal depth the one with more.

    Returns:
        The full model where no smaller one does: it proves any margin.
    """
    proving = [row for row in decision.depths if row.proven_margin is not None and row.proven_margin < margin]
    return min(proving, key=lambda row: (row.depth, -row.value), default=decision.full)
