"""Any CSV, TSV (plain or gz) or Parquet file with named columns, with titles from a second one.

`path` may be a folder that holds `interactions.*` and, for titles, `items.*`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

from layerprobe import columns
from layerprobe.data.interactions import Interactions
from layerprobe.data.sources.delimited import Layout, header, read_delimited, require_file, unreadable
from layerprobe.data.sources.raw import RawLog, SourceOptions
from layerprobe.data.sources.raw_table import LogColumns, RawTable, require_columns, to_interactions
from layerprobe.data.sources.titles import read_titles
from layerprobe.errors import InputError

SUFFIXES = (".csv.gz", ".csv", ".tsv.gz", ".tsv", ".parquet")


def read_table(path: Path, options: SourceOptions) -> RawLog:
    """Reads a log with named columns; the usual names are user, item, timestamp, rating and title.

    Raises:
        InputError: a file is missing, empty or damaged, a column is missing, a value is not of its type, or there is
            no time column and the rows are not declared ordered.
    """
    log_path = _member(path, "interactions") if path.is_dir() else path
    file_columns = column_names(log_path, options.delimiter)
    names = choose_columns(log_path, file_columns, options, _delimiter(log_path, options.delimiter))
    log = to_interactions(read_columns(log_path, names.present(), options.delimiter), names)
    titles = titles_beside(path, log, options)
    if titles is None and options.title_column is not None:  # no items file: the log itself has a title column
        table = read_columns(log_path, (names.item, options.title_column), options.delimiter)
        titles = read_titles(table, names.item, options.title_column, log.item_ids)
    return RawLog(log, titles, ordered=options.declared_ordered)


def choose_columns(path: Path, found: Sequence[str], options: SourceOptions, delimiter: str | None) -> LogColumns:
    """Picks the columns of a log: those named in the options, else the usual names; time and rating may be absent.

    Raises:
        InputError: there is no time column and the rows are not declared ordered.
    """
    timestamp = options.timestamp_column or (columns.TIMESTAMP if columns.TIMESTAMP in found else None)
    names = LogColumns(
        user=options.user_column or columns.USER,
        item=options.item_column or columns.ITEM,
        timestamp=timestamp,
        rating=options.rating_column or (columns.RATING if columns.RATING in found else None),
    )
    require_columns(path, names.present(), found, delimiter)
    if timestamp is None and not options.declared_ordered:
        raise InputError(
            f"{path} has no column {columns.TIMESTAMP!r}; columns found: {', '.join(map(repr, found))}; name the time "
            "column with timestamp_column, or set declared_ordered if every user's rows are in sequence order"
        )
    return names


def titles_beside(path: Path, log: Interactions, options: SourceOptions) -> dict[str, str] | None:
    """Reads titles from `items_path`, or from the items file of a folder; None where there is neither."""
    if options.items_path is not None:
        items_path = Path(options.items_path)
    elif path.is_dir() and _members(path, "items"):
        items_path = _member(path, "items")
    else:
        return None
    item, title = options.item_column or columns.ITEM, options.title_column or columns.TITLE
    if options.items_path is None and options.title_column is None and title not in column_names(items_path, None):
        return None
    return read_titles(read_columns(items_path, (item, title), options.delimiter), item, title, log.item_ids)


def column_names(path: Path, delimiter: str | None) -> list[str]:
    """Returns the names of the columns of a table file.

    Raises:
        InputError: the file is missing, empty or damaged.
    """
    if path.suffix != ".parquet":
        return header(path, _layout(path, delimiter))
    try:
        return parquet.read_schema(require_file(path)).names
    except (pa.ArrowInvalid, OSError) as error:
        raise unreadable(path, error) from error


def read_columns(path: Path, wanted: Sequence[str], delimiter: str | None) -> RawTable:
    """Reads columns of a CSV, TSV or Parquet file.

    Raises:
        InputError: the file is missing, empty or damaged, or a column is missing.
    """
    if path.suffix != ".parquet":
        return read_delimited(path, _layout(path, delimiter), wanted)
    require_columns(path, wanted, column_names(path, None))
    try:
        table = parquet.read_table(path, columns=list(wanted))
    except (pa.ArrowInvalid, OSError) as error:
        raise unreadable(path, error) from error
    if table.num_rows == 0:
        raise InputError(f"{path} has no row; expected at least one")
    return RawTable(path, table, lambda row: f"row {row + 1}")


def _layout(path: Path, delimiter: str | None) -> Layout:
    character = _delimiter(path, delimiter) or ""
    return Layout(character, quoted=len(character.encode()) == 1)


def _delimiter(path: Path, delimiter: str | None) -> str | None:
    """The delimiter given, else that of the suffix; None for Parquet."""
    if path.suffix == ".parquet":
        return None
    by_suffix = "\t" if path.name.removesuffix(".gz").endswith(".tsv") else ","
    return by_suffix if delimiter is None else delimiter


def _members(folder: Path, stem: str) -> list[Path]:
    return [folder / f"{stem}{suffix}" for suffix in SUFFIXES if (folder / f"{stem}{suffix}").exists()]


def _member(folder: Path, stem: str) -> Path:
    paths = _members(folder, stem)
    if len(paths) != 1:
        names = ", ".join(path.name for path in paths) or "none"
        raise InputError(f"{folder} must hold exactly one of {stem}{{{','.join(SUFFIXES)}}}; found {names}")
    return paths[0]
