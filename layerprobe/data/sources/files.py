"""`TableFile`: one file with named columns, whatever it is written in: text, JSON lines or Parquet.

Text is split at the stated delimiter, at that of the suffix, or, where the columns are named and there is no header
line, at the one that gives so many columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as parquet

from layerprobe.data.sources.delimited import (
    UNREADABLE,
    Layout,
    header,
    open_text,
    read_delimited,
    separator,
    unreadable,
)
from layerprobe.data.sources.json_lines import read_json_lines, sampled_values
from layerprobe.data.sources.opening import is_parquet, require_file
from layerprobe.data.sources.raw_table import RawTable, require_columns, shown
from layerprobe.errors import InputError

COMPRESSED = ("", ".gz", ".bz2", ".xz", ".zip", ".zst")
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json")
DELIMITERS = (",", "\t", ";", "|", "::", " ")
NOT_READ = "-"
BEGINNING = 64  # characters that tell JSON from other text


@dataclass(frozen=True)
class TableFile:
    """One file with named columns.

    Attributes:
        path: the file.
        delimiter: what separates the columns of text; None: see above.
        columns: names of the columns of text without a header line; None where the first line is the header.

    Raises:
        InputError: on use; the file is missing, empty or damaged, or an option does not fit it.
    """

    path: Path
    delimiter: str | None = None
    columns: tuple[str, ...] | None = None

    @cached_property
    def form(self) -> Literal["text", "json", "parquet"]:
        """What the file is written in, by its first bytes."""
        if is_parquet(self.path) or self.path.suffix == ".parquet":
            return "parquet"
        try:
            with open_text(self.path, "utf-8") as file:
                while (piece := file.readline(BEGINNING)) and not piece.strip():
                    continue
        except UNREADABLE as error:
            raise unreadable(self.path, error) from error
        start = piece.lstrip()[:1]
        if start == "[" and _bare(self.path).suffix in (".json", ".jsonl"):
            raise InputError(f"{self.path} holds one JSON array; expected JSON lines, one object per line")
        return "json" if start == "{" else "text"

    @cached_property
    def layout(self) -> Layout:
        """How the text is written; only for text."""
        delimiter = self._delimiter()
        return Layout(delimiter, self._layout_names(), quoted=len(delimiter.encode()) == 1)

    @property
    def split_at(self) -> str | None:
        """What the columns are split at; None where no text is split."""
        return self.layout.delimiter if self.form == "text" else None

    @property
    def has_header(self) -> bool:
        """Whether the first line names the columns."""
        return self.form == "text" and self.columns is None

    def names(self) -> list[str]:
        """Returns the names of the columns."""
        if self.form != "text" and self.columns is not None:
            raise InputError(f"read.columns is for text without a header line; {self.path} names its columns itself")
        if self.form == "json":
            return list(sampled_values(self.path))
        if self.form == "text":
            names = header(self.path, self.layout)
            self._require_rows()
            return names
        try:
            return parquet.read_schema(require_file(self.path)).names
        except (pa.ArrowInvalid, OSError) as error:
            raise unreadable(self.path, error) from error

    def read(self, wanted: Sequence[str]) -> RawTable:
        """Reads columns: as text from text, with their types from the other two."""
        if self.form == "text":
            return read_delimited(self.path, self.layout, wanted)
        require_columns(self.path, wanted, self.names())
        return self._read_json(wanted) if self.form == "json" else self._read_parquet(wanted)

    def _read_json(self, wanted: Sequence[str]) -> RawTable:
        samples = sampled_values(self.path)
        numbers = [name for name in wanted if isinstance(samples[name], (int, float))]
        fields = dict.fromkeys(wanted, pa.string())
        if all(isinstance(samples[name], int) for name in numbers):  # whole numbers stay exact, however large
            try:
                return read_json_lines(self.path, fields | dict.fromkeys(numbers, pa.int64()))
            except InputError:  # a fraction in a later line, or a fault that the second reading names as well
                pass
        return read_json_lines(self.path, fields | dict.fromkeys(numbers, pa.float64()))

    def _read_parquet(self, wanted: Sequence[str]) -> RawTable:
        try:
            table = parquet.read_table(self.path, columns=list(dict.fromkeys(wanted)))
            table.validate(full=True)  # text that is no UTF-8, offsets of a damaged file
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
            raise unreadable(self.path, error) from error
        if table.num_rows == 0:
            raise InputError(f"{self.path} has no row; expected at least one")
        return RawTable(self.path, table, lambda row: f"row {row + 1}")

    def _delimiter(self) -> str:
        if self.delimiter is not None:
            return separator(self.delimiter)
        by_suffix = "\t" if _bare(self.path).suffix == ".tsv" else ","
        if self.columns is None:
            return by_suffix
        n_columns, first = len(self.columns), self._first_line()
        fitting = [one for one in DELIMITERS if len(first.split(one)) == n_columns]
        if by_suffix in fitting or not fitting:
            return by_suffix
        if len(fitting) > 1:
            raise InputError(f"{self.path}: {fitting} all give {n_columns} columns; say which by read.delimiter")
        return fitting[0]

    def _layout_names(self) -> tuple[str, ...] | None:
        if self.columns is None:
            return None
        return tuple(f"column {place}" if name == NOT_READ else name for place, name in enumerate(self.columns, 1))

    def _require_rows(self) -> None:
        if self.columns is not None:
            fields = [field.strip(' "\ufeff') for field in self._first_line().split(self.layout.delimiter)]
            if fields == list(self.columns):
                raise InputError(
                    f"{self.path} has a header line, {shown(self._first_line())}: leave read.columns out, it is for "
                    "files without one"
                )

    def _first_line(self) -> str:
        with open_text(self.path, "utf-8") as file:
            return next((line for line in file if line.strip()), "").rstrip("\r\n")


def named_columns(text: str | None) -> tuple[str, ...] | None:
    """Returns the option `columns` as names.

    Raises:
        InputError: a name is empty.
    """
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    if "" in names:
        raise InputError(f"columns must name every column, with - for one that is not read; got {text!r}")
    return names


def members(folder: Path, stem: str) -> list[Path]:
    """Returns the files of a folder that are called `stem`, with a suffix that is known."""
    suffixes = (*(f"{suffix}{more}" for suffix in SUFFIXES for more in COMPRESSED), ".parquet")
    return [path for suffix in suffixes if (path := folder / f"{stem}{suffix}").exists()]


def only_member(folder: Path, stem: str) -> Path:
    """Returns the only one of these files.

    Raises:
        InputError: there is none, or more than one.
    """
    found = members(folder, stem)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InputError(
            f"{folder} must hold exactly one file {stem} with a suffix of {', '.join((*SUFFIXES, '.parquet'))} (.gz, "
            f".bz2, .xz and .zip too), or be the path of one; found {names}"
        )
    return found[0]


def _bare(path: Path) -> Path:
    return path.with_suffix("") if path.suffix in COMPRESSED[1:] else path
