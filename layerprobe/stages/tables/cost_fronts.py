"""What follows from the measured costs of a study: the Pareto fronts, and the pick within a budget.

Takes `costs/costs.csv`, the decision and validation ranks, writes `costs/front.csv`. Computed again with every
decision, since both depend on its metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from layerprobe import columns
from layerprobe.backbone.selection import LayerSelection
from layerprobe.probing.budget import BudgetPick, pick_within
from layerprobe.probing.pareto import front_rows
from layerprobe.stages.tables.validation import valid_value
from layerprobe.store.atomic import write_csv
from layerprobe.store.decision import DecisionRecord

if TYPE_CHECKING:
    from layerprobe.study.study import Study

COUNTED = (
    columns.DEPTH,
    columns.PARAMETERS,
    *(f"{columns.PARAMETERS}_{part}" for part in columns.PARAMETER_PARTS),
    columns.WEIGHT_BYTES,
    columns.SCORING_BYTES,
    columns.TRAINING_BYTES,
)
"""Columns of whole numbers, empty where there is none."""


def whole_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Returns `costs.csv` with its counts as nullable whole numbers and text where a floor has no selection."""
    return table.astype(dict.fromkeys(COUNTED, "Int64")).fillna({columns.SELECTION: ""})


def weigh_costs(
    study: Study, decision: DecisionRecord, variants: Mapping[LayerSelection, Sequence[pd.DataFrame]]
) -> BudgetPick | None:
    """Writes the fronts of quality against cost, and picks within the study's budget; None where there is none.

    Where memory was too small to measure any variant there are no costs, and so no fronts and no pick.

    Args:
        study: its cost stage must have run.
        decision: what was decided.
        variants: per selection the ranks of its variants, one table per seed; the pick reads their validation rows.
    """
    layout = study.layout
    if not layout.cost_table.exists():
        return None
    costs = whole_numbers(pd.read_csv(layout.cost_table))
    write_csv(layout.front, front_rows(costs, decision))
    if not study.spec.budget.limits:
        return None
    valid = {selection.text: valid_value(tables, study.spec.decision) for selection, tables in variants.items()}
    return pick_within(study.spec.budget, decision, costs, valid)
