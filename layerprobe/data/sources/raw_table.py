"""`RawTable`: named columns as read from a file, still text, and their checked conversion to `Interactions`.

Every message names the file and the line (text), object (JSON) or row (Parquet) of the first bad value.
"""

# pyright: reportAttributeAccessIssue=false
# Arrow makes its compute functions at import time, so no type checker sees them.

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from layerprobe.data.interactions import Interactions
from layerprobe.errors import InputError

MICROSECONDS = 1e6
LARGEST_TIME = 2.0**62


@dataclass(frozen=True)
class LogColumns:
    """The file's own names of the four columns; None where the file has no such column."""

    user: str
    item: str
    timestamp: str | None = None
    rating: str | None = None

    def present(self) -> list[str]:
        """Returns the names that are set."""
        return [name for name in (self.user, self.item, self.timestamp, self.rating) if name is not None]


@dataclass(frozen=True, eq=False)
class RawTable:
    """Columns of one file.

    Attributes:
        path: the file, for messages.
        table: text columns of text files, typed columns of Parquet and JSON files.
        place: row position -> "line 7", the words a message uses for it.
    """

    path: Path
    table: pa.Table
    place: Callable[[int], str]

    def codes(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Codes a column of ids by first appearance.

        Returns:
            int64 codes [rows] and the ids they point to, as strings.

        Raises:
            InputError: an id is empty or null.
        """
        column = as_text(self.table[name])
        absent = pc.or_kleene(column.is_null(), pc.equal(column, ""))
        first = pc.index(absent, True).as_py()
        if first >= 0:
            raise InputError(f"{self.path} {self.place(first)}: an id must not be empty; column {name!r} is")
        return encode(column)

    def numbers(self, name: str) -> np.ndarray:
        """Returns a column as float64.

        Raises:
            InputError: a value is empty, not a number, or not finite.
        """
        values = self._cast(name, pa.float64()).to_numpy()
        finite = np.isfinite(values)  # Arrow reads "nan" and "inf" as numbers
        if not finite.all():
            self._refuse(name, int(np.argmin(finite)))
        return values

    def times(self, name: str) -> np.ndarray:
        """Returns a column of times as int64; fractional times are kept as microseconds, so that they do not tie.

        Raises:
            InputError: a value is empty, not a number, or not finite.
        """
        column = self.table[name]
        if pa.types.is_temporal(column.type) and not column.null_count:
            column = column.cast(pa.timestamp("s")) if pa.types.is_date(column.type) else column
            return column.cast(pa.int64()).to_numpy()
        if not column.null_count:
            try:
                return _trimmed(column).cast(pa.int64()).to_numpy()
            except pa.ArrowInvalid:
                pass  # the conversion to float below takes 1.5e9 and 17.25, and names what is not a number at all
        return self._whole(name, self.numbers(name))

    def _whole(self, name: str, values: np.ndarray) -> np.ndarray:
        scaled = values if np.array_equal(values, np.rint(values)) else np.rint(values * MICROSECONDS)
        too_large = np.abs(scaled) > LARGEST_TIME
        if too_large.any():
            self._refuse(name, int(np.argmax(too_large)))
        return scaled.astype(np.int64)

    def _cast(self, name: str, kind: pa.DataType) -> pa.ChunkedArray:
        column = _trimmed(self.table[name])
        if column.null_count:
            self._refuse(name, pc.index(column.is_null(), True).as_py())
        try:
            return column.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            self._refuse(name, _first_bad(column, kind))

    def _refuse(self, name: str, row: int) -> NoReturn:
        value = self.table[name][row].as_py()
        raise InputError(f"{self.path} {self.place(row)}: {name!r} must be a finite number; got {value!r}")


def to_interactions(table: RawTable, names: LogColumns) -> Interactions:
    """Checks and codes the columns of a log.

    Raises:
        InputError: an id is empty, or a rating or timestamp is not a number.
    """
    timestamp = None if names.timestamp is None else table.times(names.timestamp)
    rating = None if names.rating is None else table.numbers(names.rating)
    user, user_ids = table.codes(names.user)
    item, item_ids = table.codes(names.item)
    place = lambda row: f"{table.path} {table.place(row)}"  # noqa: E731 - bound to this table
    return Interactions(user, item, timestamp, rating, user_ids, item_ids, place)


def require_columns(path: Path, wanted: Sequence[str], found: Sequence[str], delimiter: str | None = None) -> None:
    """Checks that every wanted column is there exactly once.

    Raises:
        InputError: a column is missing or doubled; the message names it and lists what the file has.
    """
    split = "" if delimiter is None else f", split at {delimiter!r}"
    for name in wanted:
        if found.count(name) != 1:
            fault = "has no column" if name not in found else "has more than one column"
            raise InputError(
                f"{path} {fault} {name!r}; columns found{split}: {', '.join(map(repr, found))}; "
                "check the source name and its column and delimiter options"
            )


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns ids of any type as strings."""
    return column if pa.types.is_string(column.type) else column.cast(pa.string())


def encode(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Codes text by first appearance: int64 codes [rows] and the texts they point to."""
    coded = column.dictionary_encode().combine_chunks()
    texts = coded.dictionary.to_numpy(zero_copy_only=False).astype(object)
    return coded.indices.to_numpy(zero_copy_only=False).astype(np.int64), texts


def _trimmed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_trim_whitespace(column) if pa.types.is_string(column.type) else column


def _first_bad(column: pa.ChunkedArray, kind: pa.DataType) -> int:
    # Arrow does not say which value failed, so the shortest beginning that fails is found by bisection.
    def fails(n_rows: int) -> bool:
        try:
            column.slice(0, n_rows).cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return True
        return False

    return bisect_left(range(len(column) + 1), True, key=fails) - 1
