"""The tidy tables that the depth and margin figures show, made from a study's files; each is saved with its figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.errors import InputError, StudyError
from layerprobe.kinds import names_of
from layerprobe.store.decision import FULL_NEEDED, DecisionRecord, FloorRow, SelectionRow
from layerprobe.wording import keeps_first

FAMILY = "family"
N_SEEDS = "n_seeds"
HEADLINE = (("ndcg", 10), ("hr", 10))
POINT = [columns.KIND, FAMILY, columns.SELECTION, columns.DEPTH, columns.METRIC, columns.K]
ROUNDING = 1e-6

RELATIVE, RELATIVE_LOW, RELATIVE_HIGH = "relative", "relative_ci_low", "relative_ci_high"
RELATIVE_BOUND, VERDICT, CHOSEN, NAME = "relative_lower_bound", "verdict", "chosen", "name"


def full_depth(curve: pd.DataFrame) -> int:
    """Returns L, the largest depth among variants and exits.

    Raises:
        InputError: the curve has no variant and no exit.
    """
    depths = curve.loc[curve[columns.KIND].isin(names_of("variant", "exit")), columns.DEPTH]
    if depths.empty:
        raise InputError("the curve must hold a variant or an exit; it has neither: run the study's probe stage")
    return int(depths.max())


def variants_table(
    curve: pd.DataFrame,
    metrics: Sequence[tuple[str, int]] = HEADLINE,
    protocol: str = "full",
    split: str = "test",
) -> pd.DataFrame:
    """Picks fine-tuned models, their control twins, distilled students and floors; one row per point and metric.

    With several seeds the value is their mean and the interval reaches from the lowest to the highest bound.

    Returns:
        Columns kind, family (selection up to the colon), selection, depth, metric, k, value, ci_low, ci_high, n_users,
        n_seeds.
    """
    return _points(curve, names_of("variant", "control", "student", "floor"), metrics, protocol, split)


def exits_table(
    curve: pd.DataFrame,
    metrics: Sequence[tuple[str, int]] = HEADLINE,
    protocol: str = "full",
    split: str = "test",
) -> pd.DataFrame:
    """Picks all kinds of exits of the one full model, and the floors; columns as `variants_table`."""
    return _points(curve, names_of("exit", "floor"), metrics, protocol, split)


def _points(
    curve: pd.DataFrame, kinds: tuple[str, ...], metrics: Sequence[tuple[str, int]], protocol: str, split: str
) -> pd.DataFrame:
    is_part = (curve[columns.PROTOCOL] == protocol) & (curve[columns.SPLIT] == split)
    rows = curve.loc[is_part & curve[columns.KIND].isin(kinds) & is_metric(curve, metrics)]
    if rows.empty:
        names = ", ".join(f"{metric}@{k}" for metric, k in metrics)
        raise InputError(f"the curve must hold {names}, protocol {protocol}, split {split}; it has no such row")
    rows = rows.assign(**{FAMILY: [text.split(":")[0] for text in rows[columns.SELECTION]]})
    points = rows.groupby(POINT, sort=False, dropna=False, as_index=False).agg(
        **{
            columns.VALUE: (columns.VALUE, "mean"),
            columns.CI_LOW: (columns.CI_LOW, "min"),
            columns.CI_HIGH: (columns.CI_HIGH, "max"),
            columns.N_USERS: (columns.N_USERS, "max"),
            N_SEEDS: (columns.SEED, "size"),
        }
    )
    place = pd.MultiIndex.from_tuples(list(metrics)).get_indexer(_metric_index(points))
    return points.iloc[np.argsort(place, kind="stable")].reset_index(drop=True)


def margin_table(decision: DecisionRecord) -> pd.DataFrame:
    """Puts selections and floors of a decision into one table, differences relative to the full model's value.

    Returns:
        Columns name (of a floor, or of a selection other than `first:k`), depth (missing for floors), relative,
        relative_ci_low, relative_ci_high, relative_lower_bound, verdict, chosen. Relative values are shares: -0.02 is
        2 % below the full model. Chosen is what the verdict says to use: a smaller selection or a baseline.
    """
    advised = None if decision.verdict == FULL_NEEDED else decision.advised
    rows: list[SelectionRow | FloorRow] = [*decision.depths, *decision.baselines]
    full = decision.full.value
    return pd.DataFrame(
        {
            NAME: [row_name(row) for row in rows],
            columns.DEPTH: pd.array([_row_depth(row) for row in rows], dtype="Int64"),
            RELATIVE: [row.relative for row in rows],
            RELATIVE_LOW: [row.ci_low / full for row in rows],
            RELATIVE_HIGH: [row.ci_high / full for row in rows],
            RELATIVE_BOUND: [row.lower_bound / full for row in rows],
            VERDICT: [row.verdict for row in rows],
            CHOSEN: [row == advised for row in rows],
        }
    )


def row_name(row: SelectionRow | FloorRow) -> str:
    """Returns the name of a floor, or of a selection other than `first:k`; empty for those."""
    if isinstance(row, FloorRow):
        return row.name
    return "" if keeps_first(row.text) else row.text


def _row_depth(row: SelectionRow | FloorRow) -> int | None:
    return None if isinstance(row, FloorRow) else row.depth


def is_metric(curve: pd.DataFrame, metrics: Sequence[tuple[str, int]]) -> np.ndarray:
    """Tells which rows hold one of the (metric, k) pairs, shape (rows,)."""
    return _metric_index(curve).isin(pd.MultiIndex.from_tuples(list(metrics)))


def _metric_index(curve: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([curve[columns.METRIC], curve[columns.K]])


def check_consistency(curve: pd.DataFrame) -> None:
    """Checks that HR and NDCG of every point can belong to one list of ranks.

    With h_k = HR@k, every hit beyond rank 1 and up to k gains between 1 / log2(k + 1) and 1 / log2(3), so NDCG@k lies
    in [h_1 + (h_k - h_1) / log2(k + 1), h_1 + (h_k - h_1) / log2(3)]. Without h_1 in the table only
    [h_k / log2(k + 1), h_k] can be checked. Some published tables break this rule.

    Raises:
        StudyError: a point breaks the rule.
    """
    keys = list(columns.CURVE[: columns.CURVE.index(columns.METRIC)])
    point = curve.groupby(keys, sort=False, dropna=False).ngroup()
    names = [columns.METRIC, columns.K]
    # [point, (metric, k)]
    wide = curve.assign(point=point).pivot_table(index="point", columns=names, values=columns.VALUE)
    for k in sorted({k for metric, k in wide.columns if metric == "ndcg" and ("hr", k) in wide.columns}):
        hits, gain = wide[("hr", k)], wide[("ndcg", k)]
        first = wide[("hr", 1)] if ("hr", 1) in wide.columns else hits * np.nan
        low, high = _ndcg_range(hits, first, k)
        broken = (gain < low - ROUNDING) | (gain > high + ROUNDING)
        if broken.any():
            row = broken.idxmax()
            where = " ".join(str(value) for value in curve[point == row].iloc[0][keys])
            raise StudyError(
                f"curve.csv, {where}: NDCG@{k} must lie in [{low[row]:.4f}, {high[row]:.4f}] to fit HR@{k} = "
                f"{hits[row]:.4f}; got {gain[row]:.4f}; the table is damaged: delete curve.csv and run the curve stage"
            )


def _ndcg_range(hits: pd.Series, first: pd.Series, k: int) -> tuple[pd.Series, pd.Series]:
    """Returns the bounds of NDCG@k; where HR@1 is not known (NaN) it may lie anywhere in [0, HR@k]."""
    low = first.fillna(0) + (hits - first.fillna(0)) / np.log2(k + 1)
    high = first.fillna(hits) + (hits - first.fillna(hits)) / np.log2(3)
    return (hits, hits) if k == 1 else (low, high)
