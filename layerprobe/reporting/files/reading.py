"""Reading the files of a study: absent ones are None, damaged ones are refused in one line that names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pandas as pd
import yaml

from layerprobe import columns
from layerprobe.errors import InputError

TEXT_COLUMNS = (
    *(columns.MEASURE, columns.ROWS, columns.SCORE, columns.SELECTION, columns.KIND),
    *(columns.PROTOCOL, columns.SPLIT, columns.METRIC, columns.COST, columns.ON_FRONT),
    *(columns.VERDICT, columns.KEPT, columns.OWN_VERDICT, columns.IS_OWN),
)
"""What a table may hold beside numbers."""
AGAIN = "run the stage that writes it again"
T = TypeVar("T")


def read(path: Path, reader: Callable[[Path], T]) -> T:
    """Reads a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return reader(path)
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read ({reason}); {AGAIN}") from error


def optional(path: Path, reader: Callable[[Path], T]) -> T | None:
    """Reads a file that may be absent."""
    return read(path, reader) if path.exists() else None


def optional_table(path: Path, reader: Callable[[Path], pd.DataFrame], names: tuple[str, ...]) -> pd.DataFrame | None:
    """Reads a table that may be absent and checks that it has the columns `names`."""
    return with_columns(path, read(path, reader), names) if path.exists() else None


def with_columns(path: Path | str, table: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    """Returns the table.

    Raises:
        InputError: it lacks a column.
    """
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise InputError(f"{path} must have the columns {', '.join(names)}; missing: {', '.join(missing)}; {AGAIN}")
    return table


def with_numbers(path: Path | str, table: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    """Returns the columns `names`; only `TEXT_COLUMNS` may hold words.

    Raises:
        InputError: a column of numbers holds something else.
    """
    numbers = {name: pd.to_numeric(table[name], errors="coerce") for name in names if name not in TEXT_COLUMNS}
    for name, cells in numbers.items():
        words = table.loc[cells.isna() & table[name].notna(), name]
        if len(words):
            raise InputError(f"{path} must hold numbers in the column {name}; got {words.iloc[0]!r}; {AGAIN}")
    if table.empty:  # is read as text
        return table[list(names)].astype(dict.fromkeys(numbers, "float64"))
    return table[list(names)].assign(**numbers)
