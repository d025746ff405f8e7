"""The Pareto front of quality and cost: the models that no other model beats.

Takes the table of costs and the decision, hands on the rows of `front.csv`: which models are not dominated.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.kinds import VARIANT
from layerprobe.store.decision import DecisionRecord


def pareto_front(quality: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Tells which models are not dominated.

    A model is dominated if another one is at least as good and costs at most as much, and is strictly better in one of
    the two. Models that are equal in both do not dominate each other: all of them are on the front, or none.

    Args:
        quality: higher is better, shape (n,).
        cost: lower is better, shape (n,).

    Returns:
        bool, shape (n,).

    >>> pareto_front(np.array([0.1, 0.3, 0.2, 0.3]), np.array([1.0, 5.0, 5.0, 5.0])).tolist()
    [True, True, False, True]
    """
    order = np.lexsort((-quality, cost))
    front = np.zeros(len(quality), dtype=bool)
    best, best_cost = -np.inf, np.nan
    for place in order:  # ascending in cost: a model has to be better than all that cost less
        equal = quality[place] == best and cost[place] == best_cost
        if quality[place] > best or equal:
            front[place] = True
            best, best_cost = quality[place], cost[place]
    return front


def front_rows(costs: pd.DataFrame, decision: DecisionRecord) -> pd.DataFrame:
    """Puts the decision's metric beside each of `columns.FRONT_COSTS`, and marks the models on the front.

    Args:
        costs: `costs.csv`.
        decision: the decision; models without a row in it are left out.

    Returns:
        Columns `columns.FRONT`; one row per cost and model, SASRec among them.
    """
    values = {(VARIANT, row.selection): row.value for row in decision.depths}
    values |= {(row.name, ""): row.value for row in decision.baselines}
    keys = list(zip(costs[columns.KIND], costs[columns.SELECTION], strict=True))
    known = costs.loc[[key in values for key in keys]]
    quality = np.array([values[key] for key in keys if key in values])
    tables = []
    for cost in columns.FRONT_COSTS:
        amount = known[cost].to_numpy(dtype=float)
        rows = known[[columns.KIND, columns.SELECTION, columns.DEPTH]].assign(
            **{
                columns.COST: cost,
                columns.AMOUNT: amount,
                columns.VALUE: quality,
                columns.ON_FRONT: pareto_front(quality, amount),
            }
        )
        tables.append(rows)
    return pd.concat(tables, ignore_index=True)[list(columns.FRONT)]
