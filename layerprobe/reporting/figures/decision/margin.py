"""The figure behind the decision: the difference of each depth and floor from the full model, and the margin."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from layerprobe.reporting.figures import canvas
from layerprobe.reporting.figures.decision.places import family, groups, name_places, places, tick_room
from layerprobe.reporting.figures.direct_labels import EdgeLabel, label_right_edge
from layerprobe.reporting.tables.curve import (
    CHOSEN,
    RELATIVE,
    RELATIVE_BOUND,
    RELATIVE_HIGH,
    RELATIVE_LOW,
    VERDICT,
)
from layerprobe.wording import level

PANEL_WIDTH, PANEL_HEIGHT, WIDE_PANEL, PANEL_TITLE = 3.3, 2.6, 6.9, 0.3
MOST_BESIDE = 18
"""Rows that fit a panel of half the figure's width."""
ZOOM = 5.0
TOP_ROOM = 0.95
LOOKS = {
    "better": (canvas.GREEN, "D"),
    "not worse": (canvas.BLUE, "o"),
    "undecided": (canvas.QUIET, "s"),
    "untested": (canvas.QUIET, "x"),
    "worse": (canvas.VERMILION, "X"),
}


@mpl.rc_context(canvas.STYLE)
def margin_figure(table: pd.DataFrame, margin: float, metric: str, caption: str) -> Figure:
    """Draws relative differences from the full model with intervals; all of them, then only those near the margin.

    The two panels stand side by side, or one above the other where many selections need the width. A point outside the
    second panel is shown as an arrow at its edge.

    Args:
        table: `tables.margin_table`.
        margin: allowed loss as a share of the full model's value, above 0.
        metric: name of the metric, for example `NDCG@10`.
        caption: footnote; says what the intervals are, over how many users, and the commit.
    """
    bottom = canvas.footnote_height(caption) + tick_room(table)
    is_wide = bool(groups(table)[1].any()) and len(table) > MOST_BESIDE
    above = PANEL_HEIGHT + tick_room(table) + PANEL_TITLE if is_wide else 0.0
    shown = family(table)
    legend = margin_entries(table)
    top = TOP_ROOM + (len(canvas.legend_lines(list(legend))) - 1) * canvas.LEGEND_LINE
    figure = canvas.new_figure(bottom + above + PANEL_HEIGHT + top)
    canvas.title(figure, f"{metric}: difference from the full model")
    canvas.footnote(figure, caption)
    for position, name in enumerate((f"all {shown} and floors", "the same, close to the margin")):
        left, height = (0.75, bottom + (1 - position) * above) if is_wide else (0.75 + position * 4.2, bottom)
        axes = canvas.panel(figure, left, height, WIDE_PANEL if is_wide else PANEL_WIDTH, PANEL_HEIGHT)
        axes.set_title(name, loc="left", fontsize=10)
        draw_margin(axes, table, margin)
        if position:
            axes.set_ylabel("")
            _zoom(axes, table, ZOOM * margin)
            label_right_edge(axes, [EdgeLabel(0, "full"), EdgeLabel(-100 * margin, f"-{level(margin)}")])
    canvas.legend_strip(figure, list(legend.values()), list(legend))
    return figure


def draw_margin(axes: Axes, table: pd.DataFrame, margin: float) -> None:
    """Draws one panel with all rows, the full model's line and the margin.

    Args:
        axes: where to draw.
        table: `tables.margin_table`.
        margin: allowed loss as a share of the full model's value.
    """
    place = places(table)
    low, high, bound = (100 * table[name].to_numpy(float) for name in (RELATIVE_LOW, RELATIVE_HIGH, RELATIVE_BOUND))
    value = 100 * table[RELATIVE].to_numpy(float)
    for verdict, (colour, marker) in LOOKS.items():
        rows = (table[VERDICT] == verdict).to_numpy(bool)
        axes.vlines(place[rows], low[rows], high[rows], colors=colour, lw=1.6)
        axes.scatter(place[rows], bound[rows], color=colour, marker="_", s=70, linewidths=2)
        axes.scatter(place[rows], value[rows], color=colour, marker=marker, s=30, zorder=3)
    chosen = table[CHOSEN].to_numpy(bool)
    _ring(axes, place[chosen], value[chosen])
    name_places(axes, table, place)
    axes.grid(axis="y", color=canvas.PALE, lw=0.7)
    axes.axhline(0, color=canvas.INK, lw=1)
    axes.axhline(-100 * margin, color=canvas.INK, lw=1.2, ls="--")
    axes.set_ylabel("difference, % of full model")


def _ring(axes: Axes, place: np.ndarray, value: np.ndarray) -> None:
    axes.scatter(place, value, s=150, facecolors="none", edgecolors=canvas.INK, linewidths=1.2, zorder=4)


def _zoom(axes: Axes, table: pd.DataFrame, reach: float) -> None:
    """Limits the panel to +- `reach` (a share) and marks what lies outside by arrows."""
    edge = 100 * reach
    axes.set_ylim(-edge, edge)
    place = places(table)
    value = 100 * table[RELATIVE].to_numpy(float)
    colours = np.array([LOOKS[verdict][0] for verdict in table[VERDICT]])
    for sign, marker in ((-1, "v"), (1, "^")):
        outside = sign * value > edge
        at_edge = np.full(outside.sum(), 0.94 * sign * edge)
        ringed = outside & table[CHOSEN].to_numpy(bool)
        _ring(axes, place[ringed], np.full(ringed.sum(), 0.94 * sign * edge))
        axes.scatter(place[outside], at_edge, c=list(colours[outside]), marker=marker, s=40, zorder=3)


def margin_entries(table: pd.DataFrame) -> dict[str, Line2D]:
    """Returns the legend's handles by their texts.

    Args:
        table: `tables.margin_table`.
    """
    verdicts = set(table[VERDICT])
    entries = {
        text: Line2D([], [], color=colour, marker=marker, lw=1.6, ms=6)
        for text, (colour, marker) in LOOKS.items()
        if text in verdicts
    }
    entries["lower bound"] = Line2D([], [], color=canvas.QUIET, marker="_", ls="", ms=11, mew=2)
    entries["margin"] = Line2D([], [], color=canvas.INK, lw=1.2, ls="--")
    if table[CHOSEN].any():
        entries[_marked(table)] = Line2D([], [], ls="", marker="o", ms=12, mfc="none", mec=canvas.INK)
    return entries


def _marked(table: pd.DataFrame) -> str:
    """Returns what the ring marks."""
    chosen = table[CHOSEN].to_numpy(bool)
    return "baseline to use" if (groups(table)[2] & chosen).any() else f"chosen {family(table)[:-1]}"
