"""The figure behind the decision: the difference of each depth and floor from the full model, and the margin."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from layerprobe import columns
from layerprobe.kinds import label_of
from layerprobe.reporting.figures import canvas
from layerprobe.reporting.figures.direct_labels import EdgeLabel, label_right_edge
from layerprobe.reporting.figures.ticks import depth_ticks
from layerprobe.reporting.tables.curve import (
    CHOSEN,
    NAME,
    RELATIVE,
    RELATIVE_BOUND,
    RELATIVE_HIGH,
    RELATIVE_LOW,
    VERDICT,
)
from layerprobe.reporting.words.formats import shortened
from layerprobe.wording import level

PANEL_WIDTH, PANEL_HEIGHT, WIDE_PANEL, PANEL_TITLE = 3.3, 2.6, 6.9, 0.3
MOST_BESIDE = 18
"""Rows that fit a panel of half the figure's width."""
NAME_CHARACTER = 0.065
ZOOM = 5.0
FLOOR_STEPS = 10
MOST_NAMES = 24
TICK_ROOM, TOP_ROOM = 1.1, 0.95
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
    bottom = canvas.footnote_height(caption) + _tick_room(table)
    is_wide = bool(_groups(table)[1].any()) and len(table) > MOST_BESIDE
    above = PANEL_HEIGHT + _tick_room(table) + PANEL_TITLE if is_wide else 0.0
    family = _family(table)
    legend = margin_entries(table)
    top = TOP_ROOM + (len(canvas.legend_lines(list(legend))) - 1) * canvas.LEGEND_LINE
    figure = canvas.new_figure(bottom + above + PANEL_HEIGHT + top)
    canvas.title(figure, f"{metric}: difference from the full model")
    canvas.footnote(figure, caption)
    for position, name in enumerate((f"all {family} and floors", "the same, close to the margin")):
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


def _tick_room(table: pd.DataFrame) -> float:
    """Returns the inches below a panel: for the longest slanted name, then the axis label."""
    return max(TICK_ROOM, 0.45 + NAME_CHARACTER * max(len(shortened(str(name))) for name in table[NAME]))


def draw_margin(axes: Axes, table: pd.DataFrame, margin: float) -> None:
    """Draws one panel with all rows, the full model's line and the margin.

    Args:
        axes: where to draw.
        table: `tables.margin_table`.
        margin: allowed loss as a share of the full model's value.
    """
    place = _places(table)
    low, high, bound = (100 * table[name].to_numpy(float) for name in (RELATIVE_LOW, RELATIVE_HIGH, RELATIVE_BOUND))
    value = 100 * table[RELATIVE].to_numpy(float)
    for verdict, (colour, marker) in LOOKS.items():
        rows = (table[VERDICT] == verdict).to_numpy(bool)
        axes.vlines(place[rows], low[rows], high[rows], colors=colour, lw=1.6)
        axes.scatter(place[rows], bound[rows], color=colour, marker="_", s=70, linewidths=2)
        axes.scatter(place[rows], value[rows], color=colour, marker=marker, s=30, zorder=3)
    chosen = table[CHOSEN].to_numpy(bool)
    _ring(axes, place[chosen], value[chosen])
    _name_places(axes, table, place)
    axes.grid(axis="y", color=canvas.PALE, lw=0.7)
    axes.axhline(0, color=canvas.INK, lw=1)
    axes.axhline(-100 * margin, color=canvas.INK, lw=1.2, ls="--")
    axes.set_ylabel("difference, % of full model")


def _ring(axes: Axes, place: np.ndarray, value: np.ndarray) -> None:
    axes.scatter(place, value, s=150, facecolors="none", edgecolors=canvas.INK, linewidths=1.2, zorder=4)


def _places(table: pd.DataFrame) -> np.ndarray:
    """Returns where each row stands: `first:k` one apart, then others and floors, with room for names."""
    first, other, floor = _groups(table)
    step = max(1.0, first.sum() / FLOOR_STEPS)
    further = np.where(other, np.cumsum(other), other.sum() + np.cumsum(floor))
    return np.where(first, np.cumsum(first) - 1, first.sum() - 1 + step * further)


def _groups(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tells which rows are `first:k`, which other selections and which floors; each shape (rows,)."""
    floor = table[columns.DEPTH].isna().to_numpy(bool)
    named = (table[NAME] != "").to_numpy(bool)
    return ~floor & ~named, ~floor & named, floor


def _name_places(axes: Axes, table: pd.DataFrame, place: np.ndarray) -> None:
    depth = table[columns.DEPTH]
    is_depth, is_other, is_floor = _groups(table)
    every = 1 + is_other.sum() // MOST_NAMES
    named = (depth.isin(depth_ticks(int(depth.max()))).to_numpy(bool) & is_depth) | is_floor
    named |= is_other & ((np.cumsum(is_other) % every == 0) | table[CHOSEN].to_numpy(bool))
    names = [
        str(k) if known else shortened(label_of(str(name)))
        for k, known, name in zip(depth, is_depth, table[NAME], strict=True)
    ]
    axes.set_xticks(place[named], [name for name, shown in zip(names, named, strict=True) if shown])
    for text, known in zip(axes.get_xticklabels(), is_depth[named], strict=True):
        text.set_rotation(0 if known else 60)
        text.set_horizontalalignment("center" if known else "right")
        text.set_rotation_mode("default" if known else "anchor")
    axes.set_xlabel("depth k (layers)", loc="left")
    edge = (place.max() - place.min()) / 16 + 0.1
    axes.set_xlim(place.min() - edge, place.max() + edge)
    groups = [place[group] for group in (is_depth, is_other, is_floor) if group.any()]
    for left, right in zip(groups, groups[1:], strict=False):
        axes.axvline((left.max() + right.min()) / 2, color=canvas.PALE, lw=1)


def _zoom(axes: Axes, table: pd.DataFrame, reach: float) -> None:
    """Limits the panel to +- `reach` (a share) and marks what lies outside by arrows."""
    edge = 100 * reach
    axes.set_ylim(-edge, edge)
    place = _places(table)
    value = 100 * table[RELATIVE].to_numpy(float)
    colours = np.array([LOOKS[verdict][0] for verdict in table[VERDICT]])
    for sign, marker in ((-1, "v"), (1, "^")):
        outside = sign * value > edge
        at_edge = np.full(outside.sum(), 0.94 * sign * edge)
        ringed = outside & table[CHOSEN].to_numpy(bool)
        _ring(axes, place[ringed], np.full(ringed.sum(), 0.94 * sign * edge))
        axes.scatter(place[outside], at_edge, c=list(colours[outside]), marker=marker, s=40, zorder=3)


def _family(table: pd.DataFrame) -> str:
    return "selections" if _groups(table)[1].any() else "depths"


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
        entries[f"chosen {_family(table)[:-1]}"] = Line2D([], [], ls="", marker="o", ms=12, mfc="none", mec=canvas.INK)
    return entries
