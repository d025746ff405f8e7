"""What the depth figure of variants draws: one series per family of selections, and where its points stand.

Takes `tables.variants_table`, hands on series with their looks and the place of every selection on the depth axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from layerprobe import columns
from layerprobe.kinds import VARIANT
from layerprobe.reporting.figures import canvas
from layerprobe.reporting.tables.curve import FAMILY
from layerprobe.reporting.words.formats import shortened

Looks = tuple[str, str, str]
"""Colour, marker, line style."""

MAIN_FAMILY = "first"
MAIN_LOOK: Looks = (canvas.BLUE, "o", "-")
TWIN_LOOK: Looks = (canvas.SKY, "o", "--")
TWIN_LABEL = "same layers, random initialisation"
UNORDERED_FAMILIES = ("keep", "drop", "random")
LISTED_FAMILIES = ("keep", "drop")
FAMILY_COLOURS = (canvas.ORANGE, canvas.GREEN, canvas.VERMILION, canvas.INK, canvas.QUIET)
FAMILY_MARKERS = "s^vXP<>"
"""One per family there can be beside `first`, so that no two look alike."""
SIDE_STEP = 0.025
MOST_ASIDE = 0.4


@dataclass(frozen=True)
class Series:
    """Variants drawn alike.

    Attributes:
        label: legend entry.
        look: colour, marker and line style; no line where the selections have no order.
        selections: texts of its members.
        is_main: whether it is `first:k`, which has a band; the others have bars.
    """

    label: str
    look: Looks
    selections: tuple[str, ...]
    is_main: bool


def variant_series(table: pd.DataFrame) -> list[Series]:
    """Returns `first:k` and then the other families; each `keep` and `drop` alone while there are enough looks."""
    rows = table.loc[table[columns.KIND] == VARIANT, [FAMILY, columns.SELECTION]].drop_duplicates()
    members: dict[str, list[str]] = {}
    for family, selection in rows.itertuples(index=False):
        members.setdefault(family, []).append(selection)
    main = Series("first:k", MAIN_LOOK, tuple(members.pop(MAIN_FAMILY, ())), True)
    apart: dict[str, list[str]] = {}
    for family, selections in members.items():
        apart |= {text: [text] for text in selections} if family in LISTED_FAMILIES else {family: selections}
    shown = apart if len(apart) <= len(FAMILY_MARKERS) else members
    return [main, *(_other(position, name, shown[name]) for position, name in enumerate(shown))]


def _other(position: int, name: str, selections: list[str]) -> Series:
    family = name.split(":")[0]
    if len(selections) == 1:
        label = shortened(selections[0])
    else:
        label = name if family in UNORDERED_FAMILIES else f"{name}:{'n' if name == 'every' else 'k'}"
    look = (
        FAMILY_COLOURS[position % len(FAMILY_COLOURS)],
        FAMILY_MARKERS[position % len(FAMILY_MARKERS)],
        "" if family in UNORDERED_FAMILIES else ":",
    )
    return Series(label, look, tuple(selections), False)


def places(table: pd.DataFrame, n_layers: int) -> dict[str, float]:
    """Returns where each selection stands on the depth axis.

    `first:k` stands at its depth. Others of the same depth stand beside it, left and right in turn; the first place to
    the right is kept free for the distilled student. None stands more than 0.4 from its depth.

    Args:
        table: `tables.variants_table`.
        n_layers: L; a step is a fortieth of it.
    """
    rows = table.loc[table[columns.KIND] == VARIANT, [columns.SELECTION, columns.DEPTH, FAMILY]].drop_duplicates()
    place: dict[str, float] = {}
    for depth, group in rows.groupby(columns.DEPTH):
        others = group.loc[group[FAMILY] != MAIN_FAMILY, columns.SELECTION].to_list()
        steps = [-(i // 2 + 1) if i % 2 == 0 else i // 2 + 2 for i in range(len(others))]  # -1, 2, -2, 3, ...
        if len(others) == len(group) and len(others) == 1:
            steps = [0]
        step = min(SIDE_STEP * n_layers, MOST_ASIDE / max(map(abs, steps), default=1)) if any(steps) else 0.0
        place |= {text: float(str(depth)) + step * aside for text, aside in zip(others, steps, strict=True)}
        place |= dict.fromkeys(group.loc[group[FAMILY] == MAIN_FAMILY, columns.SELECTION], float(str(depth)))
    return place
