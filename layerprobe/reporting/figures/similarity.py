"""Heat maps of similarity: all pairs of states of one model, and the states of a teacher against those of a student."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from layerprobe import columns
from layerprobe.reporting.figures import canvas
from layerprobe.reporting.figures.depth import MOST_TICKS
from layerprobe.reporting.figures.depth import depth_ticks as all_ticks
from layerprobe.reporting.tables.layers import pair_matrix, similarity_matrix
from layerprobe.reporting.words.score_names import DISTANCES, measure_of

SIZES = {2: 3.15, 3: 1.95}
"""Inches of the longer side of a map, by how many stand in a row."""
MOST_WIDE = 4
"""Up to so many maps, two stand in a row; more of them three."""
LEFT, MARGIN, ABOVE, BELOW, TITLE_ROOM = 0.55, 0.4, 0.4, 0.55, 0.3
THINNEST = 1.0
SMALLEST_CELL = 0.27
"""Inches a cell needs for its number."""


@mpl.rc_context(canvas.STYLE)
def similarity_figure(similarity: pd.DataFrame, caption: str) -> Figure:
    """Draws one heat map per measure over all pairs of states, on a fixed colour scale.

    The scale is 0 to 1 where a measure cannot be negative but by noise, else -1 to 1, so maps of two studies compare.
    Yellow (scales from 0) or brown (scales from -1) always means alike, also for a distance. Small maps carry their
    numbers.

    Args:
        similarity: rows of `similarity.parquet`.
        caption: footnote; says on which rows it was measured, and the commit.
    """
    maps = list(similarity[[columns.MEASURE, columns.ROWS]].drop_duplicates().itertuples(index=False, name=None))
    several = len({rows for _, rows in maps}) > 1
    found = [
        (measure, f"{map_title(measure)}, {rows}" if several else map_title(measure), matrix)
        for measure, rows, matrix in ((m, r, similarity_matrix(similarity, m, r)) for m, r in maps)
    ]
    title = "Similarity of the states after each layer (before the final norm)"
    return _maps(found, title, ("state after k layers", "state after k layers"), caption)


@mpl.rc_context(canvas.STYLE)
def student_figure(similarity: pd.DataFrame, caption: str) -> Figure:
    """Draws one heat map per measure, the teacher's states upwards and the student's to the right.

    Args:
        similarity: rows of `student.parquet`.
        caption: as for `similarity_figure`.
    """
    groups = similarity.groupby(columns.MEASURE, sort=False)
    found = [(str(measure), map_title(str(measure)), pair_matrix(rows)) for measure, rows in groups]
    title = "Similarity of the teacher's states to the student's"
    return _maps(found, title, ("student, after k layers", "teacher, after k layers"), caption)


def map_title(measure: str) -> str:
    """Returns the name of a measure, with a word where 0 is the end that means alike."""
    return f"{measure_of(measure).name}{' (0 = same)' if measure in DISTANCES else ''}"


def _maps(found: list[tuple[str, str, np.ndarray]], title: str, labels: tuple[str, str], caption: str) -> Figure:
    per_row = 2 if len(found) <= MOST_WIDE else 3
    longest = max(max(matrix.shape) for _, _, matrix in found)
    width, height = (
        max(SIZES[per_row] * size / longest, THINNEST)
        for size in (max(matrix.shape[1] for _, _, matrix in found), max(matrix.shape[0] for _, _, matrix in found))
    )
    n_rows = -(-len(found) // per_row)
    foot = canvas.footnote_height(caption)
    figure = canvas.new_figure(foot + n_rows * (height + ABOVE + BELOW) + TITLE_ROOM)
    canvas.title(figure, title)
    canvas.footnote(figure, caption)
    for position, (measure, name, matrix) in enumerate(found):
        row, column = divmod(position, per_row)
        bottom = foot + BELOW + (n_rows - 1 - row) * (height + ABOVE + BELOW)
        axes = canvas.panel(figure, LEFT + column * (canvas.WIDTH - MARGIN) / per_row, bottom, width, height)
        _heat(axes, matrix, measure, (width, height))
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel(labels[0])
        if column == 0:
            axes.set_ylabel(labels[1])
    return figure


def _heat(axes: Axes, matrix: np.ndarray, measure: str, size: tuple[float, float]) -> None:
    width, height = size
    low = measure_of(measure).low
    colours = "PuOr_r" if low < 0 else "viridis_r" if measure in DISTANCES else "viridis"
    image = axes.imshow(matrix, vmin=low, vmax=1, cmap=colours, origin="lower", aspect="auto")
    bar = axes.inset_axes((1 + 0.09 / width, 0.0, 0.12 / width, 1.0))
    figure = axes.get_figure(root=True)
    if figure is not None:
        figure.colorbar(image, cax=bar)
    bar.set_yticks(np.linspace(low, 1, 5))
    bar.tick_params(labelsize=8)
    axes.set_xticks(depth_ticks(matrix.shape[1] - 1, width))
    axes.set_yticks(depth_ticks(matrix.shape[0] - 1, height))
    for side in axes.spines.values():
        side.set_visible(False)
    if min(width / matrix.shape[1], height / matrix.shape[0]) >= SMALLEST_CELL:
        write_cells(axes, matrix, np.asarray(image.norm(matrix)), low < 0, measure in DISTANCES)


def depth_ticks(n_layers: int, inches: float) -> list[int]:
    """Returns 0..L or some of them, fewer on a short axis; the first and the last always."""
    step = max(1, round(SIZES[2] / inches)) if n_layers > MOST_TICKS / 2 else 1
    ticks = all_ticks(n_layers)
    kept = [tick for tick in ticks[:-1:step] if n_layers - tick >= step * (ticks[1] - ticks[0] if n_layers else 1)]
    return [*kept, n_layers] if n_layers else ticks


def depth_bar(
    figure: Figure, colours: ScalarMappable, left: float, bottom: float, height: float, size: float = 8
) -> None:
    """Draws the bar that says which colour is which depth, at a place in inches."""
    bar = figure.colorbar(colours, cax=canvas.panel(figure, left, bottom, 0.12, height))
    bar.set_ticks(depth_ticks(int(colours.get_clim()[1] or 1), height))
    bar.set_label("depth (layers kept)", fontsize=size)
    bar.ax.tick_params(labelsize=8)


def _cell(value: float) -> str:
    """Returns a value in two digits; what is not quite 1 does not look like it.

    >>> _cell(0.5), _cell(-0.25), _cell(0.998), _cell(1.0), _cell(0.001)
    ('.50', '-.25', '>.99', '1', '0')
    """
    if abs(value) < 0.005 or abs(value) > 1 - 1e-6:
        return f"{round(value)}"
    if abs(value) >= 0.995:
        return ">.99" if value > 0 else "<-.99"
    return f"{value:.2f}".replace("0.", ".", 1)


def write_cells(axes: Axes, matrix: np.ndarray, shares: np.ndarray, is_signed: bool, is_distance: bool) -> None:
    """Writes the value of each cell, white on dark; `shares` are the places on the colour scale, 0 to 1."""
    for (row, column), value in np.ndenumerate(matrix):
        if np.isnan(value):
            continue
        share = float(shares[row, column])
        is_dark = abs(share - 0.5) > 0.27 if is_signed else (share > 0.5) if is_distance else (share < 0.5)
        axes.text(
            column,
            row,
            _cell(float(value)),
            ha="center",
            va="center",
            fontsize=8,
            color="white" if is_dark else canvas.INK,
        )
