"""A panel of one metric against depth, in given axes: fine-tuned models or exits, the floors, and the legend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from layerprobe import columns
from layerprobe.kinds import CONTROLS, SASREC, STUDENT, VARIANT, label_of, names_of
from layerprobe.reporting.figures import canvas
from layerprobe.reporting.figures.series import TWIN_LABEL, TWIN_LOOK, Looks, places, variant_series
from layerprobe.reporting.figures.ticks import depth_ticks
from layerprobe.wording import metric_label

STUDENT_SHIFT = 0.025
PLACE = "place"
FULL_LABEL = "full model"
FULL_MARK: dict[str, Any] = {
    "ls": "",
    "marker": "o",
    "ms": 13,
    "mfc": "none",
    "mec": canvas.INK,
    "mew": 1.2,
    "zorder": 5,
}
STUDENT_LOOK: Looks = (canvas.PURPLE, "D", "")
TWIN_SIZES: dict[str, Any] = {"ms": 5.5, "mfc": "white", "mew": 1.4, "lw": 1.4}
FLOOR_LOOKS = {
    SASREC: (canvas.INK, "-"),
    "tfidf": (canvas.QUIET, (0, (6, 2))),
    "markov-1": (canvas.QUIET, (0, (3, 2))),
    "popularity": (canvas.QUIET, (0, (1, 2))),
}
OTHER_FLOOR = (canvas.QUIET, (0, (6, 2, 1, 2)))
"""The look of a floor that has none of its own."""
EXIT_LOOKS = {
    "exit-probe": (canvas.BLUE, "^", "-"),
    "exit-norm": (canvas.GREEN, "o", "-"),
    "exit-raw": (canvas.VERMILION, "s", "--"),
}

EXIT_LABELS = {
    "exit-probe": "probed (own head per k)",
    "exit-norm": "normed (final norm)",
    "exit-raw": "raw (no norm)",
}


def draw_variants(axes: Axes, points: pd.DataFrame, n_layers: int) -> dict[str, Line2D]:
    """Draws the variants figure's panel of one metric and returns the floors' lines by their labels.

    Args:
        axes: where to draw.
        points: rows of `tables.variants_table` of one metric.
        n_layers: L.
    """
    place = places(points, n_layers)
    points = points.assign(**{PLACE: points[columns.SELECTION].map(place)})
    series = variant_series(points)
    variants = points.loc[points[columns.KIND] == VARIANT]
    twins = points.loc[points[columns.KIND].isin(CONTROLS)]
    for family in series:
        _draw_twins(axes, twins.loc[twins[columns.SELECTION].isin(family.selections)], family.is_main)
    for family in series:
        members = variants.loc[variants[columns.SELECTION].isin(family.selections)]
        _draw_series(axes, members, family.look, with_band=family.is_main)
    _draw_students(axes, points.loc[points[columns.KIND] == STUDENT], n_layers)
    return _finish(axes, points, n_layers, "control")


def draw_exits(axes: Axes, points: pd.DataFrame, n_layers: int) -> dict[str, Line2D]:
    """Draws the exits figure's panel of one metric and returns the floors' lines by their labels.

    Args:
        axes: where to draw.
        points: rows of `tables.exits_table` of one metric.
        n_layers: L.
    """
    points = points.assign(**{PLACE: points[columns.DEPTH]})
    for kind, look in EXIT_LOOKS.items():
        _draw_series(axes, points.loc[points[columns.KIND] == kind], look, with_band=True)
    return _finish(axes, points, n_layers, "input")


def variant_entries(table: pd.DataFrame) -> dict[str, Any]:
    """Returns the legend of the variants figure: handles by their texts, without the floors."""
    kinds = set(table[columns.KIND])
    entries = {family.label: _handle(family.look) for family in variant_series(table)}
    if kinds & set(CONTROLS):
        colour, marker, line = TWIN_LOOK
        entries[TWIN_LABEL] = Line2D([], [], color=colour, marker=marker, ls=line, **TWIN_SIZES)
    if STUDENT in kinds:
        entries[label_of(STUDENT)] = _handle(STUDENT_LOOK)
    return entries | {FULL_LABEL: Line2D([], [], **FULL_MARK)}


def exit_entries(table: pd.DataFrame) -> dict[str, Any]:
    """Returns the legend of the exits figure: handles by their texts, without the floors."""
    kinds = set(table[columns.KIND])
    entries = {EXIT_LABELS[kind]: _handle(look) for kind, look in EXIT_LOOKS.items() if kind in kinds}
    return entries | {FULL_LABEL: Line2D([], [], **FULL_MARK)}


def _handle(look: Looks) -> Any:
    """Returns the legend's handle of a series; one with a solid or dashed line has a band behind it."""
    colour, marker, line = look
    drawn = Line2D([], [], color=colour, marker=marker, ls=line, lw=1.8, ms=5)
    return (Patch(color=colour, alpha=0.18, lw=0), drawn) if line in ("-", "--") else drawn


def _draw_series(axes: Axes, points: pd.DataFrame, look: Looks, with_band: bool) -> None:
    if points.empty:
        return
    points = points.sort_values(PLACE)
    depth = points[PLACE].to_numpy(float)
    value, low, high = (points[name].to_numpy() for name in (columns.VALUE, columns.CI_LOW, columns.CI_HIGH))
    colour, marker, line = look
    if with_band:
        axes.fill_between(depth, low, high, color=colour, alpha=0.18, lw=0)
    else:
        axes.vlines(depth, low, high, color=colour, lw=1)
    axes.plot(depth, value, color=colour, marker=marker, ls=line, ms=5, lw=1.8, zorder=3)


def _draw_twins(axes: Axes, points: pd.DataFrame, is_main: bool) -> None:
    """Draws hollow points where the pretrained twin stands, joined by a line for `first:k` alone."""
    if points.empty:
        return
    points = points.sort_values(PLACE)
    place = points[PLACE].to_numpy(float)
    value, low, high = (points[name].to_numpy() for name in (columns.VALUE, columns.CI_LOW, columns.CI_HIGH))
    colour, marker, line = TWIN_LOOK
    axes.vlines(place, low, high, color=colour, lw=1, alpha=0.7)
    line = line if is_main else ""
    axes.plot(place, value, color=colour, marker=marker, ls=line, zorder=2.5, **TWIN_SIZES)


def _draw_students(axes: Axes, points: pd.DataFrame, n_layers: int) -> None:
    """Draws diamonds, a little to the right of their depth so that the fine-tuned point stays visible."""
    if points.empty:
        return
    value, low, high = (points[name].to_numpy() for name in (columns.VALUE, columns.CI_LOW, columns.CI_HIGH))
    axes.errorbar(
        points[columns.DEPTH].to_numpy(float) + STUDENT_SHIFT * n_layers,
        value,
        yerr=np.stack([value - low, high - value]),
        fmt=STUDENT_LOOK[1],
        color=STUDENT_LOOK[0],
        markeredgecolor=canvas.INK,
        ms=7,
        capsize=4,
        lw=1.8,
        zorder=4,
    )


def _finish(axes: Axes, points: pd.DataFrame, n_layers: int, zero: str) -> dict[str, Line2D]:
    """Adds floors, names depth 0 `zero`, marks the full model, sets limits and labels; returns the floors' lines."""
    floors = {}
    for kind in names_of("floor"):
        for value in points.loc[points[columns.KIND] == kind, columns.VALUE]:
            colour, dashes = FLOOR_LOOKS.get(kind, OTHER_FLOOR)
            floors[label_of(kind)] = axes.axhline(value, color=colour, ls=dashes, lw=1.2, zorder=1.5)
    is_full = points[columns.DEPTH].eq(n_layers).fillna(False) & points[columns.KIND].isin((VARIANT, "exit-norm"))
    full = points.loc[is_full, columns.VALUE]
    axes.plot(np.full(len(full), n_layers), full, **FULL_MARK)
    axes.set_xlim(-0.04 * n_layers - 0.2, 1.04 * n_layers + 0.2)
    axes.set_ylim(0, 1.08 * points[[columns.VALUE, columns.CI_HIGH]].max().max())
    axes.grid(axis="y", color=canvas.PALE, lw=0.7)
    axes.set_xlabel("depth k (layers)")
    axes.set_ylabel(metric_label(str(points[columns.METRIC].iloc[0]), int(points[columns.K].iloc[0])))
    ticks = depth_ticks(n_layers)
    names = {0: f"0\n{zero}", n_layers: f"{n_layers}\nfull"}
    axes.set_xticks(ticks, [names.get(tick, str(tick)) for tick in ticks])
    return floors
