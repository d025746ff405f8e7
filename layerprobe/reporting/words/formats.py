"""Words that only reports need; how numbers, selections and lists are written stands in `layerprobe.wording`."""

from __future__ import annotations

import pandas as pd

from layerprobe.wording import UNKNOWN, level

SEEDS_TEXT = " With several seeds: their mean, with the lowest and the highest bound of any seed."
"""What a caption adds where several seeds were averaged."""
LONGEST = 18
"""Characters of a selection that a figure has room for."""


def seconds(value: float | None) -> str:
    """Returns a time in seconds with one digit; `-` where there is none.

    >>> seconds(1234.56), seconds(None)
    ('1,234.6', '-')
    """
    return UNKNOWN if value is None or pd.isna(value) else f"{value:,.1f}"


def shortened(selection: str) -> str:
    """Returns a selection that fits a figure, cut with an ellipsis where it is long."""
    return selection if len(selection) <= LONGEST else f"{selection[: LONGEST - 1]}\u2026"


def candidates(protocol: str) -> str:
    """Returns what a protocol ranks the target among.

    >>> candidates("full"), candidates("sampled-99")
    ('the whole catalogue', '99 uniform negatives, the same for every model')
    """
    if protocol == "full":
        return "the whole catalogue"
    return f"{protocol.removeprefix('sampled-')} uniform negatives, the same for every model"


def confidence(alpha: float | None) -> str:
    """Returns what an interval of the curve is; without the level where it is not known.

    >>> confidence(0.05)
    '95 % bootstrap interval over users'
    """
    covered = "" if alpha is None else f"{level(1 - alpha)} "
    return f"{covered}bootstrap interval over users"
