"""Where selections and floors stand on the axis of a figure of the decision, and what they are called there."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from layerprobe import columns
from layerprobe.kinds import label_of
from layerprobe.reporting.figures import canvas
from layerprobe.reporting.figures.ticks import depth_ticks
from layerprobe.reporting.tables.curve import CHOSEN, NAME
from layerprobe.reporting.words.formats import shortened

NAME_CHARACTER = 0.065
FLOOR_STEPS = 10
MOST_NAMES = 24
TICK_ROOM = 1.1


def places(table: pd.DataFrame) -> np.ndarray:
    """Returns where each row stands: `first:k` one apart, then others and floors, with room for names; shape (rows,).

    Args:
        table: columns name (empty for `first:k`) and depth (missing for floors).
    """
    first, other, floor = groups(table)
    step = max(1.0, first.sum() / FLOOR_STEPS)
    further = np.where(other, np.cumsum(other), other.sum() + np.cumsum(floor))
    return np.where(first, np.cumsum(first) - 1, first.sum() - 1 + step * further)


def groups(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tells which rows are `first:k`, which other selections and which floors; each shape (rows,)."""
    floor = table[columns.DEPTH].isna().to_numpy(bool)
    named = (table[NAME] != "").to_numpy(bool)
    return ~floor & ~named, ~floor & named, floor


def family(table: pd.DataFrame) -> str:
    """Returns what the rows are called: depths where all are written `first:k`, else selections."""
    return "selections" if groups(table)[1].any() else "depths"


def tick_room(table: pd.DataFrame) -> float:
    """Returns the inches below a panel: for the longest slanted name, then the axis label."""
    return max(TICK_ROOM, 0.45 + NAME_CHARACTER * max(len(shortened(str(name))) for name in table[NAME]))


def name_places(axes: Axes, table: pd.DataFrame, place: np.ndarray) -> None:
    """Writes the names below a panel, thinned out where they are many, and parts the groups by a line.

    Args:
        axes: where to write.
        table: as for `places`, with the column chosen; a chosen row always has its name.
        place: `places` of the table.
    """
    depth = table[columns.DEPTH]
    is_depth, is_other, is_floor = groups(table)
    every = 1 + is_other.sum() // MOST_NAMES
    named = (depth.isin(depth_ticks(int(depth.max()))).to_numpy(bool) & is_depth) | is_floor
    named |= is_other & ((np.cumsum(is_other) % every == 0) | table[CHOSEN].to_numpy(bool))
    names = [
        str(k) if known else shortened(label_of(str(name)))
        for k, known, name in zip(depth, is_depth, table[NAME], strict=True)
    ]
    axes.set_xticks(place[named], [name for name, shown in zip(names, named, strict=True) if shown])
    for text, known in zip(axes.get_xticklabels(), is_depth[named], strict=True):
        text.set_rotation(0 if known else 60)
        text.set_horizontalalignment("center" if known else "right")
        text.set_rotation_mode("default" if known else "anchor")
    axes.set_xlabel("depth k (layers)", loc="left")
    edge = (place.max() - place.min()) / 16 + 0.1
    axes.set_xlim(place.min() - edge, place.max() + edge)
    parts = [place[group] for group in (is_depth, is_other, is_floor) if group.any()]
    for left, right in zip(parts, parts[1:], strict=False):
        axes.axvline((left.max() + right.min()) / 2, color=canvas.PALE, lw=1)
