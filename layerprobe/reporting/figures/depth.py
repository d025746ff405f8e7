"""The two figures of a metric against depth. They answer two different questions and are never mixed.

`variants_figure`: what a model with k layers reaches when it is fine-tuned with k layers; each point is a training.
`exits_figure`: what one trained full model reaches when its user vector is read after k layers; no layer is retrained.
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
from layerprobe.kinds import CONTROLS, SASREC, STUDENT, VARIANT, label_of, names_of
from layerprobe.reporting.figures import canvas
from layerprobe.reporting.figures.direct_labels import EdgeLabel, label_right_edge
from layerprobe.reporting.figures.series import TWIN_LABEL, TWIN_LOOK, Looks, places, variant_series
from layerprobe.wording import metric_label

PANEL_WIDTH, PANEL_HEIGHT = 2.75, 2.6
LEFT, BETWEEN = 0.82, 1.62
TITLE_ROOM, LEGEND_ROOM, TICK_ROOM = 0.45, 0.25, 0.72
MOST_TICKS = 12
STUDENT_SHIFT = 0.025
PLACE = "place"
FULL_LABEL = "full model"
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
    "exit-probe": "by a head fitted at k",
    "exit-norm": "through the final norm",
    "exit-raw": "raw, without the norm",
}


@mpl.rc_context(canvas.STYLE)
def variants_figure(table: pd.DataFrame, n_layers: int, caption: str) -> Figure:
    """Draws fine-tuned models, their control twins, distilled students and floors; one panel per metric.

    Args:
        table: `tables.variants_table`.
        n_layers: L, the depth of the full model, which is marked.
        caption: footnote; says what the band is, over how many users, and the commit.
    """
    series = variant_series(table)
    kinds = set(table[columns.KIND])
    entries = [(one.label, one.look) for one in series]
    entries += [(TWIN_LABEL, TWIN_LOOK)] if kinds & set(CONTROLS) else []
    entries += [(label_of(STUDENT), (canvas.PURPLE, "D", ""))] if STUDENT in kinds else []
    place = places(table, n_layers)
    table = table.assign(**{PLACE: table[columns.SELECTION].map(place)})
    title = "Fine-tuned at that depth: every point is a training of its own"
    figure, panels = _frame(table, caption, title, [text for text, _ in entries])
    for axes, points in panels:
        variants = points.loc[points[columns.KIND] == VARIANT]
        twins = points.loc[points[columns.KIND].isin(CONTROLS)]
        for one in series:
            _draw_twins(axes, twins.loc[twins[columns.SELECTION].isin(one.selections)], one.is_main)
        for one in series:
            found = variants.loc[variants[columns.SELECTION].isin(one.selections)]
            _draw_series(axes, found, one.look, with_band=one.is_main)
        _draw_students(axes, points.loc[points[columns.KIND] == STUDENT], n_layers)
        _finish(axes, points, n_layers, "control")
    _legend(figure, entries)
    return figure


@mpl.rc_context(canvas.STYLE)
def exits_figure(table: pd.DataFrame, n_layers: int, caption: str) -> Figure:
    """Draws the exits of one trained full model, by heads of their own, through its own head and raw, and the floors.

    Args:
        table: `tables.exits_table`.
        n_layers: L, the depth of the full model, which is marked.
        caption: as for `variants_figure`.
    """
    looks = {kind: look for kind, look in EXIT_LOOKS.items() if kind in set(table[columns.KIND])}
    entries = [(EXIT_LABELS[kind], look) for kind, look in looks.items()]
    title = "One trained full model, read after k layers: no layer is retrained"
    figure, panels = _frame(
        table.assign(**{PLACE: table[columns.DEPTH]}), caption, title, [text for text, _ in entries]
    )
    for axes, points in panels:
        for kind, look in looks.items():
            _draw_series(axes, points.loc[points[columns.KIND] == kind], look, with_band=True)
        _finish(axes, points, n_layers, "input")
    _legend(figure, entries)
    return figure


def _frame(
    table: pd.DataFrame, caption: str, title: str, entries: list[str]
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """Returns a figure with one empty panel per metric and room for the legend's entries, and the rows of each."""
    groups: list[Any] = list(table.groupby([columns.METRIC, columns.K], sort=False))
    foot = canvas.footnote_height(caption)
    bottom = foot + TICK_ROOM
    more_lines = len(canvas.legend_lines([*entries, FULL_LABEL])) - 1
    legend_room = LEGEND_ROOM + more_lines * canvas.LEGEND_LINE
    figure = canvas.new_figure(bottom + PANEL_HEIGHT + legend_room + TITLE_ROOM)
    canvas.title(figure, title)
    canvas.footnote(figure, caption)
    panels = []
    for position, ((metric, k), points) in enumerate(groups):
        left = LEFT + position * (PANEL_WIDTH + BETWEEN)
        axes = canvas.panel(figure, left, bottom, PANEL_WIDTH, PANEL_HEIGHT)
        axes.set_ylabel(metric_label(str(metric), int(k)))
        panels.append((axes, points))
    return figure, panels


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
    axes.plot(place, value, color=colour, marker=marker, ls=line, ms=5.5, mfc="white", mew=1.4, lw=1.4, zorder=2.5)


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
        color=canvas.PURPLE,
        markeredgecolor=canvas.INK,
        ms=7,
        capsize=4,
        lw=1.8,
        zorder=4,
    )


def _finish(axes: Axes, points: pd.DataFrame, n_layers: int, zero: str) -> None:
    """Adds floors, names depth 0 `zero`, marks the full model, sets limits and, last, labels, which depend on them."""
    labels = []
    for kind in names_of("floor"):
        for value in points.loc[points[columns.KIND] == kind, columns.VALUE]:
            colour, dashes = FLOOR_LOOKS.get(kind, OTHER_FLOOR)
            axes.axhline(value, color=colour, ls=dashes, lw=1.2, zorder=1.5)
            labels.append(EdgeLabel(value, label_of(kind), colour))
    is_full = points[columns.DEPTH].eq(n_layers).fillna(False) & points[columns.KIND].isin((VARIANT, "exit-norm"))
    full = points.loc[is_full, columns.VALUE]
    axes.plot(np.full(len(full), n_layers), full, **FULL_MARK)
    axes.set_xlim(-0.04 * n_layers - 0.2, 1.04 * n_layers + 0.2)
    axes.set_ylim(0, 1.08 * points[[columns.VALUE, columns.CI_HIGH]].max().max())
    axes.grid(axis="y", color=canvas.PALE, lw=0.7)
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
    "mec": canvas.INK,
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
    for text, (colour, marker, line) in entries:
        if text == TWIN_LABEL:
            handles.append(Line2D([], [], color=colour, marker=marker, ls=line, lw=1.4, ms=5.5, mfc="white", mew=1.4))
            continue
        drawn = Line2D([], [], color=colour, marker=marker, ls=line, lw=1.8, ms=5)
        handles.append((Patch(color=colour, alpha=0.18, lw=0), drawn) if line in ("-", "--") else drawn)
    handles.append(Line2D([], [], **FULL_MARK))
    canvas.legend_strip(figure, handles, [*(text for text, _ in entries), FULL_LABEL])
