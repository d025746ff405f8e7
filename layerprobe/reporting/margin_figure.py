"""The figure behind the decision: how far each depth and each floor lies from the full model, and the margin."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from layerprobe import columns
from layerprobe.reporting import figures
from layerprobe.reporting.direct_labels import EdgeLabel, label_right_edge
from layerprobe.reporting.tables import CHOSEN, NAME, NOT_WORSE, RELATIVE, RELATIVE_BOUND, RELATIVE_HIGH, RELATIVE_LOW
from layerprobe.reporting.words import KIND_NAMES

PANEL_WIDTH, PANEL_HEIGHT = 3.3, 2.6
ZOOM = 5.0
TICK_ROOM, TOP_ROOM = 1.25, 0.95
WITHIN, BEYOND = figures.BLUE, figures.VERMILION


@mpl.rc_context(figures.STYLE)
def margin_figure(table: pd.DataFrame, margin: float, metric: str, caption: str) -> Figure:
    """Draws relative differences to the full model with intervals; left all of them, right only those near the margin.

    A point outside the right panel is shown as an arrow at its edge.

    Args:
        table: `tables.margin_table`.
        margin: allowed loss as a share of the full model's value, above 0.
        metric: name of the metric, for example `NDCG@10`.
        caption: footnote; says what the intervals are, over how many users, and the commit.
    """
    bottom = figures.footnote_height(caption) + TICK_ROOM
    figure = figures.new_figure(bottom + PANEL_HEIGHT + TOP_ROOM)
    figures.title(figure, f"{metric}: difference to the full model")
    figures.footnote(figure, caption)
    for position, name in enumerate(("all depths and floors", "the same, close to the margin")):
        axes = figures.panel(figure, 0.75 + position * 4.2, bottom, PANEL_WIDTH, PANEL_HEIGHT)
        axes.set_title(name, loc="left", fontsize=10)
        _draw(axes, table)
        if position:
            _zoom(axes, table, ZOOM * margin)
        else:
            axes.set_ylabel("difference, % of the full model's value")
        axes.axhline(0, color=figures.INK, lw=1)
        axes.axhline(-100 * margin, color=figures.INK, lw=1.2, ls="--")
        if position:
            label_right_edge(axes, [EdgeLabel(0, "full"), EdgeLabel(-100 * margin, f"-{100 * margin:g} %\nmargin")])
    _legend(figure)
    return figure


def _draw(axes: Axes, table: pd.DataFrame) -> None:
    place = np.arange(len(table))
    low, high, bound = (100 * table[name].to_numpy(float) for name in (RELATIVE_LOW, RELATIVE_HIGH, RELATIVE_BOUND))
    value, good = 100 * table[RELATIVE].to_numpy(float), table[NOT_WORSE].to_numpy(bool)
    colours = np.where(good, WITHIN, BEYOND)
    axes.vlines(place, low, high, colors=list(colours), lw=1.6)
    axes.hlines(bound, place - 0.22, place + 0.22, colors=list(colours), lw=2)
    for share, marker in ((good, "o"), (~good, "X")):
        axes.scatter(place[share], value[share], c=list(colours[share]), marker=marker, s=34, zorder=3)
    chosen = table[CHOSEN].to_numpy(bool)
    axes.scatter(place[chosen], value[chosen], s=150, facecolors="none", edgecolors=figures.INK, linewidths=1.2)
    axes.set_xlim(-0.6, len(table) - 0.4)
    _name_places(axes, table)
    axes.grid(axis="y", color=figures.PALE, lw=0.7)


def _name_places(axes: Axes, table: pd.DataFrame) -> None:
    is_depth = table[columns.DEPTH].notna().to_numpy(bool)
    names = [
        str(depth) if known else KIND_NAMES.get(name, name)
        for depth, known, name in zip(table[columns.DEPTH], is_depth, table[NAME], strict=True)
    ]
    axes.set_xticks(np.arange(len(table)), names)
    for text, known in zip(axes.get_xticklabels(), is_depth, strict=True):
        text.set_rotation(0 if known else 60)
        text.set_horizontalalignment("center" if known else "right")
        text.set_rotation_mode("default" if known else "anchor")
    axes.set_xlabel("depth k (layers)", loc="left")
    if is_depth.any() and not is_depth.all():
        axes.axvline(is_depth.sum() - 0.5, color=figures.PALE, lw=1)


def _zoom(axes: Axes, table: pd.DataFrame, reach: float) -> None:
    """Limits the panel to +- `reach` (a share) and marks what lies outside by arrows."""
    edge = 100 * reach
    axes.set_ylim(-edge, edge)
    value = 100 * table[RELATIVE].to_numpy(float)
    colours = np.where(table[NOT_WORSE].to_numpy(bool), WITHIN, BEYOND)
    for sign, marker in ((-1, "v"), (1, "^")):
        outside = np.flatnonzero(sign * value > edge)
        axes.scatter(
            outside, np.full(len(outside), 0.94 * sign * edge), c=list(colours[outside]), marker=marker, s=40, zorder=3
        )


def _legend(figure: Figure) -> None:
    handles = [
        Line2D([], [], color=WITHIN, marker="o", lw=1.6, ms=6),
        Line2D([], [], color=BEYOND, marker="X", lw=1.6, ms=6),
        Line2D([], [], color=figures.QUIET, marker="_", ls="", ms=11, mew=2),
        Line2D([], [], ls="", marker="o", ms=12, mfc="none", mec=figures.INK),
    ]
    texts = ["not worse than the margin", "may be worse", "lower bound that decides", "chosen depth"]
    width, height = figure.get_size_inches()
    figure.legend(
        handles,
        texts,
        loc="upper left",
        bbox_to_anchor=(0.0, 1 - 0.3 / height),
        ncols=4,
        frameon=False,
        columnspacing=1.6,
    )
