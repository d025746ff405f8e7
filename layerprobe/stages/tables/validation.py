"""The decision's metric on validation users: what may pick a model, where the test value may only judge it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.evaluation.metrics import metric_values, user_means
from layerprobe.probing.decision_options import DecisionOptions


def valid_value(tables: Sequence[pd.DataFrame], options: DecisionOptions) -> float:
    """Returns the mean over tables of the metric of validation users, full ranking; NaN where one has no such rows.

    Args:
        tables: ranks, one table per training seed.
        options: metric and cut-off.
    """
    return float(np.mean([_of_one(table, options) for table in tables]))


def _of_one(table: pd.DataFrame, options: DecisionOptions) -> float:
    rows = table.loc[(table[columns.SPLIT] == "valid") & (table[columns.PROTOCOL] == columns.FULL)]
    if not len(rows):
        return np.nan
    values = metric_values(rows, options.metric, options.k)
    return float(user_means(rows[columns.USER].to_numpy(), values).mean())
