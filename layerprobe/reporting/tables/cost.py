"""The table behind the figure of quality against cost: `front.csv`, and which of its models are which."""

from __future__ import annotations

import pandas as pd

from layerprobe import columns
from layerprobe.kinds import VARIANT
from layerprobe.store.decision import DecisionRecord

ROLE, FULL, DECIDED, BUDGET = "role", "full", "decided", "budget"


def with_roles(front: pd.DataFrame, decision: DecisionRecord) -> pd.DataFrame:
    """Adds the column `role` to `front.csv`: who is the full model, the decided selection and the budget's pick.

    One model may have several roles, joined by commas; most have none.
    """
    chosen, pick = decision.chosen, decision.budget
    selections = {
        FULL: decision.full.text,
        DECIDED: None if chosen is None else chosen.text,
        BUDGET: None if pick is None else pick.selection,
    }
    is_variant = front[columns.KIND] == VARIANT
    roles = [
        ",".join(role for role, selection in selections.items() if variant and selection == own)
        for own, variant in zip(front[columns.SELECTION], is_variant, strict=True)
    ]
    return front.assign(**{ROLE: roles})


def limits_of(decision: DecisionRecord) -> dict[str, float]:
    """Returns the limits of the budget by the cost that each one bounds; empty without a budget."""
    limits = {name: getattr(decision.budget, name, None) for name in columns.LIMITED}
    return {columns.LIMITED[name]: limit for name, limit in limits.items() if limit is not None}
