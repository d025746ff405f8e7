"""Tidy tables behind the figures of a report, picked from a study's files; each is saved beside its figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.errors import InputError, StudyError
from layerprobe.reporting.words import EXITS, FLOORS

FAMILY = "family"
N_SEEDS = "n_seeds"
HEADLINE = (("ndcg", 10), ("hr", 10))
POINT = [columns.KIND, FAMILY, columns.SELECTION, columns.DEPTH, columns.METRIC, columns.K]
ROUNDING = 1e-6

RELATIVE, RELATIVE_LOW, RELATIVE_HIGH = "relative", "relative_ci_low", "relative_ci_high"
RELATIVE_BOUND, NOT_WORSE, CHOSEN, NAME = "relative_lower_bound", "not_worse", "chosen", "name"


def full_depth(curve: pd.DataFrame) -> int:
    """Returns L, the largest depth among variants and exits.

    Raises:
        InputError: the curve has no variant and no exit.
    """
    depths = curve.loc[curve[columns.KIND].isin(("variant", *EXITS)), columns.DEPTH]
    if depths.empty:
        raise InputError("the curve must hold a variant or an exit; it has neither: run the study's probe stage")
    return int(depths.max())


def variants_table(
    curve: pd.DataFrame,
    metrics: Sequence[tuple[str, int]] = HEADLINE,
    protocol: str = "full",
    split: str = "test",
) -> pd.DataFrame:
    """Picks models fine-tuned at each depth, distilled students and floors; one row per point and metric.

    With several seeds the value is their mean and the interval reaches from the lowest to the highest bound.

    Returns:
        Columns kind, family (selection up to the colon), selection, depth, metric, k, value, ci_low, ci_high, n_users,
        n_seeds.
    """
    return _points(curve, ("variant", "distilled", *FLOORS), metrics, protocol, split)


def exits_table(
    curve: pd.DataFrame,
    metrics: Sequence[tuple[str, int]] = HEADLINE,
    protocol: str = "full",
    split: str = "test",
) -> pd.DataFrame:
    """Picks both kinds of exits of the one full model, and the floors; columns as `variants_table`."""
    return _points(curve, (*EXITS, *FLOORS), metrics, protocol, split)


def _points(
    curve: pd.DataFrame, kinds: tuple[str, ...], metrics: Sequence[tuple[str, int]], protocol: str, split: str
) -> pd.DataFrame:
    wanted = pd.MultiIndex.from_tuples(list(metrics))
    is_metric = pd.MultiIndex.from_frame(curve[[columns.METRIC, columns.K]]).isin(wanted)
    is_part = (curve[columns.PROTOCOL] == protocol) & (curve[columns.SPLIT] == split)
    rows = curve[is_metric & is_part & curve[columns.KIND].isin(kinds)]
    if rows.empty:
        names = ", ".join(f"{metric}@{k}" for metric, k in metrics)
        raise InputError(f"the curve must hold {names}, protocol {protocol}, split {split}; it has no such row")
    selection = rows[columns.SELECTION].fillna("").astype(str)
    rows = rows.assign(**{columns.SELECTION: selection, FAMILY: selection.str.split(":").str[0]})
    return rows.groupby(POINT, sort=False, dropna=False, as_index=False).agg(
        **{
            columns.VALUE: (columns.VALUE, "mean"),
            columns.CI_LOW: (columns.CI_LOW, "min"),
            columns.CI_HIGH: (columns.CI_HIGH, "max"),
            columns.N_USERS: (columns.N_USERS, "max"),
            N_SEEDS: (columns.SEED, "size"),
        }
    )


def margin_table(decision: dict[str, Any]) -> pd.DataFrame:
    """Puts depths and floors of a decision into one table, differences relative to the full model's value.

    Returns:
        Columns name, depth (missing for floors), relative, relative_ci_low, relative_ci_high, relative_lower_bound
        (missing for floors), not_worse, chosen. Relative values are shares: -0.02 is 2 % below the full model.
    """
    full = next(row["value"] for row in decision["depths"] if row["depth"] == decision["full_depth"])
    rows = pd.DataFrame([*decision["depths"], *decision["baselines"]]).reindex(
        columns=[columns.DEPTH, NAME, "difference", columns.CI_LOW, columns.CI_HIGH, "lower_bound", NOT_WORSE]
    )
    return pd.DataFrame(
        {
            NAME: rows[NAME].fillna(""),
            columns.DEPTH: rows[columns.DEPTH].astype("Int64"),
            RELATIVE: rows["difference"].astype(float) / full,
            RELATIVE_LOW: rows[columns.CI_LOW].astype(float) / full,
            RELATIVE_HIGH: rows[columns.CI_HIGH].astype(float) / full,
            RELATIVE_BOUND: rows["lower_bound"].astype(float) / full,
            NOT_WORSE: rows[NOT_WORSE].astype(bool),
            CHOSEN: rows[columns.DEPTH].eq(decision["depth"]),
        }
    )


def similarity_matrix(similarity: pd.DataFrame, measure: str, rows: str) -> np.ndarray:
    """Returns one measure as a symmetric matrix [L + 1, L + 1]; NaN where no pair is stored."""
    one = similarity[(similarity[columns.MEASURE] == measure) & (similarity[columns.ROWS] == rows)]
    first, second = one[columns.LAYER_A].to_numpy(), one[columns.LAYER_B].to_numpy()
    size = int(max(first.max(), second.max())) + 1
    matrix = np.full((size, size), np.nan)
    matrix[second, first] = one[columns.VALUE]
    matrix[first, second] = one[columns.VALUE]
    return matrix


def check_consistency(curve: pd.DataFrame) -> None:
    """Checks that HR and NDCG of every point can belong to one list of ranks.

    With h_k = HR@k, every hit beyond rank 1 and up to k gains between 1 / log2(k + 1) and 1 / log2(3), so NDCG@k lies
    in [h_1 + (h_k - h_1) / log2(k + 1), h_1 + (h_k - h_1) / log2(3)]. Without h_1 in the table only
    [h_k / log2(k + 1), h_k] can be asked for. Published tables break this rule; ours must not.

    Raises:
        StudyError: a point breaks the rule.
    """
    point = curve[list(columns.CURVE[:6])].astype(str).agg(" ".join, axis=1)
    wide = curve.assign(point=point).pivot(index="point", columns=[columns.METRIC, columns.K], values=columns.VALUE)
    for k in sorted({k for metric, k in wide.columns if metric == "ndcg" and ("hr", k) in wide.columns}):
        hits, gain = wide[("hr", k)], wide[("ndcg", k)]
        low, high = _ndcg_range(hits, wide[("hr", 1)] if ("hr", 1) in wide.columns else None, k)
        broken = (gain < low - ROUNDING) | (gain > high + ROUNDING)
        if broken.any():
            row = broken.idxmax()
            raise StudyError(
                f"curve.csv, {row}: NDCG@{k} must lie in [{low[row]:.4f}, {high[row]:.4f}] to fit HR@{k} = "
                f"{hits[row]:.4f}; got {gain[row]:.4f}; the table is damaged: delete curve.csv and run the probe stage"
            )


def _ndcg_range(hits: pd.Series, first: pd.Series | None, k: int) -> tuple[pd.Series, pd.Series]:
    if first is None:
        return hits / np.log2(k + 1), hits
    if k == 1:
        return hits, hits
    return first + (hits - first) / np.log2(k + 1), first + (hits - first) / np.log2(3)
