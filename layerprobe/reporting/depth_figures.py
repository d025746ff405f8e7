"""The two figures of a metric against depth. They answer two different questions and are never mixed.

`variants_figure`: what a model with k layers reaches when it is fine-tuned with k layers; each point is a training.
`exits_figure`: what one trained full model reaches when its user vector is read after k layers; nothing is retrained.
Source: the motivating figure of SLMRec, arXiv 2405.17890, which draws both.
"""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from layerprobe import columns
from layerprobe.reporting import figures
from layerprobe.reporting.direct_labels import EdgeLabel, label_right_edge
from layerprobe.reporting.tables import FAMILY
from layerprobe.reporting.words import FLOORS, KIND_NAMES, metric_label

PANEL_WIDTH, PANEL_HEIGHT = 2.75, 2.6
LEFT, BETWEEN = 0.82, 1.62
TITLE_ROOM, LEGEND_ROOM, TICK_ROOM = 0.45, 0.25, 0.72
MOST_TICKS = 12
STUDENT_SHIFT = 0.025
FLOOR_LOOKS = {
    "sasrec": (figures.INK, "-"),
    "tfidf": (figures.QUIET, (0, (6, 2))),
    "markov-1": (figures.QUIET, (0, (3, 2))),
    "popularity": (figures.QUIET, (0, (1, 2))),
}
MAIN_FAMILY = "first"
UNORDERED_FAMILIES = ("keep", "drop", "random")
FAMILY_COLOURS = (figures.ORANGE, figures.GREEN, figures.VERMILION, figures.SKY, figures.QUIET)
FAMILY_MARKERS = "s^vDXP"
EXIT_LOOKS = {"exit-norm": (figures.GREEN, "o", "-"), "exit-raw": (figures.VERMILION, "s", "--")}
Looks = tuple[str, str, str]


@mpl.rc_context(figures.STYLE)
def variants_figure(table: pd.DataFrame, n_layers: int, caption: str) -> Figure:
    """Draws models fine-tuned at each depth, distilled students and floors; one panel per metric.

    Args:
        table: `tables.variants_table`.
        n_layers: L, the depth of the full model, which is marked.
        caption: footnote; says what the band is, over how many users, and the commit.
    """
    figure, panels = _frame(table, caption, "Fine-tuned at that depth: every point is a training of its own")
    families = [name for name in table.loc[table[columns.KIND] == "variant", FAMILY].unique() if name != MAIN_FAMILY]
    looks = {MAIN_FAMILY: (figures.BLUE, "o", "-")} | dict(zip(families, _family_looks(families), strict=True))
    for axes, points in panels:
        for family, look in looks.items():
            found = points.loc[(points[columns.KIND] == "variant") & (points[FAMILY] == family)]
            _draw_series(axes, found, look, with_band=family == MAIN_FAMILY)
        _draw_students(axes, points.loc[points[columns.KIND] == "distilled"], n_layers)
        _finish(axes, points, n_layers, "control")
    entries = [(name if name in UNORDERED_FAMILIES else f"{name}:k", look) for name, look in looks.items()]
    if (table[columns.KIND] == "distilled").any():
        entries.append((KIND_NAMES["distilled"], (figures.PURPLE, "D", "")))
    _legend(figure, entries)
    return figure


@mpl.rc_context(figures.STYLE)
def exits_figure(table: pd.DataFrame, n_layers: int, caption: str) -> Figure:
    """Draws the exits of one trained full model, through its final norm and raw, and the floors.

    Args:
        table: `tables.exits_table`.
        n_layers: L, the depth of the full model, which is marked.
        caption: as for `variants_figure`.
    """
    figure, panels = _frame(table, caption, "One trained full model, read after k layers: nothing is retrained")
    for axes, points in panels:
        for kind, look in EXIT_LOOKS.items():
            _draw_series(axes, points.loc[points[columns.KIND] == kind], look, with_band=True)
        _finish(axes, points, n_layers, "input")
    names = {"exit-norm": "through the final norm", "exit-raw": "raw, without the norm"}
    _legend(figure, [(names[kind], look) for kind, look in EXIT_LOOKS.items()])
    return figure


def _frame(table: pd.DataFrame, caption: str, title: str) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """Returns a figure with one empty panel per metric, and the rows of each."""
    groups: list[Any] = list(table.groupby([columns.METRIC, columns.K], sort=False))
    foot = figures.footnote_height(caption)
    bottom = foot + TICK_ROOM
    figure = figures.new_figure(bottom + PANEL_HEIGHT + LEGEND_ROOM + TITLE_ROOM)
    figures.title(figure, title)
    figures.footnote(figure, caption)
    panels = []
    for position, ((metric, k), points) in enumerate(groups):
        left = LEFT + position * (PANEL_WIDTH + BETWEEN)
        axes = figures.panel(figure, left, bottom, PANEL_WIDTH, PANEL_HEIGHT)
        axes.set_ylabel(metric_label(str(metric), int(k)))
        panels.append((axes, points))
    return figure, panels


def _family_looks(families: list[str]) -> list[Looks]:
    return [
        (
            FAMILY_COLOURS[position % len(FAMILY_COLOURS)],
            FAMILY_MARKERS[position % len(FAMILY_MARKERS)],
            "" if family in UNORDERED_FAMILIES else ":",
        )
        for position, family in enumerate(families)
    ]


def _draw_series(axes: Axes, points: pd.DataFrame, look: Looks, with_band: bool) -> None:
    if points.empty:
        return
    points = points.sort_values(columns.DEPTH)
    depth = points[columns.DEPTH].to_numpy(float)
    value, low, high = (points[name].to_numpy() for name in (columns.VALUE, columns.CI_LOW, columns.CI_HIGH))
    colour, marker, line = look
    if with_band:
        axes.fill_between(depth, low, high, color=colour, alpha=0.18, lw=0)
    else:
        axes.vlines(depth, low, high, color=colour, lw=1)
    axes.plot(depth, value, color=colour, marker=marker, ls=line, ms=5, lw=1.8, zorder=3)


def _draw_students(axes: Axes, points: pd.DataFrame, n_layers: int) -> None:
    """Draws diamonds, a little to the right of their depth so that the fine-tuned point stays visible."""
    if points.empty:
        return
    value, low, high = (points[name].to_numpy() for name in (columns.VALUE, columns.CI_LOW, columns.CI_HIGH))
    axes.errorbar(
        points[columns.DEPTH].to_numpy(float) + STUDENT_SHIFT * n_layers,
        value,
        yerr=np.stack([value - low, high - value]),
        fmt="D",
        color=figures.PURPLE,
        markeredgecolor=figures.INK,
        ms=7,
        capsize=4,
        lw=1.8,
        zorder=4,
    )


def _finish(axes: Axes, points: pd.DataFrame, n_layers: int, zero: str) -> None:
    """Adds floors, names depth 0 `zero`, marks the full model, sets limits and, last, labels, which depend on them."""
    labels = []
    for kind in FLOORS:
        for value in points.loc[points[columns.KIND] == kind, columns.VALUE]:
            colour, dashes = FLOOR_LOOKS[kind]
            axes.axhline(value, color=colour, ls=dashes, lw=1.2, zorder=1.5)
            labels.append(EdgeLabel(value, KIND_NAMES[kind], colour))
    is_full = points[columns.DEPTH].eq(n_layers).fillna(False) & points[columns.KIND].isin(("variant", "exit-norm"))
    full = points.loc[is_full, columns.VALUE]
    axes.plot(np.full(len(full), n_layers), full, **FULL_MARK)
    axes.set_xlim(-0.04 * n_layers - 0.2, 1.04 * n_layers + 0.2)
    axes.set_ylim(0, 1.08 * points[[columns.VALUE, columns.CI_HIGH]].max().max())
    axes.grid(axis="y", color=figures.PALE, lw=0.7)
    axes.set_xlabel("depth k (layers)")
    ticks = depth_ticks(n_layers)
    names = {0: f"0\n{zero}", n_layers: f"{n_layers}\nfull"}
    axes.set_xticks(ticks, [names.get(tick, str(tick)) for tick in ticks])
    label_right_edge(axes, labels)


FULL_MARK: dict[str, Any] = {
    "ls": "",
    "marker": "o",
    "ms": 13,
    "mfc": "none",
    "mec": figures.INK,
    "mew": 1.2,
    "zorder": 5,
}


def depth_ticks(n_layers: int) -> list[int]:
    """Returns 0..L, or about twelve of them that always hold 0 and L, for a deep model."""
    step = 1 + n_layers // MOST_TICKS
    inner = [tick for tick in range(0, n_layers, step) if n_layers - tick >= step]
    return [*inner, n_layers] if n_layers else [0]


def _legend(figure: Figure, entries: list[tuple[str, Looks]]) -> None:
    """Writes the legend in its own strip above the panels, so that it never covers data."""
    handles: list[Any] = []
    for _, (colour, marker, line) in entries:
        drawn = Line2D([], [], color=colour, marker=marker, ls=line, lw=1.8, ms=5)
        handles.append((Patch(color=colour, alpha=0.18, lw=0), drawn) if line in ("-", "--") else drawn)
    handles.append(Line2D([], [], **FULL_MARK))
    figures.legend_strip(figure, handles, [*(text for text, _ in entries), "full model"])
