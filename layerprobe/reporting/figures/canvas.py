"""The frame of every figure: style, palette, footnote, and saving as SVG, PNG and CSV.

Figures are `matplotlib.figure.Figure` objects made without pyplot: no global state, no window, no backend to choose.
The style is seaborn's, with sizes and colours of our own.
A figure function takes a tidy table and returns a figure; it does not read files and does not show anything.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple

from layerprobe.store.atomic import replacing, write_csv

WIDTH = 9.0
"""Inches. At 100 pixels per inch this is the width of a README, so font sizes below are what a reader sees."""
PNG_DPI = 150
FIGURE_SUFFIXES = (".svg", ".png", ".csv")
FOOTNOTE_LINE = 0.16
FOOTNOTE_CHARACTERS = 134
LEGEND_LINE = 0.22
LEGEND_ENTRY, LEGEND_CHARACTER = 0.58, 0.078
"""Inches that the handle and the gaps of a legend entry take, and each of its characters; a little generous."""

# Okabe and Ito, Color Universal Design: told apart under the common forms of colour blindness.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
INK, QUIET, PALE = "#222222", "#666666", "#DDDDDD"
DEPTH_COLOURS = "viridis_r"
"""Colour map of depths, light to dark."""
BAR_WIDTH = 0.12
"""Inches of a colour bar."""

LOOK: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so a figure is the same on every machine
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
SIZES: dict[str, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "axes.linewidth": 0.8,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
    "xtick.major.size": 3.5,
    "ytick.major.size": 3.5,
}
STYLE: dict[Any, Any] = {
    **sns.axes_style("ticks", rc=LOOK),
    **sns.plotting_context("paper", rc=SIZES),
    "svg.hashsalt": "layerprobe",
}
"""Settings of matplotlib under which every figure is drawn and saved."""


@dataclass(frozen=True)
class NamedFigure:
    """A figure, the name of its files and the table it shows."""

    name: str
    figure: Figure
    table: pd.DataFrame

    @property
    def markdown(self) -> str:
        """Image and link to the numbers, relative to the report's folder."""
        return f"![{self.name}](figures/{self.name}.svg)\n\nNumbers: [{self.name}.csv](figures/{self.name}.csv)"


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Returns an empty figure of `width` x `height` inches on white."""
    return Figure(figsize=(width, height), facecolor="white")


def panel(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Adds axes at a place given in inches from the figure's lower left corner."""
    full_width, full_height = figure.get_size_inches()
    return figure.add_axes((left / full_width, bottom / full_height, width / full_width, height / full_height))


def restyle(axes: Axes) -> None:
    """Gives axes that were made under other settings the look of those that are made here."""
    sns.despine(ax=axes)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set(color=QUIET, linewidth=SIZES["axes.linewidth"])
    width, length = SIZES["xtick.major.width"], SIZES["xtick.major.size"]
    axes.tick_params(labelsize=SIZES["xtick.labelsize"], colors=INK, width=width, length=length)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(fontsize=SIZES["axes.labelsize"], color=INK)


def inches(axes: Axes) -> tuple[float, float]:
    """Returns width and height of axes, without their labels."""
    figure = axes.get_figure(root=True)
    box = axes.get_window_extent()
    dpi = 1.0 if figure is None else figure.dpi
    return box.width / dpi, box.height / dpi


def title(figure: Figure, text: str) -> None:
    """Writes the figure's title at its upper left corner."""
    width, height = figure.get_size_inches()
    figure.text(0.1 / width, 1 - 0.1 / height, text, ha="left", va="top", fontsize=12, fontweight="bold")


def span(values: pd.Series, share: float) -> tuple[float, float]:
    """Returns the limits of an axis that panels have in common: all values, and `share` of their range as room."""
    low, high = float(values.min()), float(values.max())
    room = share * max(high - low, 1e-4)
    return low - room, high + room


def legend_strip(figure: Figure, handles: Sequence[Any], texts: Sequence[str]) -> None:
    """Writes a legend under the title, outside all panels, so that it never covers data; see `legend_lines`.

    A handle may be a tuple of artists, drawn over each other.
    """
    height = figure.get_size_inches()[1]
    start = 0
    for line, n_entries in enumerate(legend_lines(texts)):
        entries = slice(start, start + n_entries)
        figure.legend(
            handles[entries],
            texts[entries],
            loc="upper left",
            bbox_to_anchor=(0.0, 1 - (0.3 + line * LEGEND_LINE) / height),
            ncols=n_entries,
            frameon=False,
            handler_map={tuple: HandlerTuple(ndivide=1)},
            columnspacing=1.6,
        )
        start += n_entries


def legend_lines(texts: Sequence[str], width: float = WIDTH) -> list[int]:
    """Returns how many entries stand in each line of a legend `width` inches wide; each line takes `LEGEND_LINE`."""
    lines: list[int] = []
    room = 0.0
    for text in texts:
        needed = LEGEND_ENTRY + LEGEND_CHARACTER * len(text)
        if not lines or needed > room:
            lines.append(0)
            room = width
        lines[-1] += 1
        room -= needed
    return lines


def footnote(figure: Figure, text: str) -> None:
    """Writes the caption at the figure's lower left corner, wrapped to its width; `footnote_height` is its room."""
    width, height = figure.get_size_inches()
    wrapped = "\n".join(_wrap(text, float(width)))
    figure.text(0.1 / width, 0.08 / height, wrapped, ha="left", va="bottom", fontsize=8.5, color=QUIET)


def footnote_height(text: str, width: float = WIDTH) -> float:
    """Returns the inches that `footnote` needs for `text`."""
    return 0.14 + FOOTNOTE_LINE * len(_wrap(text, width))


def _wrap(text: str, width: float) -> list[str]:
    # A number stays with its unit, and a study's name in one piece.
    tied = text.replace(" %", "\u00a0%")
    lines = textwrap.wrap(tied, int(FOOTNOTE_CHARACTERS * width / WIDTH), break_on_hyphens=False)
    return [line.replace("\u00a0", " ") for line in lines]


def save_figure(folder: Path, named: NamedFigure) -> None:
    """Writes NAME.svg, NAME.png and NAME.csv into `folder`; the same figure gives the same bytes every time."""
    save_images(folder, named.name, named.figure)
    write_csv(folder / f"{named.name}.csv", named.table)


def save_images(folder: Path, name: str, figure: Figure) -> None:
    """Writes NAME.svg and NAME.png into `folder`; the same figure gives the same bytes every time."""
    with mpl.rc_context(STYLE):
        for suffix, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
            with replacing(folder / f"{name}{suffix}") as temporary:
                figure.savefig(temporary, format=suffix[1:], dpi=PNG_DPI, metadata=metadata)
