"""The margin curve: the smallest margin that each depth proves, so that the reader can bring a margin of their own."""

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
from layerprobe.reporting.tables.curve import CHOSEN
from layerprobe.reporting.tables.margins import ANY, FIXED
from layerprobe.wording import level

PANEL_WIDTH, PANEL_HEIGHT, TOP_ROOM, BOTTOM_ROOM = 6.7, 2.9, 0.75, 0.6
REACH = 10
"""The axis ends at this many margins of the study, or below; what lies beyond is an arrow at its edge."""
SERIES = {
    ANY: ("any margin, chosen after looking", canvas.BLUE, "o", canvas.BLUE),
    FIXED: ("one margin, fixed beforehand", canvas.ORANGE, "s", "white"),
}
"""Label, colour, marker and its face, by column."""


@mpl.rc_context(canvas.STYLE)
def proven_margin_figure(table: pd.DataFrame, margin: float, title: str, caption: str) -> Figure:
    """Draws the smallest proven margin of each selection; a point lower down means a smaller possible loss.

    Where both series are equal one is drawn. A point beyond the axis is an arrow at its edge.

    Args:
        table: `tables.margins.proven_table`.
        margin: the study's margin, a share of the full model's value, above 0.
        title: heading; says so where the study is exploratory.
        caption: footnote; says what the bounds are, over how many users, and the commit.
    """
    is_named = bool(groups(table)[1].any())
    bottom = canvas.footnote_height(caption) + (tick_room(table) if is_named else BOTTOM_ROOM)
    entries = proven_entries(table, margin)
    top = TOP_ROOM + (len(canvas.legend_lines(list(entries))) - 1) * canvas.LEGEND_LINE
    figure = canvas.new_figure(bottom + PANEL_HEIGHT + top)
    canvas.title(figure, title)
    canvas.footnote(figure, caption)
    axes = canvas.panel(figure, 0.75, bottom, PANEL_WIDTH, PANEL_HEIGHT)
    draw_proven(axes, table, margin)
    canvas.legend_strip(figure, list(entries.values()), list(entries))
    return figure


def draw_proven(axes: Axes, table: pd.DataFrame, margin: float) -> None:
    """Draws the panel.

    Args:
        axes: where to draw.
        table: `tables.margins.proven_table`.
        margin: the study's margin.
    """
    place, top = places(table), _top(table, 100 * margin)
    for name in _shown(table):
        _draw_series(axes, table, name, top)
    chosen = table[CHOSEN].to_numpy(bool)
    ringed = np.minimum(100 * table[FIXED].to_numpy(float)[chosen], 0.97 * top)
    axes.scatter(place[chosen], ringed, s=170, facecolors="none", edgecolors=canvas.INK, linewidths=1.2, zorder=4)
    name_places(axes, table, place)
    axes.grid(axis="y", color=canvas.PALE, lw=0.7)
    axes.axhline(0, color=canvas.INK, lw=1)
    axes.axhline(100 * margin, color=canvas.INK, lw=1.2, ls="--")
    axes.set_ylim(-0.04 * top, top)
    axes.set_ylabel("smallest proven margin, % of full")
    label_right_edge(axes, [EdgeLabel(100 * margin, f"margin {level(margin)}")])


def _draw_series(axes: Axes, table: pd.DataFrame, name: str, top: float) -> None:
    _, colour, marker, face = SERIES[name]
    place, value, is_first = places(table), 100 * table[name].to_numpy(float), groups(table)[0]
    inside = value <= top
    # A line that leaves the axis is cut by it; the arrow says that the point lies beyond.
    axes.plot(place[is_first], value[is_first], color=colour, lw=1.2, alpha=0.7, zorder=2)
    axes.scatter(place[inside], value[inside], s=34, color=face, edgecolors=colour, marker=marker, lw=1.3, zorder=3)
    outside = np.full((~inside).sum(), 0.97 * top)
    # Both series may leave it at one depth: the arrow of the second stands inside that of the first.
    size = 110 if name == ANY else 30
    axes.scatter(place[~inside], outside, s=size, color="none", edgecolors=colour, marker="^", lw=1.3, zorder=3)


def _shown(table: pd.DataFrame) -> list[str]:
    return [ANY] if np.allclose(table[ANY], table[FIXED]) else [ANY, FIXED]


def _top(table: pd.DataFrame, margin: float) -> float:
    """Returns the upper end of the axis in %: above every point that lies within `REACH` margins."""
    values = 100 * table[[ANY, FIXED]].to_numpy(float).ravel()
    return 1.12 * max(2 * margin, float(values[values <= REACH * margin].max(initial=0.0)))


def proven_entries(table: pd.DataFrame, margin: float) -> dict[str, Line2D]:
    """Returns the legend's handles by their texts; arguments as for `draw_proven`."""
    entries = {
        SERIES[name][0]: Line2D([], [], color=SERIES[name][1], marker=SERIES[name][2], mfc=SERIES[name][3], lw=1.2)
        for name in _shown(table)
    }
    entries["the study's margin"] = Line2D([], [], color=canvas.INK, lw=1.2, ls="--")
    if (100 * table[[ANY, FIXED]].to_numpy(float) > _top(table, 100 * margin)).any():
        entries["beyond the axis"] = Line2D([], [], color=canvas.QUIET, marker="^", ls="")
    if table[CHOSEN].any():
        entries[f"chosen {family(table)[:-1]}"] = Line2D([], [], ls="", marker="o", ms=12, mfc="none", mec=canvas.INK)
    return entries
