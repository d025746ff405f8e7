"""Heat maps of similarity: all pairs of states of one model, and the states of a teacher against those of a student."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from layerprobe import columns
from layerprobe.reporting.figures import canvas
from layerprobe.reporting.figures.heat_map import ColourScale, draw_heat_map
from layerprobe.reporting.figures.ticks import MOST_TICKS
from layerprobe.reporting.figures.ticks import depth_ticks as all_ticks
from layerprobe.reporting.tables.layers import pair_matrix, similarity_matrix
from layerprobe.reporting.words.score_names import DISTANCES, measure_of

SIZES = {2: 3.15, 3: 1.95}
"""Inches of the longer side of a map, by how many stand in a row."""
MOST_WIDE = 4
"""Up to so many maps, two stand in a row; more of them three."""
LEFT, MARGIN, ABOVE, BELOW, TITLE_ROOM = 0.55, 0.4, 0.4, 0.55, 0.3
THINNEST = 1.0


@mpl.rc_context(canvas.STYLE)
def similarity_figure(similarity: pd.DataFrame, caption: str) -> Figure:
    """Draws one heat map per measure over all pairs of states, on a fixed colour scale.

    The scale is 0 to 1 where a measure is negative by noise alone, else -1 to 1, so maps of two studies can be
    compared. Yellow (scales from 0) or brown (scales from -1) always means most similar, also for a distance. Small
    maps show their numbers.

    Args:
        similarity: rows of `similarity.parquet`.
        caption: footnote; says on which rows it was measured, and the commit.
    """
    maps = list(similarity[[columns.MEASURE, columns.ROWS]].drop_duplicates().itertuples(index=False, name=None))
    several = len({rows for _, rows in maps}) > 1
    named = [
        (measure, f"{map_title(measure)}, {rows}" if several else map_title(measure), matrix)
        for measure, rows, matrix in ((m, r, similarity_matrix(similarity, m, r)) for m, r in maps)
    ]
    title = "Similarity of the states after each layer (before the final norm)"
    return _maps(named, title, ("state after k layers", "state after k layers"), caption)


@mpl.rc_context(canvas.STYLE)
def student_figure(similarity: pd.DataFrame, caption: str) -> Figure:
    """Draws one heat map per measure, the teacher's states upwards and the student's to the right.

    Args:
        similarity: rows of `student.parquet`.
        caption: as for `similarity_figure`.
    """
    groups = similarity.groupby(columns.MEASURE, sort=False)
    named = [(str(measure), map_title(str(measure)), pair_matrix(rows)) for measure, rows in groups]
    title = "Similarity of the teacher's states and the student's"
    return _maps(named, title, ("student, after k layers", "teacher, after k layers"), caption)


def map_title(measure: str) -> str:
    """Returns the name of a measure; of a distance also that 0 means the same."""
    return f"{measure_of(measure).name}{' (0 = same)' if measure in DISTANCES else ''}"


def _maps(named: list[tuple[str, str, np.ndarray]], title: str, labels: tuple[str, str], caption: str) -> Figure:
    """Draws heat maps, each given as measure, title and matrix, in rows of two or three."""
    per_row = 2 if len(named) <= MOST_WIDE else 3
    longest = max(max(matrix.shape) for _, _, matrix in named)
    width, height = (
        max(SIZES[per_row] * size / longest, THINNEST)
        for size in (max(matrix.shape[1] for _, _, matrix in named), max(matrix.shape[0] for _, _, matrix in named))
    )
    n_rows = -(-len(named) // per_row)
    foot = canvas.footnote_height(caption)
    figure = canvas.new_figure(foot + n_rows * (height + ABOVE + BELOW) + TITLE_ROOM)
    canvas.title(figure, title)
    canvas.footnote(figure, caption)
    for position, (measure, name, matrix) in enumerate(named):
        row, column = divmod(position, per_row)
        bottom = foot + BELOW + (n_rows - 1 - row) * (height + ABOVE + BELOW)
        axes = canvas.panel(figure, LEFT + column * (canvas.WIDTH - MARGIN) / per_row, bottom, width, height)
        draw_similarity(axes, matrix, measure, axes.inset_axes((1 + 0.09 / width, 0.0, 0.12 / width, 1.0)))
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel(labels[0])
        if column == 0:
            axes.set_ylabel(labels[1])
    return figure


def draw_similarity(axes: Axes, matrix: np.ndarray, measure: str, bar: Axes) -> None:
    """Draws one heat map on the fixed scale of its measure, with ticks at the numbers of layers.

    Args:
        axes: their size must be final.
        matrix: similarities, states upwards and to the right.
        measure: name of the measure.
        bar: axes of the colour bar.
    """
    low = measure_of(measure).low
    colours = "PuOr_r" if low < 0 else "viridis_r" if measure in DISTANCES else "viridis"
    draw_heat_map(axes, matrix, ColourScale(low, 1, colours), bar)
    bar.set_yticks(np.linspace(low, 1, 5))
    width, height = canvas.inches(axes)
    _name_states(axes, depth_ticks(matrix.shape[1] - 1, width), depth_ticks(matrix.shape[0] - 1, height))
    axes.set_title(map_title(measure), loc="left", fontsize=10)


def _name_states(axes: Axes, to_the_right: list[int], upwards: list[int]) -> None:
    """Writes ticks at the centres of the cells."""
    axes.set_xticks([tick + 0.5 for tick in to_the_right], [str(tick) for tick in to_the_right], rotation=0)
    axes.set_yticks([tick + 0.5 for tick in upwards], [str(tick) for tick in upwards], rotation=0)


def depth_ticks(n_layers: int, inches: float) -> list[int]:
    """Returns 0..L or some of them, fewer on a short axis; the first and the last always."""
    step = max(1, round(SIZES[2] / inches)) if n_layers > MOST_TICKS / 2 else 1
    ticks = all_ticks(n_layers)
    kept = [tick for tick in ticks[:-1:step] if n_layers - tick >= step * (ticks[1] - ticks[0] if n_layers else 1)]
    return [*kept, n_layers] if n_layers else ticks


def depth_bar(bar: Axes, scale: Normalize, size: float = 8) -> None:
    """Draws the bar that says which colour is which depth.

    Args:
        bar: its axes; their size must be final.
        scale: from 0 to the largest depth.
        size: font size of its label.
    """
    figure = bar.get_figure(root=True)
    assert figure is not None
    depths = figure.colorbar(ScalarMappable(scale, canvas.DEPTH_COLOURS), cax=bar)
    depths.set_ticks(depth_ticks(int(scale.vmax or 1), canvas.inches(bar)[1]))
    depths.set_label("depth (layers kept)", fontsize=size)
    bar.tick_params(labelsize=8)
