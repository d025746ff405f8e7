"""Figures of single layers and of pairs of states: similarity heat maps and importance bars."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layerprobe import columns
from layerprobe.reporting import figures
from layerprobe.reporting.depth_figures import depth_ticks
from layerprobe.reporting.tables import similarity_matrix

HEAT_SIZE, HEAT_STEP, BAR_STEP = 3.15, 4.4, 4.4
PER_ROW = 2
MOST_NUMBERED_STATES = 11
SHARE_RANGE, SIGNED_RANGE = (0.0, 1.0), (-1.0, 1.0)
ONE_SIDED = ("cka", "angular")
MEASURE_NAMES = {
    "cka": "linear CKA, debiased",
    "cosine": "mean cosine",
    "block-influence": "block influence",
    columns.DROP_ONE: "loss of NDCG@10 without the layer",
}
BAR_UNITS = {"block-influence": "1 - cosine(input, output)", columns.DROP_ONE: "loss, % of full model"}
IN_PERCENT = (columns.DROP_ONE,)


@mpl.rc_context(figures.STYLE)
def similarity_figure(similarity: pd.DataFrame, caption: str) -> Figure:
    """Draws one heat map per measure over all pairs of states, on a fixed colour scale.

    The scale is 0 to 1 for CKA and angular distance, -1 to 1 for the others (cosines), so maps of two studies compare.
    Small maps carry their numbers.

    Args:
        similarity: rows of `similarity.parquet`.
        caption: footnote; says on which rows it was measured, and the commit.
    """
    maps = list(similarity[[columns.MEASURE, columns.ROWS]].drop_duplicates().itertuples(index=False, name=None))
    n_rows = -(-len(maps) // PER_ROW)
    foot = figures.footnote_height(caption)
    figure = figures.new_figure(foot + n_rows * (HEAT_SIZE + 0.95) + 0.25)
    figures.title(figure, "Similarity of the states after each layer (at the readout, before the final norm)")
    figures.footnote(figure, caption)
    several = len({rows for _, rows in maps}) > 1
    for position, (measure, rows) in enumerate(maps):
        row, column = divmod(position, PER_ROW)
        bottom = foot + 0.55 + (n_rows - 1 - row) * (HEAT_SIZE + 0.95)
        axes = figures.panel(figure, 0.55 + column * HEAT_STEP, bottom, HEAT_SIZE, HEAT_SIZE)
        _heat(axes, similarity_matrix(similarity, measure, rows), measure)
        name = MEASURE_NAMES.get(str(measure), str(measure))
        axes.set_title(f"{name}, {rows}" if several else name, loc="left", fontsize=10)
    return figure


def _heat(axes: Axes, matrix: np.ndarray, measure: str) -> None:
    low, high = SHARE_RANGE if measure.startswith(ONE_SIDED) else SIGNED_RANGE
    image = axes.imshow(matrix, vmin=low, vmax=high, cmap="viridis" if low == 0 else "PuOr", origin="lower")
    bar = axes.inset_axes((1.03, 0.0, 0.04, 1.0))
    figure = axes.get_figure(root=True)
    if figure is not None:
        figure.colorbar(image, cax=bar)
    n_layers = len(matrix) - 1
    ticks = depth_ticks(n_layers)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.set_xlabel("state after k layers")
    axes.set_ylabel("state after k layers")
    for side in axes.spines.values():
        side.set_visible(False)
    if n_layers < MOST_NUMBERED_STATES:
        _write_cells(axes, matrix, low, high)


def _write_cells(axes: Axes, matrix: np.ndarray, low: float, high: float) -> None:
    shares = (matrix - low) / (high - low)
    for (row, column), value in np.ndenumerate(matrix):
        if np.isnan(value):
            continue
        share = shares[row, column]
        is_dark = share < 0.5 if low == 0 else abs(share - 0.5) > 0.27
        text = f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 0.995 else f"{value:.0f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if is_dark else figures.INK)


@mpl.rc_context(figures.STYLE)
def importance_figure(importance: pd.DataFrame, caption: str) -> Figure:
    """Draws one bar chart per measure, one bar per layer (0-based: layer i maps state i to state i + 1).

    Args:
        importance: rows of `importance.csv`.
        caption: footnote; says what the measures mean, and the commit.
    """
    groups = list(importance.groupby(columns.MEASURE, sort=False))
    n_rows = -(-len(groups) // PER_ROW)
    foot = figures.footnote_height(caption)
    figure = figures.new_figure(foot + n_rows * 2.85 + 0.25)
    figures.title(figure, "What each layer does")
    figures.footnote(figure, caption)
    for position, (measure, rows) in enumerate(groups):
        row, column = divmod(position, PER_ROW)
        bottom = foot + 0.55 + (n_rows - 1 - row) * 2.85
        _bars(figures.panel(figure, 0.8 + column * BAR_STEP, bottom, 3.5, 1.95), rows, str(measure))
    return figure


def _bars(axes: Axes, rows: pd.DataFrame, measure: str) -> None:
    layer = rows[columns.LAYER].to_numpy()
    value = rows[columns.VALUE].to_numpy() * (100 if measure in IN_PERCENT else 1)
    axes.bar(layer, value, color=figures.BLUE, width=0.7)
    axes.axhline(0, color=figures.INK, lw=0.8)
    axes.set_title(MEASURE_NAMES.get(measure, measure), loc="left", fontsize=10)
    axes.set_ylabel(BAR_UNITS.get(measure, measure))
    axes.set_xlabel("layer")
    axes.set_xticks(depth_ticks(int(layer.max())))
    axes.grid(axis="y", color=figures.PALE, lw=0.7)
