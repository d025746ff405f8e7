"""`RawTable`: named columns as read from a file, still text, and their checked conversion to a `RawLog`.

Every message names the file and the line (text), object (JSON) or row (Parquet) of the first bad value.
"""

# pyright: reportAttributeAccessIssue=false
# Arrow makes its compute functions at import time, so no type checker sees them.

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from layerprobe.data.interactions import Interactions
from layerprobe.data.sources import column_types
from layerprobe.data.sources.dates import ACCEPTED
from layerprobe.data.sources.ids import Coded, coded
from layerprobe.data.sources.raw import RawLog
from layerprobe.errors import InputError

LARGEST_TIME = 2.0**62
NUMBER = "a finite number"
VALUE = re.compile(r"\s*(\d+(\.\d*)?|\d{4}-\d\d-\d\d.*)")
MOST_LETTERS = 80  # of all these names together
MOST_SHOWN = 6  # columns that a message lists


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

    def codes(self, name: str, kind: str) -> Coded:
        """Codes a column of ids by first appearance; `kind`, user or item, is what notes call them.

        Raises:
            InputError: an id is empty or null, or the column holds something else than text and whole numbers.
        """
        found = coded(self.texts(name), kind)
        empty = np.flatnonzero(found.ids == "")
        if len(empty):
            self._refuse_empty(name, int(np.argmax(found.codes == empty[0])))
        return found

    def texts(self, name: str) -> pa.ChunkedArray:
        """Returns a column of ids as strings.

        Raises:
            InputError: an id is null, or the column holds something else than text and whole numbers.
        """
        column = self._column(name, column_types.holds_ids, "ids: text or whole numbers")
        if column.null_count:
            self._refuse_empty(name, pc.index(column.is_null(), True).as_py())
        return self._converted(name, column, column_types.id_text, "an id, text or an exact whole number")

    def numbers(self, name: str) -> np.ndarray:
        """Returns a column as float64.

        Raises:
            InputError: a value is empty, not a number, or not finite.
        """
        column = self._column(name, column_types.holds_numbers, "numbers")
        values = self._converted(name, column, column_types.number_values, NUMBER).to_numpy()
        return self._finite(name, values, NUMBER)

    def times(self, name: str) -> np.ndarray:
        """Returns a column of times as int64; fractional times are kept as microseconds, so that they do not tie.

        Raises:
            InputError: a value is empty, neither a number nor an ISO date, or not finite.
        """
        column = self._column(name, column_types.holds_times, "times: numbers or dates")
        values = self._converted(name, column, column_types.time_values, ACCEPTED).to_numpy()
        if values.dtype == np.int64:
            return values
        values = column_types.whole_times(self._finite(name, values, ACCEPTED))
        too_large = np.abs(values) > LARGEST_TIME
        if too_large.any():
            self.refuse(name, int(np.argmax(too_large)), ACCEPTED)
        return values.astype(np.int64)

    def refuse(self, name: str, row: int, expected: str) -> NoReturn:
        """Refuses the value of a row.

        Raises:
            InputError: always; the message names file, place, column and value.
        """
        value = shown(self.table[name][row].as_py())
        raise InputError(f"{self.path} {self.place(row)}: {name!r} must be {expected}; got {value}")

    def rows(self, mask: pa.ChunkedArray) -> RawTable:
        """Returns the rows that a mask keeps; their places are still those of the file."""
        kept, place = np.flatnonzero(mask.to_numpy()), self.place  # not `self`: a log would keep the columns in memory
        return RawTable(self.path, self.table.filter(mask), lambda row: place(int(kept[row])))

    def _finite(self, name: str, values: np.ndarray, expected: str) -> np.ndarray:
        finite = np.isfinite(values)  # Arrow reads "nan" and "inf" as numbers
        if not finite.all():
            self.refuse(name, int(np.argmin(finite)), expected)
        return values

    def _column(self, name: str, holds: Callable[[pa.DataType], bool], what: str) -> pa.ChunkedArray:
        column = self.table[name]
        if pa.types.is_null(column.type):
            raise InputError(f"{self.path}: column {name!r} holds nulls alone; expected {what}")
        try:
            plain = column_types.unwrapped(column)
        except column_types.FAILS:
            self.refuse(name, column_types.first_fault(column, column_types.unwrapped), "text in UTF-8")
        if not holds(plain.type):
            kind = str(column.type)[:60]
            raise InputError(f"{self.path}: column {name!r} is of type {kind}; expected {what}: name another column")
        return plain

    def _converted(
        self,
        name: str,
        column: pa.ChunkedArray,
        convert: Callable[[pa.ChunkedArray], pa.ChunkedArray],
        expected: str,
    ) -> pa.ChunkedArray:
        if column.null_count:
            self.refuse(name, pc.index(column.is_null(), True).as_py(), expected)
        try:
            return convert(column)
        except column_types.FAILS:
            self.refuse(name, column_types.first_fault(column, convert), expected)

    def _refuse_empty(self, name: str, row: int) -> NoReturn:
        raise InputError(f"{self.path} {self.place(row)}: an id must not be empty; column {name!r} is")


def to_raw_log(table: RawTable, names: LogColumns, ordered: bool = False) -> RawLog:
    """Checks and codes the columns of a log; titles are added by those who know them.

    Raises:
        InputError: an id is empty, a rating or timestamp is not a number, or there are no times and no order.
    """
    timestamp = None if names.timestamp is None else table.times(names.timestamp)
    rating = None if names.rating is None else table.numbers(names.rating)
    user, item = table.codes(names.user, "user"), table.codes(names.item, "item")
    log = Interactions(user.codes, item.codes, timestamp, rating, user.ids, item.ids, table.place)
    return RawLog(log, None, ordered, (*user.notes, *item.notes, *(_order_notes(log) if ordered else ())))


def _order_notes(log: Interactions) -> list[str]:
    """Says where the times of a log contradict the declaration that its rows are in sequence order."""
    if log.timestamp is None:
        return []
    rows = np.argsort(log.user, kind="stable")
    user, time = log.user[rows], log.timestamp[rows]
    n_back = np.count_nonzero((user[1:] == user[:-1]) & (time[1:] < time[:-1]))
    if not n_back:
        return []
    return [
        f"rows are declared to be in sequence order, and {n_back:,} of them are older than the row of the same user "
        "before: order.by time sorts them by time, order.by file keeps them as they are"
    ]


def require_columns(path: Path, wanted: Sequence[str], found: Sequence[str], delimiter: str | None = None) -> None:
    """Checks that every wanted column is there exactly once.

    Raises:
        InputError: a column is missing or doubled; the message names it and lists what the file has.
    """
    split = "" if delimiter is None else f", split at {delimiter!r}"
    for name in wanted:
        if found.count(name) != 1:
            fault = "has no column" if name not in found else "has more than one column"
            advice = "check the source name and its column and delimiter options"
            if are_values(found):
                advice = (
                    "its first line looks like a row: name the columns by read.columns, as in user,item,-,timestamp"
                )
            raise InputError(f"{path} {fault} {name!r}; columns found{split}: {listed_columns(found)}; {advice}")


def listed_columns(names: Sequence[str]) -> str:
    """Returns the first names of a list as a message shows them."""
    few = names[: max(1, sum(length < MOST_LETTERS for length in accumulate(len(name) for name in names)))]
    return ", ".join(shown(name) for name in few[:MOST_SHOWN]) + ", ..." * (len(names) > len(few[:MOST_SHOWN]))


def are_values(names: Sequence[str]) -> bool:
    """Tells whether some of these names of columns are numbers or dates, as in a row of a file without a header line.

    >>> are_values(["196", "242", "3"]), are_values(["user", "item"]), are_values(["", "0", "1"])
    (True, False, False)
    """
    numbers = [name for name in names if VALUE.fullmatch(name)]
    return bool(numbers) and numbers != [
        str(place) for place in range(len(numbers))
    ]  # 0, 1, 2 are names that tools give


def shown(value: object, most: int = 40) -> str:
    """Returns a value as a message shows it: short, and without control characters.

    >>> shown("abcdefgh", 4), len(shown(chr(7)))
    ("'abc...", 6)
    """
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."
