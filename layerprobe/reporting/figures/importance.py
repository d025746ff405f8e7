"""Figures of what single layers and runs of layers do: bars with intervals, and the triangle of (start, length)."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from layerprobe import columns
from layerprobe.reporting.figures import canvas
from layerprobe.reporting.figures.heat_map import ColourScale, draw_heat_map
from layerprobe.reporting.figures.ticks import depth_ticks
from layerprobe.reporting.tables.layers import best_starts
from layerprobe.reporting.words.score_names import IN_PERCENT, UNITS, score_name

PER_ROW, BAR_STEP = 2, 4.4
TRIANGLE = 3.6
DISTANCE_SCALE = ColourScale(0, 0.5, "viridis_r", extend="max")
"""Of the triangle: up to 0.5, states that have nothing in common; few distances lie above it."""


@mpl.rc_context(canvas.STYLE)
def importance_figure(importance: pd.DataFrame, caption: str) -> Figure:
    """Draws one bar chart per measure, one bar per layer (0-based: layer i maps state i to state i + 1).

    Args:
        importance: rows of `importance.csv`; a whisker stands where the interval is known.
        caption: footnote; says what the whiskers are, and the commit.
    """
    groups = list(importance.groupby(columns.MEASURE, sort=False))
    n_rows = -(-len(groups) // PER_ROW)
    foot = canvas.footnote_height(caption)
    figure = canvas.new_figure(foot + n_rows * 2.85 + 0.25)
    canvas.title(figure, "What each layer does")
    canvas.footnote(figure, caption)
    for position, (measure, rows) in enumerate(groups):
        row, column = divmod(position, PER_ROW)
        bottom = foot + 0.55 + (n_rows - 1 - row) * 2.85
        draw_bars(canvas.panel(figure, 0.85 + column * BAR_STEP, bottom, 3.45, 1.95), rows, str(measure))
    return figure


def draw_bars(axes: Axes, rows: pd.DataFrame, measure: str) -> None:
    """Draws the bars of one measure, with a whisker where the interval is known.

    Args:
        axes: where to draw.
        rows: rows of `importance.csv` of this measure.
        measure: its name.
    """
    layer = rows[columns.LAYER].to_numpy()
    scale = 100 if measure in IN_PERCENT else 1
    value, low, high = (scale * rows[n].to_numpy(float) for n in (columns.VALUE, columns.CI_LOW, columns.CI_HIGH))
    axes.bar(layer, value, color=canvas.BLUE, width=0.7)
    axes.vlines(layer, low, high, color=canvas.INK, lw=1.2)
    axes.axhline(0, color=canvas.INK, lw=0.8)
    axes.set_title(score_name(measure), loc="left", fontsize=10)
    axes.set_ylabel(UNITS.get(measure, measure))
    axes.set_xlabel("layer")
    axes.set_xticks(depth_ticks(int(layer.max())))
    axes.grid(axis="y", color=canvas.PALE, lw=0.7)


@mpl.rc_context(canvas.STYLE)
def blocks_figure(blocks: pd.DataFrame, caption: str) -> Figure:
    """Draws the angular distance over every run of layers, and the smallest one for each length.

    Left: start of the run to the right, its length upwards, on a scale from 0 to 0.5 (orthogonal); the run that moves
    the state least is framed, for each length. Right: the distance over that run, with its interval.

    Args:
        blocks: rows of `blocks.csv` of the measure `angular`.
        caption: footnote; says how many users, and the commit.
    """
    best = best_starts(blocks)
    n_layers = int(blocks[columns.LENGTH].max())
    bottom = canvas.footnote_height(caption) + 0.55
    figure = canvas.new_figure(bottom + TRIANGLE + 0.7)
    canvas.title(figure, "Which runs of layers change the state least?")
    canvas.footnote(figure, caption)
    _triangle(canvas.panel(figure, 0.6, bottom, TRIANGLE, TRIANGLE), blocks, best, n_layers)
    _least(canvas.panel(figure, 5.75, bottom, 3.05, TRIANGLE), best, n_layers)
    return figure


def _triangle(axes: Axes, blocks: pd.DataFrame, best: pd.DataFrame, n_layers: int) -> None:
    matrix = np.full((n_layers, n_layers), np.nan)  # [length - 1, start]
    matrix[blocks[columns.LENGTH] - 1, blocks[columns.START]] = blocks[columns.VALUE]
    draw_heat_map(axes, matrix, DISTANCE_SCALE, axes.inset_axes((1.03, 0.0, 0.04, 1.0)))
    for start, length in best[[columns.START, columns.LENGTH]].itertuples(index=False):
        axes.add_patch(Rectangle((start, length - 1), 1, 1, fill=False, ec=canvas.VERMILION, lw=1.8, clip_on=False))
    starts = [tick for tick in depth_ticks(n_layers) if tick < n_layers]
    lengths = [tick for tick in depth_ticks(n_layers) if tick > 0]
    axes.set_xticks([start + 0.5 for start in starts], [str(start) for start in starts])
    axes.set_yticks([length - 0.5 for length in lengths], [str(length) for length in lengths])
    axes.set_title("angular distance over the run", loc="left", fontsize=10)
    axes.set_xlabel("start (first layer of the run)")
    axes.set_ylabel("length (layers)")


def _least(axes: Axes, best: pd.DataFrame, n_layers: int) -> None:
    length = best[columns.LENGTH].to_numpy()
    value, low, high = (best[n].to_numpy(float) for n in (columns.VALUE, columns.CI_LOW, columns.CI_HIGH))
    axes.fill_between(length, low, high, color=canvas.BLUE, alpha=0.18, lw=0)
    axes.plot(length, value, color=canvas.BLUE, marker="o", ms=4, lw=1.6)
    axes.set_xticks([tick for tick in depth_ticks(n_layers) if tick > 0])
    axes.set_ylim(0, max(1.08 * np.nanmax([value, high]), 0.05))
    axes.set_title("the framed runs", loc="left", fontsize=10)
    axes.set_xlabel("length (layers)")
    axes.set_ylabel("angle / pi")
    axes.grid(axis="y", color=canvas.PALE, lw=0.7)
