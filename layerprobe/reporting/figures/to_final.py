"""The figure of similarity to the final state over depth: one small panel per measure, beside what chance gives."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from layerprobe import columns
from layerprobe.reporting.figures import canvas
from layerprobe.reporting.figures.ticks import MOST_TICKS, depth_ticks
from layerprobe.reporting.tables.layers import NULL_HIGH, NULL_LOW
from layerprobe.reporting.words.score_names import DISTANCES, measure_of

PER_ROW, MOST_PER_ROW = 3, 4
PANEL_HEIGHT, ABOVE, BELOW = 1.45, 0.33, 0.38
LEFT, BETWEEN, LEGEND_ROOM, LABEL_ROOM = 0.6, 0.45, 0.62, 0.2
LEGEND = ("similarity to the final state, with interval", "shuffled rows (chance)")


@mpl.rc_context(canvas.STYLE)
def to_final_figure(table: pd.DataFrame, caption: str) -> Figure:
    """Draws each measure over the states 0..L with its interval, all panels on one scale.

    Args:
        table: `layer_tables.to_final`; distances are 1 - distance in it and named so.
        caption: footnote; says what the bands are, over how many users, and the commit.
    """
    groups = list(table.groupby(columns.MEASURE, sort=False))
    per_row = PER_ROW if len(groups) <= 2 * PER_ROW and len(groups) != MOST_PER_ROW else MOST_PER_ROW
    n_rows = -(-len(groups) // per_row)
    foot = canvas.footnote_height(caption) + LABEL_ROOM
    step = PANEL_HEIGHT + ABOVE + BELOW
    figure = canvas.new_figure(foot + n_rows * step + LEGEND_ROOM)
    canvas.title(figure, "How similar is each state to the final one?")
    canvas.footnote(figure, caption)
    width = (canvas.WIDTH - LEFT - 0.15) / per_row - BETWEEN
    low = min(0.0, table[[columns.VALUE, columns.CI_LOW, NULL_LOW]].min().min())
    has_null = bool(table[NULL_LOW].notna().any())
    for position, (measure, rows) in enumerate(groups):
        row, column = divmod(position, per_row)
        bottom = foot + BELOW + (n_rows - 1 - row) * step
        axes = canvas.panel(figure, LEFT + column * (width + BETWEEN), bottom, width, PANEL_HEIGHT)
        _draw(axes, rows, str(measure))
        axes.set_ylim(1.05 * low, 1.05)
        if position + per_row >= len(groups):
            axes.set_xlabel("state after k layers")
    _legend(figure, has_null)
    return figure


def _draw(axes: Axes, rows: pd.DataFrame, measure: str) -> None:
    state = rows[columns.LAYER].to_numpy()
    n_layers = int(state.max())
    name = measure_of(measure).name
    axes.fill_between(state, rows[NULL_LOW], rows[NULL_HIGH], color=canvas.QUIET, alpha=0.35, lw=0.8)
    axes.fill_between(state, rows[columns.CI_LOW], rows[columns.CI_HIGH], color=canvas.BLUE, alpha=0.18, lw=0)
    size = 2 if n_layers > MOST_TICKS else 4
    axes.plot(state, rows[columns.VALUE], color=canvas.BLUE, marker="o", ms=size, lw=1.6)
    axes.set_title(f"1 - {name}" if measure in DISTANCES else name, loc="left", fontsize=9.5)
    axes.set_xticks(depth_ticks(n_layers)[:: 1 if n_layers <= MOST_TICKS / 2 else 2])
    axes.grid(axis="y", color=canvas.PALE, lw=0.7)


def _legend(figure: Figure, has_null: bool) -> None:
    band = Patch(color=canvas.BLUE, alpha=0.18, lw=0)
    line = Line2D([], [], color=canvas.BLUE, marker="o", ms=4, lw=1.6)
    handles = [(band, line), Patch(color=canvas.QUIET, alpha=0.35, lw=0)]
    n_entries = 2 if has_null else 1
    canvas.legend_strip(figure, handles[:n_entries], LEGEND[:n_entries])
