"""The figure of who loses: relative differences from the full model by group, one panel per slice."""

from __future__ import annotations

import textwrap

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from layerprobe import columns
from layerprobe.kinds import STUDENT, VARIANT
from layerprobe.reporting.figures import canvas
from layerprobe.reporting.figures.series import Looks
from layerprobe.reporting.tables.curve import NAME, RELATIVE_HIGH, RELATIVE_LOW
from layerprobe.reporting.tables.slice_differences import RELATIVE_HIGH_ALL, RELATIVE_LOW_ALL
from layerprobe.reporting.tables.slices import METRIC, REFERENCE, SLICE_NAMES, group_name
from layerprobe.wording import level, metric_label

ROW_HEIGHT, MODEL_HEIGHT = 0.22, 0.17
LABEL_CHARACTER, LABEL_ROOM, RIGHT = 0.078, 0.4, 0.16
TITLE_CHARACTERS, TITLE_ROOM, LEGEND_ROOM, TICK_ROOM = 22, 0.5, 0.42, 0.62
LOOKS: dict[str, Looks] = {
    VARIANT: (canvas.BLUE, "o", "-"),
    STUDENT: (canvas.PURPLE, "D", "-"),
    REFERENCE: (canvas.INK, "s", "-"),
}
FURTHER = (canvas.ORANGE, canvas.GREEN, canvas.VERMILION)
"""Colours of students after the first."""
WIDEST = 100.0
"""Per cent. A point further out is an arrow at the edge, a bar leaves the panel."""


@mpl.rc_context(canvas.STYLE)
def differences_figure(table: pd.DataFrame, margin: float | None, caption: str) -> Figure:
    """Draws a point per model and group, its own interval as a thick bar and that for all groups as a thin one.

    Args:
        table: `slice_differences.shown_differences`.
        margin: allowed loss as a share of the full model's value; None draws no margin.
        caption: footnote; says what the bars are, over how many users, and the commit.
    """
    looks = model_looks(table)
    slices = [(str(name), rows) for name, rows in table.groupby(columns.SLICE, sort=False)]
    most = max(rows[columns.GROUP].nunique() for _, rows in slices)
    height = most * (ROW_HEIGHT + MODEL_HEIGHT * len(looks))
    handles, texts = _legend(looks, margin)
    strip = LEGEND_ROOM + canvas.LEGEND_LINE * (len(canvas.legend_lines(texts)) - 1)
    bottom = canvas.footnote_height(caption) + TICK_ROOM
    figure = canvas.new_figure(bottom + height + TITLE_ROOM + strip + 0.25)
    canvas.title(figure, f"Who loses? {metric_label(*METRIC)} by group of users, compared with the full model")
    canvas.legend_strip(figure, handles, texts)
    canvas.footnote(figure, caption)
    labels = [_label_room(rows, name) for name, rows in slices]
    width = (canvas.WIDTH - sum(labels)) / len(slices) - RIGHT
    for position, (name, rows) in enumerate(slices):
        left = sum(labels[: position + 1]) + position * (width + RIGHT)
        own = height * rows[columns.GROUP].nunique() / most
        axes = canvas.panel(figure, left, bottom + height - own, width, own)
        _draw_panel(axes, rows, name, looks)
        axes.set_xlim(-_reach(table), _reach(table))
        _mark_outside(axes, rows, looks)
        axes.axvline(0, color=canvas.INK, lw=1)
        if margin is not None:
            axes.axvline(-100 * margin, color=canvas.INK, lw=1.2, ls="--")
    return figure


def _label_room(rows: pd.DataFrame, slice_name: str) -> float:
    """Returns the inches left of a panel: for the longest name of a group."""
    return LABEL_ROOM + LABEL_CHARACTER * max(len(group_name(group, slice_name)) for group in rows[columns.GROUP])


def model_looks(table: pd.DataFrame) -> dict[str, Looks]:
    """Returns the look of each model by its name; no two look alike while there are up to four students."""
    looks: dict[str, Looks] = {}
    further = iter(FURTHER)
    for name, kind in table[[NAME, columns.KIND]].drop_duplicates().itertuples(index=False):
        colour, marker, line = LOOKS[kind]
        colour = next(further, canvas.QUIET) if LOOKS[kind] in looks.values() else colour
        looks[name] = (colour, marker, line)
    return looks


def _reach(table: pd.DataFrame) -> float:
    """Returns half the width of the panels in per cent: all points and their own intervals, at most `WIDEST`."""
    shares = table[[columns.RELATIVE, RELATIVE_LOW, RELATIVE_HIGH]].abs().max().max()
    return min(WIDEST, 1.1 * 100 * shares) if shares > 0 else 1.0


def _draw_panel(axes: Axes, rows: pd.DataFrame, slice_name: str, looks: dict[str, Looks]) -> None:
    groups = rows[columns.GROUP].drop_duplicates().to_list()
    for name, (colour, marker, _) in looks.items():
        points = rows.loc[rows[NAME] == name]
        place = _places(points, groups, looks, name)
        shares = [columns.RELATIVE, RELATIVE_LOW, RELATIVE_HIGH, RELATIVE_LOW_ALL, RELATIVE_HIGH_ALL]
        value, low, high, low_all, high_all = (100 * points[share].to_numpy(float) for share in shares)
        axes.hlines(place, low_all, high_all, colors=colour, lw=0.9)
        axes.hlines(place, low, high, colors=colour, lw=3.2, alpha=0.45)
        filled = np.where(np.isfinite(low), colour, "white")
        axes.scatter(value, place, c=list(filled), edgecolors=colour, marker=marker, s=22, zorder=3)
    axes.set_yticks(range(len(groups)), [group_name(group, slice_name) for group in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    for edge in range(1, len(groups)):
        axes.axhline(edge - 0.5, color=canvas.PALE, lw=0.7)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=5)
    axes.grid(axis="x", color=canvas.PALE, lw=0.7)
    axes.set_xlabel("difference, %")
    axes.set_title(textwrap.fill(SLICE_NAMES[slice_name], TITLE_CHARACTERS), loc="left", fontsize=10)


def _places(rows: pd.DataFrame, groups: list[str], looks: dict[str, Looks], name: str) -> np.ndarray:
    """Returns the height of a model's points: one row per group, models one under the other within it."""
    step = MODEL_HEIGHT / (ROW_HEIGHT + MODEL_HEIGHT * len(looks))
    aside = step * (list(looks).index(name) - (len(looks) - 1) / 2)
    return np.array([groups.index(group) + aside for group in rows[columns.GROUP]])


def _mark_outside(axes: Axes, rows: pd.DataFrame, looks: dict[str, Looks]) -> None:
    groups = rows[columns.GROUP].drop_duplicates().to_list()
    edge = axes.get_xlim()[1]
    for name, (colour, _, _) in looks.items():
        points = rows.loc[rows[NAME] == name]
        place, value = _places(points, groups, looks, name), 100 * points[columns.RELATIVE].to_numpy(float)
        for sign, marker in ((-1, "<"), (1, ">")):
            outside = sign * value > edge
            axes.scatter(np.full(outside.sum(), 0.95 * sign * edge), place[outside], color=colour, marker=marker, s=30)


def _legend(looks: dict[str, Looks], margin: float | None) -> tuple[list[Line2D], list[str]]:
    entries = {
        name: Line2D([], [], color=colour, marker=marker, lw=1.6, ms=5) for name, (colour, marker, _) in looks.items()
    }
    if margin is not None:
        entries[f"margin (-{level(margin)})"] = Line2D([], [], color=canvas.INK, lw=1.2, ls="--")
    return list(entries.values()), list(entries)
