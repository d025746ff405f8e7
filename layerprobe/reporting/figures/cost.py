"""The figure of quality against cost: one panel per cost, one point per model, the Pareto front as a step line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from layerprobe import columns
from layerprobe.kinds import VARIANT
from layerprobe.reporting.figures import canvas
from layerprobe.reporting.figures.similarity import depth_bar
from layerprobe.reporting.tables.cost import BUDGET, DECIDED, FULL, ROLE
from layerprobe.wording import keeps_first

PANEL_WIDTH, PANEL_HEIGHT = 3.2, 2.9
LEFT, BETWEEN, BELOW, ABOVE = 0.8, 0.55, 0.5, 0.95
WIDE_RANGE = 8.0
"""From this ratio of the largest to the smallest cost on, the axis is logarithmic."""
TITLES = {columns.LATENCY_P95_1: "latency of a request of one user", columns.PARAMETERS: "parameters"}
AXES = {columns.LATENCY_P95_1: "ms (p95)", columns.PARAMETERS: "parameters, item table included"}
ROLE_LOOKS: dict[str, tuple[str, dict[str, Any]]] = {
    FULL: ("full model", {"marker": "o", "s": 150, "edgecolors": canvas.INK}),
    DECIDED: ("decided selection", {"marker": "s", "s": 190, "edgecolors": canvas.VERMILION}),
    BUDGET: ("pick within the budget", {"marker": "D", "s": 210, "edgecolors": canvas.PURPLE}),
}
KINDS = (("first:k", "o"), ("other selection", "^"))


@mpl.rc_context(canvas.STYLE)
def cost_figure(table: pd.DataFrame, limits: Mapping[str, float], metric: str, caption: str) -> Figure:
    """Draws the metric against each cost; variants coloured by depth, SASRec as a star.

    Args:
        table: rows of `front.csv` with the column `role`.
        limits: the budget, by the name of the cost; drawn as a line.
        metric: name of the metric, for example `NDCG@10`.
        caption: footnote; says what the front is and where latencies were measured, and the commit.
    """
    foot = canvas.footnote_height(caption)
    entries = cost_entries(table, limits)
    lines = len(canvas.legend_lines(list(entries)))
    figure = canvas.new_figure(foot + BELOW + PANEL_HEIGHT + ABOVE + (lines - 1) * canvas.LEGEND_LINE)
    canvas.title(figure, f"{metric} against cost")
    canvas.footnote(figure, caption)
    scale = depth_scale(table)
    span = canvas.span(table[columns.VALUE], 0.1)
    for position, (cost, rows) in enumerate(table.groupby(columns.COST, sort=False)):
        left = LEFT + position * (PANEL_WIDTH + BETWEEN)
        axes = canvas.panel(figure, left, foot + BELOW, PANEL_WIDTH, PANEL_HEIGHT)
        draw_cost(axes, rows, scale, limits.get(str(cost)))
        axes.set_ylim(*span)
        if position:
            axes.set_yticklabels([])
        else:
            axes.set_ylabel(f"test {metric}")
    left = LEFT + 2 * PANEL_WIDTH + BETWEEN + 0.2
    depth_bar(canvas.panel(figure, left, foot + BELOW, canvas.BAR_WIDTH, PANEL_HEIGHT), scale, 9)
    canvas.legend_strip(figure, list(entries.values()), list(entries))
    return figure


def depth_scale(table: pd.DataFrame) -> Normalize:
    """Returns what the colours mean: from 0 to the largest depth."""
    deepest = table[columns.DEPTH].max()
    return Normalize(0, 1 if pd.isna(deepest) else max(1, int(deepest)))


def draw_cost(axes: Axes, rows: pd.DataFrame, scale: Normalize, limit: float | None) -> None:
    """Draws the panel of one cost.

    Args:
        axes: where to draw.
        rows: rows of `front.csv` of one cost, with the column `role`.
        scale: `depth_scale`.
        limit: the budget for this cost, drawn as a line; None where there is none.
    """
    _step(axes, rows.loc[rows[columns.ON_FRONT]], float(rows[columns.AMOUNT].max()))
    is_variant = rows[columns.KIND] == VARIANT
    is_first = np.array([keeps_first(str(text)) for text in rows[columns.SELECTION]])
    for (_, marker), chosen in zip(KINDS, (is_variant & is_first, is_variant & ~is_first), strict=True):
        variants = rows.loc[chosen]
        axes.scatter(
            variants[columns.AMOUNT], variants[columns.VALUE], c=variants[columns.DEPTH].astype(float), norm=scale,
            cmap=canvas.DEPTH_COLOURS, marker=marker, s=34, edgecolors=canvas.INK, linewidths=0.6, zorder=3,
        )  # fmt: skip
    floors = rows.loc[~is_variant]
    axes.scatter(floors[columns.AMOUNT], floors[columns.VALUE], color=canvas.ORANGE, marker="*", s=110,
                 edgecolors=canvas.INK, linewidths=0.6, zorder=3)  # fmt: skip
    for role, (_, look) in ROLE_LOOKS.items():
        marked = rows.loc[[role in str(roles).split(",") for roles in rows[ROLE]]]
        axes.scatter(marked[columns.AMOUNT], marked[columns.VALUE], facecolors="none", linewidths=1.4, zorder=4, **look)
    axes.grid(color=canvas.PALE, lw=0.7)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    _cost_axis(axes, str(rows[columns.COST].iloc[0]), rows[columns.AMOUNT], limit)


def _step(axes: Axes, front: pd.DataFrame, end: float) -> None:
    """Draws the best quality that each cost up to `end` buys."""
    if front.empty:
        return
    ordered = front.sort_values([columns.AMOUNT, columns.VALUE])
    amount, value = (ordered[name].to_numpy(float) for name in (columns.AMOUNT, columns.VALUE))
    axes.step([*amount, end], [*value, value[-1]], where="post", color=canvas.BLUE, lw=1.4, zorder=2)


def _cost_axis(axes: Axes, cost: str, amount: pd.Series, limit: float | None) -> None:
    ends = [float(amount.min()), float(amount.max()), *([] if limit is None else [limit])]
    low, high = min(ends), max(ends)
    if low > 0 and high / low >= WIDE_RANGE:
        room = (high / low) ** 0.07
        axes.set_xscale("log")
        axes.set_xlim(low / room, high * room)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 200 else (1.0,), numticks=6))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        room = 0.07 * max(high - low, 1e-3 * high)
        axes.set_xlim(low - room, high + room)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_formatter(EngFormatter(sep="") if cost == columns.PARAMETERS else plain)
    if limit is not None:
        axes.axvline(limit, color=canvas.PURPLE, lw=1.2, ls="--", zorder=1)
    axes.set_title(TITLES.get(cost, cost), loc="left", fontsize=10)
    axes.set_xlabel(AXES.get(cost, cost))


def cost_entries(table: pd.DataFrame, limits: Mapping[str, float]) -> dict[str, Line2D]:
    """Returns the legend's handles by their texts: what the figure shows and nothing else."""
    entries = {"Pareto front": Line2D([], [], color=canvas.BLUE, lw=1.4)}
    variants = table.loc[table[columns.KIND] == VARIANT, columns.SELECTION]
    shown = {keeps_first(str(text)) for text in variants}
    for (text, marker), is_first in zip(KINDS, (True, False), strict=True):
        if is_first in shown:
            entries[text] = Line2D([], [], ls="", marker=marker, mfc=canvas.PALE, mec=canvas.INK, ms=6)
    if (table[columns.KIND] != VARIANT).any():
        entries["SASRec"] = Line2D([], [], ls="", marker="*", mfc=canvas.ORANGE, mec=canvas.INK, ms=10)
    roles = {role for text in table[ROLE] for role in str(text).split(",")}
    for role, (text, look) in ROLE_LOOKS.items():
        if role in roles:
            mark = {"ls": "", "marker": look["marker"], "mec": look["edgecolors"], "mfc": "none", "ms": 10}
            entries[text] = Line2D([], [], **mark)
    if limits:
        entries["budget"] = Line2D([], [], color=canvas.PURPLE, lw=1.2, ls="--")
    return entries
