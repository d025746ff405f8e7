"""A heat map in given axes: the cells, their numbers where there is room, and the colour bar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from layerprobe.reporting.figures import canvas

SMALLEST_CELL = 0.27
"""Inches a cell needs for its number."""
NUMBER_SIZE = 8


@dataclass(frozen=True)
class ColourScale:
    """What a colour means.

    Attributes:
        low: value of the first colour.
        high: value of the last colour.
        colours: name of the colour map.
        extend: `max` where values may lie above `high`, which the colour bar then shows.
    """

    low: float
    high: float
    colours: str
    extend: str = "neither"


def draw_heat_map(axes: Axes, matrix: np.ndarray, scale: ColourScale, bar: Axes) -> None:
    """Draws the cells, row 0 at the bottom; cell (row, column) has its centre at (column + 0.5, row + 0.5).

    Numbers are written where every cell of the axes has room for one.

    Args:
        axes: their size must be final.
        matrix: one value per cell; NaN leaves a cell white.
        scale: the colours.
        bar: axes of the colour bar.
    """
    width, height = canvas.inches(axes)
    has_numbers = min(width / matrix.shape[1], height / matrix.shape[0]) >= SMALLEST_CELL
    sns.heatmap(
        matrix,
        ax=axes,
        vmin=scale.low,
        vmax=scale.high,
        cmap=scale.colours,
        annot=np.vectorize(cell_text, otypes=[object])(matrix) if has_numbers else None,
        fmt="",
        annot_kws={"size": NUMBER_SIZE},
        rasterized=True,  # a path per cell makes an SVG large, and viewers show white lines between them
        cbar_ax=bar,
        cbar_kws={"extend": scale.extend},
        xticklabels=False,
        yticklabels=False,
    )
    axes.invert_yaxis()  # seaborn draws row 0 at the top
    bar.tick_params(labelsize=NUMBER_SIZE)


def cell_text(value: float) -> str:
    """Returns a value in two digits; what is not quite 1 does not look like it.

    >>> cell_text(0.5), cell_text(-0.25), cell_text(0.998), cell_text(1.0), cell_text(0.001)
    ('.50', '-.25', '>.99', '1', '0')
    """
    if np.isnan(value):
        return ""
    if abs(value) < 0.005 or abs(value) > 1 - 1e-6:
        return f"{round(value)}"
    if abs(value) >= 0.995:
        return ">.99" if value > 0 else "<-.99"
    return f"{value:.2f}".replace("0.", ".", 1)
