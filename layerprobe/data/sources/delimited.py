"""Reads text tables (CSV, TSV, `|`, `::`; plain or compressed) with Arrow's reader into a `RawTable`.

All columns are read as text: casting afterwards costs little and lets a message name the line of a bad value.
"""

from __future__ import annotations

import csv
import io
import lzma
import zipfile
import zlib
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.csv as arrow_csv

from layerprobe.data.sources.opening import byte_stream, open_bytes, require_file, text_encoding
from layerprobe.data.sources.raw_table import RawTable, require_columns, shown
from layerprobe.errors import InputError

BLOCK_BYTES = 1 << 24
UNIT_SEPARATOR = "\x1f"  # stands for `::`, since Arrow splits at single bytes only
UNREADABLE = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    csv.Error,
    UnicodeError,
    pa.ArrowInvalid,
)
SPELT_TABS = ("\\t", "tab")  # what a shell hands over where a tabulator was meant


@dataclass(frozen=True)
class Layout:
    """How a text table is written.

    Attributes:
        delimiter: what separates the columns; may be longer than one character.
        names: column names of a file without a header line; None where the first line is the header.
        encoding: of the bytes.
        quoted: True where a value may stand in double quotes; not with a delimiter of more than one byte.
    """

    delimiter: str
    names: tuple[str, ...] | None = None
    encoding: str = "utf-8"
    quoted: bool = False

    @property
    def is_single(self) -> bool:
        """Whether Arrow can split at the delimiter: it takes single bytes only."""
        return len(self.delimiter.encode()) == 1


def header(path: Path, layout: Layout) -> list[str]:
    """Returns the column names of a text table.

    Raises:
        InputError: the file is missing, empty or cannot be read.
    """
    require_file(path)
    if layout.names is not None:
        return list(layout.names)
    try:
        with closing(_rows(path, layout)) as rows:
            fields = next(rows, None)
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    if fields is None:
        raise InputError(f"{path} is empty; expected a header line and at least one row")
    return fields[1]


def read_delimited(path: Path, layout: Layout, wanted: Sequence[str]) -> RawTable:
    """Reads the wanted columns as text.

    Raises:
        InputError: the file is missing, empty or damaged, a column is missing, or a line has another number of columns.
    """
    names = header(path, layout)
    require_columns(path, wanted, names, layout.delimiter)
    try:
        table = _parsed(path, layout, names, wanted)
    except UNREADABLE as error:
        raise _diagnosis(path, layout, len(names), error) from error
    if table.num_rows == 0:
        raise InputError(
            f"{path} has no row below its header line; expected at least one"
            if layout.names is None
            else f"{path} holds blank lines only; expected at least one row"
        )
    # The line number is looked up only for a message: blank lines and quoted line ends make it differ from the row.
    return RawTable(path, table, lambda row: _place(path, layout, row))


def _parsed(path: Path, layout: Layout, names: list[str], wanted: Sequence[str]) -> pa.Table:
    encoding, types = text_encoding(path, layout.encoding), dict.fromkeys(wanted, pa.string())
    reading = arrow_csv.ReadOptions(
        column_names=names,
        skip_rows_after_names=0 if layout.names else 1,
        encoding=encoding,
        block_size=BLOCK_BYTES,
    )
    parsing = arrow_csv.ParseOptions(
        delimiter=layout.delimiter if layout.is_single else UNIT_SEPARATOR,
        quote_char='"' if layout.quoted else False,
        newlines_in_values=layout.quoted,
    )
    converting = arrow_csv.ConvertOptions(include_columns=list(types), column_types=types, strings_can_be_null=False)
    with _stream(path, layout, encoding) as stream:
        return arrow_csv.read_csv(stream, reading, parsing, converting)


def open_text(path: Path, encoding: str) -> IO[str]:
    """Opens a text file, plain or compressed; a byte order mark is skipped.

    Raises:
        InputError: the file holds no text, or is a zip of several files.
    """
    encoding = text_encoding(path, encoding)
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    return io.TextIOWrapper(open_bytes(path), encoding=encoding, errors="replace", newline="")


def unreadable(path: Path, error: BaseException) -> InputError:
    """Returns the error for a file that could not be read at all."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    reason = (error.strerror or reason) if isinstance(error, OSError) else reason  # the path is said already
    reason = "".join(letter if letter.isprintable() else "?" for letter in reason[:100])
    return InputError(f"{path} could not be read: {reason}; check that the file is complete and in the stated format")


def separator(delimiter: str) -> str:
    """Returns the delimiter that a user means.

    >>> separator("tab") == chr(9), separator(";")
    (True, ';')
    """
    return "\t" if delimiter in SPELT_TABS else delimiter


def _stream(path: Path, layout: Layout, encoding: str) -> pa.NativeFile:
    if layout.is_single:
        return byte_stream(path)
    with open_bytes(path) as source:  # read whole: a delimiter may lie across the border of two blocks
        content = source.read()
    if encoding == "utf-16":
        return pa.BufferReader(content.decode(encoding).replace(layout.delimiter, UNIT_SEPARATOR).encode(encoding))
    return pa.BufferReader(content.replace(layout.delimiter.encode(encoding), UNIT_SEPARATOR.encode()))


def _rows(path: Path, layout: Layout) -> Generator[tuple[int, list[str]]]:
    """Yields line number and fields of every row that is not blank. Slow; for the header and for messages."""
    with open_text(path, layout.encoding) as lines:
        if layout.quoted:
            reader = csv.reader(lines, delimiter=layout.delimiter)
            yield from ((reader.line_num, fields) for fields in reader if fields)
        else:
            bare = ((number, line.rstrip("\r\n")) for number, line in enumerate(lines, start=1))
            yield from ((number, line.split(layout.delimiter)) for number, line in bare if line)


def _place(path: Path, layout: Layout, row: int) -> str:
    skipped = 0 if layout.names else 1
    with closing(_rows(path, layout)) as rows:
        found = next(islice(rows, row + skipped, None), None)
    return f"row {row + 1}" if found is None else f"line {found[0]}"  # Arrow ends a line at a lone carriage return


def _diagnosis(path: Path, layout: Layout, n_columns: int, error: BaseException) -> InputError:
    """Names the first line with a wrong number of columns, if that is what is wrong."""
    try:
        for number, fields in _rows(path, layout):
            if len(fields) != n_columns:
                return InputError(
                    f"{path} line {number}: expected {n_columns} columns split at {shown(layout.delimiter)}; "
                    f"got {len(fields)}; check the delimiter and the source name"
                )
    except UNREADABLE as damage:
        return unreadable(path, damage)
    return unreadable(path, error)
