"""The figure of slices: the metric against depth, one line per group of users, one panel per way to group them."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from layerprobe import columns
from layerprobe.kinds import label_of
from layerprobe.reporting.figures import canvas
from layerprobe.reporting.figures.series import Looks
from layerprobe.reporting.figures.ticks import MOST_TICKS, depth_ticks
from layerprobe.reporting.tables.slices import COLD, METRIC, REFERENCE, SLICE_NAMES, group_name
from layerprobe.wording import metric_label

PANEL_WIDTH, PANEL_HEIGHT = 3.55, 2.6
LEFT, BETWEEN, IN_A_ROW = 0.8, 0.8, 2
TITLE_ROOM, LEGEND_ROOM, TICK_ROOM = 0.35, 0.72, 0.72
LEGEND_COLUMNS = 2
REFERENCE_GAP = 0.2
"""Place of SASRec right of the full model, as a share of L; at least one layer."""
SIDE_STEP = 0.2
"""Distance of groups in the column of SASRec, as a share of the gap."""
MARKERS = "os^D"
"""One for each group there can be."""
MARKER_SIZES = (5, 3)
"""For up to `MOST_TICKS` layers, and for more, where larger ones would touch."""
SHADES = (0.2, 0.92)
"""Range of the colour map: groups go from light to dark, and the lightest still shows on white."""
COLD_LOOK: Looks = (canvas.QUIET, "X", ":")


@mpl.rc_context(canvas.STYLE)
def slices_figure(table: pd.DataFrame, n_layers: int, caption: str) -> Figure:
    """Draws one line per group over depth, and SASRec of the same groups as hollow points to the right.

    Args:
        table: `slices.drawn_points`.
        n_layers: L, the depth of the full model, which is named on the axis.
        caption: footnote; says what the bands are, over how many users, and the commit.
    """
    bottom, panel_room = canvas.footnote_height(caption) + TICK_ROOM, PANEL_HEIGHT + LEGEND_ROOM
    n_rows = -(-table[columns.SLICE].nunique() // IN_A_ROW)
    figure = canvas.new_figure(bottom + n_rows * panel_room + (n_rows - 1) * TICK_ROOM + TITLE_ROOM)
    canvas.title(figure, f"{metric_label(*METRIC)} by group of users, the same users at every depth")
    canvas.footnote(figure, caption)
    for position, (name, rows) in enumerate(table.groupby(columns.SLICE, sort=False)):
        row, column = divmod(position, IN_A_ROW)
        left, above = LEFT + column * (PANEL_WIDTH + BETWEEN), (n_rows - 1 - row) * (panel_room + TICK_ROOM)
        axes = canvas.panel(figure, left, bottom + above, PANEL_WIDTH, PANEL_HEIGHT)
        _draw_panel(axes, rows, str(name), n_layers)
        axes.set_ylabel(metric_label(*METRIC))
    return figure


def group_looks(groups: list[str], slice_name: str) -> dict[str, Looks]:
    """Returns the look of each group: light to dark in rising order, cold targets grey and dotted."""
    is_cold = slice_name == columns.TARGET_POPULARITY and COLD in groups
    ordered = groups[1:] if is_cold else groups
    shades = mpl.colormaps["viridis_r"](np.linspace(*SHADES, len(ordered)))
    looks: dict[str, Looks] = {COLD: COLD_LOOK} if is_cold else {}
    for group, shade, marker in zip(ordered, shades, MARKERS, strict=False):
        looks[group] = (to_hex(shade), marker, "-")
    return looks


def _draw_panel(axes: Axes, rows: pd.DataFrame, slice_name: str, n_layers: int) -> None:
    looks = group_looks(rows[columns.GROUP].drop_duplicates().to_list(), slice_name)
    gap = max(1.0, REFERENCE_GAP * n_layers)
    has_reference = (rows[columns.KIND] == REFERENCE).any()
    for position, (group, look) in enumerate(looks.items()):
        points = rows.loc[rows[columns.GROUP] == group]
        is_reference = points[columns.KIND] == REFERENCE
        size = MARKER_SIZES[n_layers > MOST_TICKS]
        _draw_line(axes, points.loc[~is_reference], look, size, group_name(group, slice_name))
        aside = SIDE_STEP * gap * (position - (len(looks) - 1) / 2)
        _draw_reference(axes, points.loc[is_reference], look, n_layers + gap + aside)
    ticks = depth_ticks(n_layers)
    names = {0: "0\ncontrol", n_layers: f"{n_layers}\nfull"}
    labels = [names.get(tick, str(tick)) for tick in ticks]
    places = [float(tick) for tick in ticks]
    if has_reference:
        places, labels = [*places, n_layers + gap], [*labels, label_of(REFERENCE)]
        axes.axvline(n_layers + gap / 2, color=canvas.PALE, lw=1)
    axes.set_xticks(places, labels)
    axes.set_xlim(-0.04 * n_layers - 0.2, n_layers + 1.5 * gap)
    axes.set_ylim(0, 1.08 * max(rows[[columns.VALUE, columns.CI_HIGH]].max().max(), 1e-3))
    axes.grid(axis="y", color=canvas.PALE, lw=0.7)
    axes.set_xlabel("depth k (layers)")
    axes.legend(
        title=SLICE_NAMES[slice_name],
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=LEGEND_COLUMNS,
        frameon=False,
        alignment="left",
        title_fontsize=10,
        borderaxespad=0.2,
    )


def _draw_line(axes: Axes, points: pd.DataFrame, look: Looks, size: int, label: str) -> None:
    points = points.sort_values(columns.DEPTH)
    depth = points[columns.DEPTH].to_numpy(float)
    value, low, high = (points[name].to_numpy(float) for name in (columns.VALUE, columns.CI_LOW, columns.CI_HIGH))
    colour, marker, line = look
    axes.fill_between(depth, low, high, color=colour, alpha=0.13, lw=0)
    axes.plot(depth, value, color=colour, marker=marker, ls=line, ms=size, lw=1.8, zorder=3, label=label)


def _draw_reference(axes: Axes, points: pd.DataFrame, look: Looks, place: float) -> None:
    value, low, high = (points[name].to_numpy(float) for name in (columns.VALUE, columns.CI_LOW, columns.CI_HIGH))
    colour, marker, _ = look
    axes.vlines(np.full(len(value), place), low, high, color=colour, lw=1.2)
    axes.plot(np.full(len(value), place), value, color=colour, marker=marker, ls="", ms=5.5, mfc="white", mew=1.4)
