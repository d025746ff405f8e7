"""The figure of predicted against measured: one small panel per score, one point per selection."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from layerprobe import columns
from layerprobe.reporting.figures import canvas
from layerprobe.reporting.figures.similarity import depth_bar
from layerprobe.reporting.findings.predictiveness import with_interval
from layerprobe.reporting.words.score_names import score_name

PER_ROW = 4
PANEL_HEIGHT, ABOVE, BELOW = 1.5, 0.5, 0.3
LEFT, RIGHT, BETWEEN, TITLE_ROOM, LABEL_ROOM = 0.75, 0.75, 0.3, 0.35, 0.25


@mpl.rc_context(canvas.STYLE)
def predicted_figure(predicted: pd.DataFrame, worth: pd.DataFrame, caption: str, metric: str = "NDCG@10") -> Figure:
    """Draws what each score predicts against what fine-tuning measured, the best score first, coloured by depth.

    Args:
        predicted: rows of `predicted.csv`; higher values predict better.
        worth: `worth.ranked` of `predictiveness.csv`; its correlations stand above the panels, in its order.
        caption: footnote; says what the correlation and the ceiling are, and the commit.
        metric: what was measured, as the axis calls it.
    """
    names = list(dict.fromkeys([*worth[columns.SCORE], *predicted[columns.SCORE]]))
    groups = {name: rows for name in names if len(rows := predicted.loc[predicted[columns.SCORE] == name])}
    n_rows = -(-len(groups) // PER_ROW)
    foot = canvas.footnote_height(caption) + LABEL_ROOM
    step = PANEL_HEIGHT + ABOVE + BELOW
    figure = canvas.new_figure(foot + n_rows * step + TITLE_ROOM)
    canvas.title(figure, "Does a cheap score predict the fine-tuned curve?")
    canvas.footnote(figure, caption)
    width = (canvas.WIDTH - LEFT - RIGHT) / PER_ROW - BETWEEN
    scale = Normalize(0, max(1, int(predicted[columns.DEPTH].max())))
    span = canvas.span(predicted[columns.MEASURED], 0.08)
    for position, (name, rows) in enumerate(groups.items()):
        row, column = divmod(position, PER_ROW)
        bottom = foot + BELOW + (n_rows - 1 - row) * step
        axes = canvas.panel(figure, LEFT + column * (width + BETWEEN), bottom, width, PANEL_HEIGHT)
        _scatter(axes, rows, scale, name)
        axes.set_ylim(*span)
        axes.set_title(_title(name, worth), loc="left", fontsize=9)
        if column:
            axes.set_yticklabels([])
        else:
            axes.set_ylabel(f"measured {metric}")
        if position + PER_ROW >= len(groups):
            axes.set_xlabel("score")
    top_row = foot + BELOW + (n_rows - 1) * step
    bar = canvas.panel(figure, canvas.WIDTH - RIGHT - 0.1, top_row, canvas.BAR_WIDTH, PANEL_HEIGHT)
    depth_bar(bar, scale)
    return figure


def _scatter(axes: Axes, rows: pd.DataFrame, scale: Normalize, name: str) -> None:
    axes.scatter(
        rows[columns.VALUE],
        rows[columns.MEASURED],
        c=rows[columns.DEPTH],
        cmap=canvas.DEPTH_COLOURS,
        norm=scale,
        s=26,
        edgecolors=canvas.INK,
        linewidths=0.6,
    )
    axes.grid(color=canvas.PALE, lw=0.7)
    axes.margins(x=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=name == columns.DEPTH_SCORE))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(labelsize=8)


def _title(name: str, worth: pd.DataFrame) -> str:
    rows = worth.loc[worth[columns.SCORE] == name]
    known = "" if rows.empty else with_interval(rows.iloc[0])
    return f"{score_name(name)}\n{known}"
