"""Any file with named columns (CSV, TSV, other text, JSON lines, Parquet), with titles from a second one.

`path` may be a folder that holds `interactions.*` and, for titles, `items.*`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from layerprobe import columns
from layerprobe.data.sources.events import keep_events
from layerprobe.data.sources.files import TableFile, members, named_columns, only_member
from layerprobe.data.sources.opening import at_home
from layerprobe.data.sources.raw import RawLog, SourceOptions
from layerprobe.data.sources.raw_table import LogColumns, are_values, listed_columns, require_columns, to_raw_log
from layerprobe.data.sources.titles import read_titles
from layerprobe.errors import InputError


def read_table(path: Path, options: SourceOptions) -> RawLog:
    """Reads a log with named columns; the usual names are user, item, timestamp, rating and title.

    Raises:
        InputError: a file is missing, empty or damaged, a column is missing, a value is not of its type, there is no
            time column and the rows are not declared ordered, or the first line is a row and no header.
    """
    if (options.event_column is None) != (options.events is None):
        raise InputError("event_column and events need each other: a column and the events to keep, such as purchase")
    log_path = only_member(path, "interactions") if path.is_dir() else path
    file = TableFile(log_path, options.delimiter, named_columns(options.columns))
    names = choose_columns(log_path, file.names(), options, file.split_at)
    raw = _read_rows(file, names, options)
    titled = with_titles_beside(path, raw, options)
    if titled is raw and options.title_column is not None:  # no items file: the log itself has a title column
        table = file.read((names.item, options.title_column))
        return replace(raw, titles=read_titles(table, names.item, options.title_column, raw.interactions.item_ids))
    return titled


def _read_rows(file: TableFile, names: LogColumns, options: SourceOptions) -> RawLog:
    if options.event_column is None:
        raw = to_raw_log(file.read(names.present()), names, options.declared_ordered)
    else:
        require_columns(file.path, [options.event_column], file.names(), file.split_at)
        wanted = list(dict.fromkeys([*names.present(), options.event_column]))
        table, note = keep_events(file.read(wanted), options.event_column, options.events)
        raw = to_raw_log(table, names, options.declared_ordered)
        raw = replace(raw, notes=(note, *raw.notes))
    if file.has_header:
        _require_header(file, names, raw)
    return raw


def _require_header(file: TableFile, names: LogColumns, raw: RawLog) -> None:
    """Refuses a first line that is a row: naming its values as columns would read the file but lose that row."""
    measured = [name for name in (names.timestamp, names.rating) if name is not None]
    log = raw.interactions
    is_row = are_values(measured or names.present())
    if not measured:  # a name that is an id as well: nothing else tells pairs of words from a header
        is_row = is_row or names.user in log.user_ids or names.item in log.item_ids
    if is_row and not _are_numbered(file.names()):
        raise InputError(
            f"{file.path} has no header line: its first line, {listed_columns(file.names())}, is a row; name the "
            "columns by read.columns, such as user,item,-,timestamp (- is not read)"
        )


def _are_numbered(names: Sequence[str]) -> bool:
    """Tells whether columns are called 0, 1, 2, as tools call columns without names."""
    numbers = [name for name in names if name]
    return numbers == [str(place) for place in range(len(numbers))]


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
            f"{path} has no column {columns.TIMESTAMP!r}; columns found: {listed_columns(found)}; name the time "
            "column with timestamp_column, or set declared_ordered if every user's rows are in sequence order"
        )
    return names


def with_titles_beside(path: Path, raw: RawLog, options: SourceOptions) -> RawLog:
    """Adds titles from `items_path`, or from the items file of a folder; without either the log stays as it is.

    Raises:
        InputError: the items file lacks a column, or none of its items is in the log.
    """
    if options.items_path is not None:
        items_path = at_home(options.items_path)
    elif path.is_dir() and members(path, "items"):
        items_path = only_member(path, "items")
    elif options.items_key is not None:
        raise InputError(f"items_key {options.items_key!r} names a column of an items file; set items_path")
    else:
        return raw
    file = TableFile(items_path, options.delimiter)
    item, title = options.items_key or options.item_column or columns.ITEM, options.title_column or columns.TITLE
    found = file.names()
    if options.items_path is None and options.title_column is None and title not in found:
        note = f"{items_path.name} has no column {title!r}, so there are no titles; columns found: "
        return replace(raw, notes=(*raw.notes, f"{note}{listed_columns(found)}: name one by read.title_column"))
    table = file.read((item, title))
    return replace(raw, titles=read_titles(table, item, title, raw.interactions.item_ids))
