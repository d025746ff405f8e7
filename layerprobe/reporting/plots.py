"""Plots of a study's tables, for a notebook or a paper.

Each function takes a table and draws into axes of yours, by the code and in the style of the report's figures:
`plot_depth` takes `curve.csv`, `plot_similarity` takes `similarity/similarity.parquet`, `plot_importance` takes
`similarity/importance.csv`, `plot_decision` takes the decision and `plot_cost` takes `costs/front.csv`. Without axes it
makes new ones with pyplot, so that a notebook shows them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.legend_handler import HandlerTuple

from layerprobe import columns
from layerprobe.arguments import require_kind
from layerprobe.errors import InputError
from layerprobe.kinds import names_of
from layerprobe.reporting.figures import canvas
from layerprobe.reporting.figures.cost import cost_entries, depth_scale, draw_cost
from layerprobe.reporting.figures.decision.margin import draw_margin, margin_entries
from layerprobe.reporting.figures.depth_panel import draw_exits, draw_variants, exit_entries, variant_entries
from layerprobe.reporting.figures.importance import draw_bars
from layerprobe.reporting.figures.similarity import depth_bar, draw_similarity
from layerprobe.reporting.files.reading import with_columns, with_numbers
from layerprobe.reporting.tables.cost import limits_of, with_roles
from layerprobe.reporting.tables.curve import exits_table, full_depth, margin_table, variants_table
from layerprobe.reporting.tables.layers import similarity_matrix
from layerprobe.store.decision import DecisionRecord
from layerprobe.wording import metric_label

SIZE, MAP_SIZE = (6.4, 4.0), (5.2, 4.2)
"""Inches of new figures."""
PAIRS = (columns.MEASURE, columns.LAYER_A, columns.LAYER_B, columns.VALUE, columns.ROWS)
BARS = (columns.MEASURE, columns.LAYER, columns.VALUE, columns.CI_LOW, columns.CI_HIGH)


@mpl.rc_context(canvas.STYLE)
def plot_depth(
    curve: pd.DataFrame, metric: str = "ndcg", k: int = 10, ax: Axes | None = None, exits: bool = False
) -> Axes:
    """Draws a metric of the test targets (full ranking) against depth, beside the floors.

    Args:
        curve: table of `curve.csv`. With several seeds their mean is drawn.
        metric: `hr`, `ndcg` or `mrr`.
        k: a cut-off of the curve; 0 for `mrr`.
        ax: where to draw; None makes new axes.
        exits: False draws the models fine-tuned at each depth; True draws the one full model, read after k layers.

    Returns:
        The axes.

    Raises:
        InputError: `curve` is no such table, or holds no such metric or no such points; `ax` is no axes.
    """
    require_kind("metric", metric, str)
    require_kind("k", k, int)
    require_kind("exits", exits, bool)
    curve = _curve(curve)
    is_shown = (curve[columns.PROTOCOL] == "full") & (curve[columns.SPLIT] == "test")
    metrics = curve.loc[is_shown, [columns.METRIC, columns.K]].drop_duplicates()
    _require_known("metric and k", (metric, k), list(metrics.itertuples(index=False, name=None)))
    kinds = names_of("exit") if exits else names_of("variant")
    if not (is_shown & curve[columns.KIND].isin(kinds)).any():
        raise InputError(f"curve must hold test points of the kind {' or '.join(kinds)}; it has none")
    if exits:
        points, draw, entries = exits_table(curve, [(metric, k)]), draw_exits, exit_entries
    else:
        points, draw, entries = variants_table(curve, [(metric, k)]), draw_variants, variant_entries
    axes = _axes(ax, SIZE)
    floors = draw(axes, points, full_depth(curve))
    _legend(axes, entries(points) | floors)
    return axes


@mpl.rc_context(canvas.STYLE)
def plot_similarity(table: pd.DataFrame, measure: str = "cka", ax: Axes | None = None) -> Axes:
    """Draws the similarity of every pair of states as a heat map, on the fixed colour scale of the measure.

    Args:
        table: table of `similarity.parquet`. Where it compares several sets of rows the first is drawn.
        measure: one of its measures.
        ax: where to draw; None makes new axes. The colour bar stands at their right.

    Returns:
        The axes.

    Raises:
        InputError: `table` is no such table or does not hold the measure; `ax` is no axes.
    """
    table = _checked("table", table, PAIRS)
    _require_counts("table", table, (columns.LAYER_A, columns.LAYER_B))
    _require_known("measure", measure, table[columns.MEASURE].unique())
    rows = str(table.loc[table[columns.MEASURE] == measure, columns.ROWS].iloc[0])
    axes = _axes(ax, MAP_SIZE)
    draw_similarity(axes, similarity_matrix(table, measure, rows), measure, axes.inset_axes((1.03, 0.0, 0.04, 1.0)))
    axes.set_xlabel("state after k layers")
    axes.set_ylabel("state after k layers")
    return axes


@mpl.rc_context(canvas.STYLE)
def plot_importance(table: pd.DataFrame, measure: str = "block-influence", ax: Axes | None = None) -> Axes:
    """Draws what each layer does by one measure, with whiskers where intervals are known.

    Args:
        table: table of `importance.csv`.
        measure: one of its measures.
        ax: where to draw; None makes new axes.

    Returns:
        The axes.

    Raises:
        InputError: `table` is no such table or does not hold the measure; `ax` is no axes.
    """
    table = _checked("table", table, BARS)
    _require_counts("table", table, (columns.LAYER,))
    _require_known("measure", measure, table[columns.MEASURE].unique())
    axes = _axes(ax, SIZE)
    draw_bars(axes, table.loc[table[columns.MEASURE] == measure], measure)
    return axes


@mpl.rc_context(canvas.STYLE)
def plot_decision(decision: DecisionRecord, ax: Axes | None = None) -> Axes:
    """Draws the difference of every selection and floor from the full model, with intervals and the margin.

    Args:
        decision: what `decide` returns, or a study's `.decision`.
        ax: where to draw; None makes new axes.

    Returns:
        The axes.

    Raises:
        InputError: `decision` is none; `ax` is no axes.
    """
    decision = _record_of(decision)
    axes = _axes(ax, SIZE)
    table = margin_table(decision)
    draw_margin(axes, table, decision.margin)
    _legend(axes, margin_entries(table))
    return axes


@mpl.rc_context(canvas.STYLE)
def plot_cost(
    front: pd.DataFrame, decision: DecisionRecord, cost: str = columns.LATENCY_P95_1, ax: Axes | None = None
) -> Axes:
    """Draws the decision's metric against what each model costs, with the Pareto front as a step line.

    Args:
        front: table of `costs/front.csv`.
        decision: what `decide` returns, or a study's `.decision`; says which model is which, and the budget.
        cost: one of the table's costs.
        ax: where to draw; None makes new axes. The colour bar of depths stands at their right.

    Returns:
        The axes.

    Raises:
        InputError: `front` is no such table or does not hold the cost; `decision` is none; `ax` is no axes.
    """
    decision = _record_of(decision)
    front = _checked("front", front, columns.FRONT)
    _require_complete("front", front, (columns.AMOUNT, columns.VALUE))
    _require_known("cost", cost, front[columns.COST].unique())
    if front[columns.ON_FRONT].dtype != bool:
        raise InputError("front must hold True or False in the column on_front")
    rows = with_roles(front.loc[front[columns.COST] == cost], decision)
    limit = limits_of(decision).get(cost)
    axes = _axes(ax, SIZE)
    draw_cost(axes, rows, depth_scale(rows), limit)
    axes.set_ylabel(f"test {metric_label(decision.metric, decision.k)}")
    depth_bar(axes.inset_axes((1.03, 0.0, 0.03, 1.0)), depth_scale(rows))
    _legend(axes, cost_entries(rows, {} if limit is None else {cost: limit}))
    return axes


def _curve(curve: pd.DataFrame) -> pd.DataFrame:
    """Returns a checked curve with the types that `read_curve` gives, however it was read."""
    checked = _checked("curve", curve, columns.CURVE)
    _require_complete("curve", checked, (columns.VALUE,))
    _require_counts("curve", checked, (columns.K,))
    # A floor has no depth and no selection.
    _require_counts("curve", checked.loc[~checked[columns.KIND].isin(names_of("floor"))], (columns.DEPTH,))
    selection = checked[columns.SELECTION].fillna("").astype(str)
    return checked.assign(**{columns.DEPTH: checked[columns.DEPTH].astype("Int64"), columns.SELECTION: selection})


def _checked(name: str, table: Any, names: tuple[str, ...]) -> pd.DataFrame:
    """Returns the columns `names` of a table.

    Raises:
        InputError: it is no table, has no row, lacks a column, or a column of numbers holds something else.
    """
    if not isinstance(table, pd.DataFrame):
        raise InputError(f"{name} must be a pandas DataFrame; got {type(table).__name__}")
    table = with_numbers(name, with_columns(name, table, names), names)
    if table.empty:
        raise InputError(f"{name} must have at least one row; it is empty")
    return table


def _require_complete(name: str, table: pd.DataFrame, names: tuple[str, ...]) -> None:
    for column in names:
        if table[column].isna().any():
            raise InputError(f"{name} must have a value in every row of the column {column}; one is missing")


def _require_counts(name: str, table: pd.DataFrame, names: tuple[str, ...]) -> None:
    _require_complete(name, table, names)
    for column in names:
        wrong = table.loc[(table[column] < 0) | (table[column] % 1 != 0), column]
        if len(wrong):
            raise InputError(f"{name} must hold whole numbers from 0 on in the column {column}; got {wrong.iloc[0]}")


def _require_known(name: str, value: Any, known: Collection[Any]) -> None:
    if value not in list(known):
        shown = [metric_label(*entry) if isinstance(entry, tuple) else str(entry) for entry in (*known, value)]
        raise InputError(f"{name} must be one of {', '.join(shown[:-1])}; got {shown[-1]}")


def _record_of(decision: Any) -> DecisionRecord:
    """Returns the record of a decision, whether it was just made by `decide` or read from a study."""
    record = decision.record() if callable(getattr(decision, "record", None)) else decision
    if not isinstance(record, DecisionRecord):
        raise InputError(
            f"decision must be what decide(...) returns, or a study's .decision; got a {type(decision).__name__}"
        )
    return record


def _axes(ax: Any, size: tuple[float, float]) -> Axes:
    """Returns the given axes in the report's style, or new ones."""
    if ax is None:
        from matplotlib import pyplot as plt  # its figures show themselves in a notebook

        return plt.subplots(figsize=size, layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise InputError(f"ax must be matplotlib axes; got {type(ax).__name__}")
    canvas.restyle(ax)
    return ax


def _legend(axes: Axes, entries: Mapping[str, Any]) -> None:
    """Writes the legend inside the axes, where it hides the least."""
    handler = {tuple: HandlerTuple(ndivide=1)}  # artists of a tuple are drawn over each other
    axes.legend(list(entries.values()), list(entries), loc="best", handler_map=handler, framealpha=0.85)
