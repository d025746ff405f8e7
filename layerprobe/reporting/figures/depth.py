"""The two figures of a metric against depth. They answer two different questions and are never mixed.

`variants_figure`: what a model with k layers reaches when it is fine-tuned with k layers; each point is a training.
`exits_figure`: what one trained full model reaches when its user vector is read after k layers; no layer is retrained.
Source: the motivating figure of SLMRec, arXiv 2405.17890, which draws both.
"""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from layerprobe import columns
from layerprobe.reporting.figures import canvas
from layerprobe.reporting.figures.depth_panel import draw_exits, draw_variants, exit_entries, variant_entries
from layerprobe.reporting.figures.direct_labels import EdgeLabel, label_right_edge

PANEL_WIDTH, PANEL_HEIGHT = 2.75, 2.6
LEFT, BETWEEN = 0.82, 1.62
TITLE_ROOM, LEGEND_ROOM, TICK_ROOM = 0.45, 0.25, 0.72


@mpl.rc_context(canvas.STYLE)
def variants_figure(table: pd.DataFrame, n_layers: int, caption: str) -> Figure:
    """Draws fine-tuned models, their control twins, distilled students and floors; one panel per metric.

    Args:
        table: `tables.variants_table`.
        n_layers: L, the depth of the full model, which is marked.
        caption: footnote; says what the band is, over how many users, and the commit.
    """
    entries = variant_entries(table)
    title = "Fine-tuned at each depth: every point is a separate training"
    figure, panels = _frame(table, caption, title, list(entries))
    for axes, points in panels:
        _label_floors(axes, draw_variants(axes, points, n_layers))
    canvas.legend_strip(figure, list(entries.values()), list(entries))
    return figure


@mpl.rc_context(canvas.STYLE)
def exits_figure(table: pd.DataFrame, n_layers: int, caption: str) -> Figure:
    """Draws the exits of one trained full model, by heads of their own, through its own head and raw, and the floors.

    Args:
        table: `tables.exits_table`.
        n_layers: L, the depth of the full model, which is marked.
        caption: as for `variants_figure`.
    """
    entries = exit_entries(table)
    title = "One trained full model, read after k layers: no layer is retrained"
    figure, panels = _frame(table, caption, title, list(entries))
    for axes, points in panels:
        _label_floors(axes, draw_exits(axes, points, n_layers))
    canvas.legend_strip(figure, list(entries.values()), list(entries))
    return figure


def _frame(
    table: pd.DataFrame, caption: str, title: str, entries: list[str]
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """Returns a figure with one empty panel per metric and room for the legend's entries, and the rows of each."""
    groups: list[Any] = list(table.groupby([columns.METRIC, columns.K], sort=False))
    bottom = canvas.footnote_height(caption) + TICK_ROOM
    legend_room = LEGEND_ROOM + (len(canvas.legend_lines(entries)) - 1) * canvas.LEGEND_LINE
    figure = canvas.new_figure(bottom + PANEL_HEIGHT + legend_room + TITLE_ROOM)
    canvas.title(figure, title)
    canvas.footnote(figure, caption)
    panels = []
    for position, (_, points) in enumerate(groups):
        left = LEFT + position * (PANEL_WIDTH + BETWEEN)
        panels.append((canvas.panel(figure, left, bottom, PANEL_WIDTH, PANEL_HEIGHT), points))
    return figure, panels


def _label_floors(axes: Axes, floors: dict[str, Line2D]) -> None:
    """Writes the floors' labels at the right edge; the limits of the axes must be final."""
    heights = {label: float(np.asarray(line.get_ydata())[0]) for label, line in floors.items()}
    label_right_edge(axes, [EdgeLabel(heights[label], label, str(line.get_color())) for label, line in floors.items()])
