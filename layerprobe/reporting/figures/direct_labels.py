"""Labels at the right edge of a panel, each at the height of its line, moved apart where they would overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from layerprobe.reporting.figures.canvas import INK

FONT_SIZE = 9.0
GAP_POINTS = 12.0
LEADER = (1.015, 1.055)
TEXT_AT = 1.07


@dataclass(frozen=True)
class EdgeLabel:
    """A text for the line at height `value` (data units)."""

    value: float
    text: str
    colour: str = INK


def spread(positions: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Moves positions as little as possible (least squares) so that neighbours are `gap` apart inside [low, high].

    The order is kept. Where the range is too small for all, they stay `gap` apart and leave the range at the top.

    Args:
        positions: any order, shape (n,).
        gap: smallest distance wanted, in the unit of `positions`.
        low: lower end of the range.
        high: upper end of the range.

    Returns:
        float64, shape (n,), in the order given.

    Examples:
        >>> spread(np.array([0.0, 0.4, 3.0]), gap=1.0, low=-1.0, high=5.0).round(2).tolist()
        [-0.3, 0.7, 3.0]
    """
    order = np.argsort(positions, kind="stable")
    steps = gap * np.arange(len(positions))
    wanted = np.asarray(positions, dtype=np.float64)[order] - steps
    # Without the steps, positions that are `gap` apart are positions that do not fall.
    rising = np.clip(_isotonic(wanted), low, max(low, high - gap * (len(positions) - 1)))
    moved = np.empty(len(positions))
    moved[order] = rising + steps
    return moved


def _isotonic(values: np.ndarray) -> np.ndarray:
    """Least-squares fit among non-decreasing sequences, by the max-min formula; for a handful of values."""
    ends = range(len(values))
    return np.array([max(min(values[j : k + 1].mean() for k in ends[i:]) for j in ends[: i + 1]) for i in ends])


def label_right_edge(axes: Axes, labels: Sequence[EdgeLabel]) -> None:
    """Writes the labels beside the axes, with a thin line from each one's true height to its text.

    The axes' limits and size must be final.
    """
    if not labels:
        return
    low, high = axes.get_ylim()
    figure = axes.get_figure(root=True)
    height_points = axes.get_position().height * float(figure.get_size_inches()[1]) * 72 if figure else 1.0
    shares = (np.array([label.value for label in labels]) - low) / (high - low)
    places = spread(shares, GAP_POINTS / height_points, 0.0, 1.0)
    for label, share, place in zip(labels, shares, places, strict=True):
        axes.plot(LEADER, (share, place), transform=axes.transAxes, color=label.colour, lw=0.7, clip_on=False)
        axes.text(
            TEXT_AT, place, label.text, transform=axes.transAxes, color=label.colour, va="center", fontsize=FONT_SIZE
        )
