"""What follows from the measured costs of a study: the Pareto fronts, and the pick within a budget.

Takes `costs/costs.csv` and the decision, writes `costs/front.csv`. Made anew with every decision, since both depend on
its metric.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from layerprobe import columns
from layerprobe.pipeline.study import Study
from layerprobe.probing.budget import BudgetPick, pick_within
from layerprobe.probing.pareto import front_rows
from layerprobe.store.atomic import write_csv

COSTS_FOLDER = "costs"
COSTS_FILE = "costs.csv"
FRONT_FILE = "front.csv"
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


def weigh_costs(study: Study, decision: dict[str, Any]) -> BudgetPick | None:
    """Writes the fronts of quality against cost, and picks within the study's budget; None where there is none.

    Where memory was too small to measure any variant there are no costs, and so no fronts and no pick.

    Args:
        study: its cost stage must have run.
        decision: the content of `decision.json`.
    """
    folder: Path = study.folder / COSTS_FOLDER
    if not (folder / COSTS_FILE).exists():
        return None
    costs = whole_numbers(pd.read_csv(folder / COSTS_FILE))
    write_csv(folder / FRONT_FILE, front_rows(costs, decision))
    return pick_within(study.spec.budget, decision, costs) if study.spec.budget.limits else None
