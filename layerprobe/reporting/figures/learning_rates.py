"""The figure of a learning-rate test, drawn from its `range.csv` and `range.json` alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from layerprobe import columns
from layerprobe.reporting.figures import canvas
from layerprobe.store.atomic import read_json

NAME = "range"
TABLE, FACTS = f"{NAME}.csv", f"{NAME}.json"
PANEL_WIDTH, PANEL_HEIGHT = 8.0, 3.2
LEFT, TICK_ROOM, TITLE_ROOM, LEGEND_ROOM = 0.75, 0.6, 0.45, 0.25
HIGHEST = 1.4
"""The axis ends at so many times the first loss; a divergence would leave no room for the rest."""


def draw_rate_test(folder: Path) -> None:
    """Draws `range.svg` and `range.png` beside the table and facts of a learning-rate test."""
    table = pd.read_csv(folder / TABLE)
    canvas.save_images(folder, NAME, rate_figure(table, read_json(folder / FACTS)))


@mpl.rc_context(canvas.STYLE)
def rate_figure(table: pd.DataFrame, facts: dict[str, Any]) -> Figure:
    """Draws the loss over the learning rate, with the suggested rate, the study's own and where it diverged.

    Args:
        table: `columns.RATE_RANGE`; rows whose loss is not finite are not drawn.
        facts: content of `range.json`.
    """
    caption = _caption(facts)
    marks = _marks(facts)
    texts = ["loss", "smoothed", *marks]
    if facts["suggestion"] is not None:
        texts.append("safe")
    legend = LEGEND_ROOM + (len(canvas.legend_lines(texts)) - 1) * canvas.LEGEND_LINE
    bottom = canvas.footnote_height(caption) + TICK_ROOM
    figure = canvas.new_figure(bottom + PANEL_HEIGHT + legend + TITLE_ROOM)
    canvas.title(figure, f"Learning-rate test: {facts['model']}")
    canvas.footnote(figure, caption)
    axes = canvas.panel(figure, LEFT, bottom, PANEL_WIDTH, PANEL_HEIGHT)
    handles: list[Any] = [*_draw_loss(axes, table), *(_draw_mark(axes, *mark) for mark in marks.values())]
    if facts["suggestion"] is not None:
        handles.append(_draw_safe(axes, facts["suggestion"]))
    _finish(axes, table, facts)
    canvas.legend_strip(figure, handles, texts)
    return figure


def _caption(facts: dict[str, Any]) -> str:
    tried, training = facts["tried"], facts["training"]
    git = facts["git"]
    commit = (git["commit"] or "unknown")[:10] + (" with uncommitted changes" if git["dirty"] else "")
    return (
        f"{facts['steps_done']} of {tried['steps']} steps, the rate rising from {tried['low']:g} to {tried['high']:g}; "
        f"about {training['batch_size']} users each, seed {facts['seed']}. Losses are taken before the step's update. "
        f"Safe: up to a third of the rate at which the smoothed loss stops falling. Commit {commit}."
    )


def _marks(facts: dict[str, Any]) -> dict[str, tuple[float, str, Any]]:
    """Returns rate, colour and dashes of each vertical line by what the legend calls it."""
    own, suggestion, diverged = facts["own"], facts["suggestion"], facts["diverged_at"]
    marks: dict[str, tuple[float, str, Any]] = {}
    if suggestion is not None and suggestion["suggested"] is not None:
        marks[f"suggested {suggestion['suggested']:.2g}"] = (suggestion["suggested"], canvas.GREEN, "-")
    marks[f"study's own {own['rate']:g}"] = (own["rate"], canvas.PURPLE, (0, (5, 2)))
    if diverged is not None:
        ending = "not finite" if facts["ending"] == "not finite" else "diverged"
        marks[f"{ending} {diverged:.2g}"] = (diverged, canvas.VERMILION, (0, (1, 1.5)))
    return marks


def _draw_loss(axes: Axes, table: pd.DataFrame) -> list[Line2D]:
    finite = table[np.isfinite(table[columns.LOSS])]
    rate = finite[columns.LEARNING_RATE]
    raw = axes.plot(rate, finite[columns.LOSS], color=canvas.SKY, lw=0, marker=".", ms=4)
    return [*raw, *axes.plot(rate, finite[columns.SMOOTHED], color=canvas.BLUE, lw=2, zorder=3)]


def _draw_mark(axes: Axes, rate: float, colour: str, dashes: Any) -> Line2D:
    return axes.axvline(rate, color=colour, ls=dashes, lw=1.8, zorder=2)


def _draw_safe(axes: Axes, suggestion: dict[str, Any]) -> Patch:
    low = axes.get_xlim()[0]
    axes.axvspan(min(low, suggestion["largest_safe"]), suggestion["largest_safe"], color=canvas.GREEN, alpha=0.08, lw=0)
    return Patch(color=canvas.GREEN, alpha=0.15, lw=0)


def _finish(axes: Axes, table: pd.DataFrame, facts: dict[str, Any]) -> None:
    tried = facts["tried"]
    rates = [tried["low"], tried["high"], facts["own"]["rate"]]
    loss = table.loc[np.isfinite(table[columns.LOSS]), columns.LOSS]
    axes.set_xscale("log")
    axes.set_xlim(0.8 * min(rates), 1.25 * max(rates))
    if len(loss):
        lowest, highest = loss.min(), min(loss.max(), HIGHEST * loss.iloc[0])
        room = 0.05 * (highest - lowest) or 0.05
        axes.set_ylim(lowest - room, highest + room)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.grid(axis="y", color=canvas.PALE, lw=0.7)
