"""How a report speaks of selections: by depth where a study knows `first:k` alone, else by their text and layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from layerprobe import columns

LONGEST = 18
"""Characters of a selection that a figure has room for."""


def selection_of(row: Mapping[str, Any]) -> str:
    """Returns the selection of a row of `decision.json`; a row that names a depth alone means `first:k`."""
    return str(row.get(columns.SELECTION) or f"first:{row[columns.DEPTH]}")


def keeps_first(text: str) -> bool:
    """Tells whether a selection is of the form `first:k`."""
    return text.startswith("first:")


def noun(texts: Iterable[str]) -> str:
    """Returns what one member of a family is called: depth or selection."""
    return "depth" if all(keeps_first(text) for text in texts) else "selection"


def shortened(text: str) -> str:
    """Returns a selection that fits a figure, cut with an ellipsis where it is long."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}\u2026"


def layers_text(layers: Sequence[int]) -> str:
    """Returns layer indices with runs of three or more joined.

    >>> layers_text([0, 1, 2, 3, 6, 8, 9])
    '0-3, 6, 8, 9'
    >>> layers_text([])
    'none'
    """
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    parts = [f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return ", ".join(parts) or "none"
