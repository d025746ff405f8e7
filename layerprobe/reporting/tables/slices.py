"""Tables of slices: which rows of `slices.csv` the figure and the report's table show, averaged over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from layerprobe import columns
from layerprobe.kinds import SASREC, VARIANT
from layerprobe.reporting.tables.curve import N_SEEDS
from layerprobe.wording import keeps_first

METRIC = ("ndcg", 10)
REFERENCE = SASREC
COLD = "0"
"""Group of targets without a training interaction."""
SLICE_NAMES = {
    columns.HISTORY_LENGTH: "items in the history",
    columns.TARGET_POPULARITY: "training interactions of the target",
    columns.RECENCY: "time since the last item",
}
_POINT = [columns.KIND, columns.SELECTION, columns.DEPTH, columns.SLICE, columns.GROUP]


def slice_points(slices: pd.DataFrame) -> pd.DataFrame:
    """Picks NDCG@10 and averages it over the seeds of a model, as the depth figures do.

    Args:
        slices: `StudyFiles.slices`.

    Returns:
        One row per model and group, groups of a slice in rising order: kind, selection, depth, slice, group, value
        (mean over seeds), ci_low and ci_high (lowest and highest bound of any seed; NaN where the group has none),
        n_users, n_seeds.
    """
    rows = slices.loc[(slices[columns.METRIC] == METRIC[0]) & (slices[columns.K] == METRIC[1])]
    return rows.groupby(_POINT, sort=False, dropna=False, as_index=False).agg(
        **{
            columns.VALUE: (columns.VALUE, "mean"),
            columns.CI_LOW: (columns.CI_LOW, "min"),
            columns.CI_HIGH: (columns.CI_HIGH, "max"),
            columns.N_USERS: (columns.N_USERS, "max"),
            N_SEEDS: (columns.SEED, "size"),
        }
    )


def drawn_points(points: pd.DataFrame, n_layers: int) -> pd.DataFrame:
    """Picks what the figure shows: `first:k` fine-tuned at every depth, the full model, and SASRec.

    Other selections are in `slices.csv` only: a line per group and selection would make the figure unreadable.
    """
    is_first = points[columns.SELECTION].map(keeps_first).astype(bool)
    is_full = points[columns.DEPTH].eq(n_layers).fillna(False).astype(bool)
    is_variant = points[columns.KIND] == VARIANT
    return points.loc[(is_variant & (is_full | is_first)) | (points[columns.KIND] == REFERENCE)].reset_index(drop=True)


def sliced_users(table: pd.DataFrame, facts: Mapping[str, Any] | None) -> int:
    """Returns how many users the groups of a slice hold together.

    Args:
        table: with slice, group and n_users.
        facts: `facts.json`; a user with several targets may be in several groups, but is evaluated once.
    """
    groups = table.drop_duplicates([columns.SLICE, columns.GROUP])
    most = int(groups.groupby(columns.SLICE)[columns.N_USERS].sum().max())
    return most if facts is None else min(most, facts["counts"]["evaluated_users"])


def of_model(points: pd.DataFrame, kind: str, selection: str) -> pd.DataFrame:
    """Returns the rows of one model, indexed by slice and group; empty where the study does not have it."""
    rows = points.loc[(points[columns.KIND] == kind) & (points[columns.SELECTION] == selection)]
    return rows.set_index([columns.SLICE, columns.GROUP])


def group_name(group: str, slice_name: str) -> str:
    """Returns how a group is called; targets never seen in training are `cold (0)`."""
    return f"cold ({group})" if (slice_name, group) == (columns.TARGET_POPULARITY, COLD) else group
