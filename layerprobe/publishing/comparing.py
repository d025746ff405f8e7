"""Stored results against results that were computed again, cell by cell: what differs is named by its place."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import isclose, isnan
from pathlib import Path
from typing import Any

import pandas as pd

from layerprobe.errors import InputError
from layerprobe.store.atomic import read_json

EXACT, RESAMPLED = (1e-9, 1e-12), (1e-5, 1e-6)
"""Numbers this close, relative or absolute, are equal: another machine adds in another order."""
BOUNDS = ("ci_low", "ci_high", "lower_bound", "proven_", "minimal_detectable")
"""Beginnings of the names of what comes from resamples of users, whose sums are taken in 32-bit numbers."""
NOTHING = "nothing"


@dataclass(frozen=True)
class Difference:
    """One place where stored and computed do not agree.

    Attributes:
        where: row and column, or key.
        stored, computed: the two as text; `nothing` where one side has no such place.
    """

    where: str
    stored: str
    computed: str

    @property
    def text(self) -> str:
        """The difference in words."""
        return f"{self.where}: stored {self.stored}, computed {self.computed}"


@dataclass(frozen=True)
class Checked:
    """One file that was checked.

    Attributes:
        name: its path in the folder, and for ranks the model.
        how: what was done, in words: "computed again from the ranks".
        numbers: how many numbers were compared.
        skipped: how many could not be, since what they come from did not travel.
        differences: what does not agree.
    """

    name: str
    how: str
    numbers: int = 0
    skipped: int = 0
    differences: tuple[Difference, ...] = ()


Cells = pd.DataFrame
"""A table of text."""


def cells_of(table: pd.DataFrame) -> Cells:
    """Returns a table as the text that its CSV would hold."""
    written = io.StringIO()
    table.to_csv(written, index=False)
    written.seek(0)
    return pd.read_csv(written, dtype=str, keep_default_na=False)


def read_cells(path: Path) -> Cells:
    """Reads a CSV as text.

    Raises:
        InputError: it is missing or cannot be read.
    """
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:  # errors of the parser are ValueErrors
        raise InputError(f"{path} must be a table; {' '.join(str(error).split())}") from error


def compare_tables(
    stored: Cells, computed: Cells, keys: Sequence[str], excused: Callable[[Mapping[str, str]], bool] | None = None
) -> tuple[int, int, tuple[Difference, ...]]:
    """Compares two tables of text, row by row as their keys name them.

    Args:
        stored: as it lies in the folder.
        computed: as it is now.
        keys: columns that tell a row from all others.
        excused: tells whether a stored row need not be computed, since what it comes from did not travel.

    Returns:
        Numbers compared, numbers skipped, and the differences.
    """
    missing = [name for name in computed.columns if name not in stored.columns]
    if missing or any(name not in computed.columns for name in stored.columns):
        columns = ", ".join(stored.columns), ", ".join(computed.columns)
        return 0, 0, (Difference("columns", *columns),)
    ours, theirs = (_by_key(table, keys) for table in (stored, computed))
    numbers = skipped = 0
    differences = [] if len(ours) == len(stored) else [Difference("rows", f"{len(stored)}, some twice", "each once")]
    for key, row in ours.items():
        known = theirs.get(key)
        if known is None and excused is not None and excused(row):
            skipped += sum(is_number(cell) for name, cell in row.items() if name not in keys)
            continue
        found = list(_differing_cells(key, row, known))
        numbers += sum(is_number(cell) for name, cell in row.items() if name not in keys)
        differences += found
    differences += [Difference(_row(key), NOTHING, "a row") for key in theirs if key not in ours]
    return numbers, skipped, tuple(differences)


def _by_key(table: Cells, keys: Sequence[str]) -> dict[tuple[str, ...], dict[str, str]]:
    rows = table.to_dict("records")
    return {tuple(str(row[name]) for name in keys): {str(name): cell for name, cell in row.items()} for row in rows}


def _differing_cells(
    key: tuple[str, ...], stored: Mapping[str, str], computed: Mapping[str, str] | None
) -> Iterator[Difference]:
    if computed is None:
        yield Difference(_row(key), "a row", NOTHING)
        return
    for name, cell in stored.items():
        if not agree(cell, computed[name], name):
            yield Difference(f"{_row(key)}, column {name}", cell or "empty", computed[name] or "empty")


def _row(key: tuple[str, ...]) -> str:
    return f"row {' '.join(part for part in key if part)}"


def compare_plain(stored: Any, computed: Any, place: str = "") -> tuple[int, tuple[Difference, ...]]:
    """Compares plain values of JSON, leaf by leaf.

    Returns:
        Numbers compared, and the differences, each with its place, such as `depths[2].ci_low`.
    """
    if isinstance(stored, dict) and isinstance(computed, dict):
        names = [*stored, *(name for name in computed if name not in stored)]
        pairs = [
            (f"{place}.{name}" if place else name, stored.get(name, NOTHING), computed.get(name, NOTHING))
            for name in names
        ]
    elif isinstance(stored, list) and isinstance(computed, list):
        both = zip_longest(stored, computed, fillvalue=NOTHING)
        pairs = [(f"{place}[{position}]", *pair) for position, pair in enumerate(both)]
    else:
        same = agree(_leaf(stored), _leaf(computed), place.rpartition(".")[2])
        found = () if same else (Difference(place, _leaf(stored), _leaf(computed)),)
        return int(is_number(_leaf(stored)) and not isinstance(stored, str)), found
    parts = [compare_plain(ours, theirs, name) for name, ours, theirs in pairs]
    return sum(count for count, _ in parts), tuple(difference for _, found in parts for difference in found)


def _leaf(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def read_plain(path: Path) -> Any:
    """Reads JSON.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} must be JSON; {' '.join(str(error).split())}") from error


def is_number(cell: str) -> bool:
    """Tells whether text is a number."""
    try:
        return not isnan(float(cell))
    except ValueError:
        return False


def agree(stored: str, computed: str, name: str = "") -> bool:
    """Tells whether two cells say the same: equal text, or numbers that differ by rounding alone.

    Args:
        stored: one cell.
        computed: the other.
        name: their column or key; bounds from resamples may differ by more.

    >>> agree("0.1", "0.10000000000000002"), agree("0.1", "0.1000001"), agree("first:2", "first:3")
    (True, False, False)
    >>> agree("0.1", "0.1000001", "ci_low"), agree("0.1", "0.101", "ci_low")
    (True, False)
    """
    if stored == computed:
        return True
    relative, absolute = RESAMPLED if name.startswith(BOUNDS) else EXACT
    both = is_number(stored) and is_number(computed)
    return both and isclose(float(stored), float(computed), rel_tol=relative, abs_tol=absolute)
