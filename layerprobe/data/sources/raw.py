"""What every reader takes and hands on: `SourceOptions` in, `RawLog` out; `Source` is a reader's registry entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from layerprobe.arguments import checked
from layerprobe.data.interactions import Interactions
from layerprobe.errors import InputError
from layerprobe.ranges import PATH, SET_TEXT


@dataclass(frozen=True)
@checked
class SourceOptions:
    """How to read the files. None means the usual name of the format; an option the format cannot use is an error."""

    user_column: Annotated[str | None, SET_TEXT] = None
    """Name of the user column."""
    item_column: Annotated[str | None, SET_TEXT] = None
    """Name of the item column, in the log and, without `items_key`, in the items file."""
    timestamp_column: Annotated[str | None, SET_TEXT] = None
    """Name of the time column: numbers, larger is later, or ISO dates (without a zone: UTC)."""
    rating_column: Annotated[str | None, SET_TEXT] = None
    """Name of the rating column."""
    title_column: Annotated[str | None, SET_TEXT] = None
    """Name of the title column, in the items file or, where there is none, in the log."""
    items_path: Annotated[str | None, PATH] = None
    """File with one title per item: CSV, TSV, Parquet or JSON lines."""
    items_key: Annotated[str | None, SET_TEXT] = None
    """Name of the item column of the items file, where it differs from that of the log."""
    delimiter: Annotated[str | None, SET_TEXT] = None
    """Character between the columns of a text file; `\\t` and `tab` are the tabulator."""
    columns: Annotated[str | None, SET_TEXT] = None
    """Names of the columns of a text file without a header line, such as `user,item,-,timestamp`; `-` is not read."""
    event_column: Annotated[str | None, SET_TEXT] = None
    """Name of the column that says what a row is, such as view or purchase; needs `events`."""
    events: Annotated[str | None, SET_TEXT] = None
    """Values of the event column that are kept, such as `purchase,cart`."""
    null_ids: bool = False
    """True takes ids such as `NA`, `null` or `None` as they are; else they are refused as marks of missing values."""
    declared_ordered: bool = False
    """True declares that every user's rows are already in sequence order; needed where there is no time column."""


@dataclass(frozen=True, eq=False)
class RawLog:
    """A file as read: every row, nothing filtered, rows in file order.

    Attributes:
        interactions: the rows.
        titles: raw item id -> title, only items of the log that have one; None where the source has no titles.
        ordered: True when a user's rows are in sequence order by the nature of the format or by declaration.
        notes: what a reader should know of how the files were read, one sentence each.
        ids_are_names: True when ids are names that people or artists chose, so that `None` is one and no missing value.

    Raises:
        InputError: there are no timestamps and the rows are not ordered.
    """

    interactions: Interactions
    titles: dict[str, str] | None
    ordered: bool
    notes: tuple[str, ...] = ()
    ids_are_names: bool = False

    def __post_init__(self) -> None:
        if self.interactions.timestamp is None and not self.ordered:
            raise InputError(
                "a log needs timestamps or rows that are declared to be in sequence order; it has neither: "
                "name the time column (timestamp_column) or set declared_ordered"
            )


@dataclass(frozen=True)
class Source:
    """One public format.

    Attributes:
        name: what the user writes.
        description: one line: files and columns it reads.
        where: where such data comes from.
        reader: reads a path.
        options: names of the `SourceOptions` the reader can use.
        licence: what the owner asks of users, in words; None for formats that are no data set.
    """

    name: str
    description: str
    where: str
    reader: Callable[[Path, SourceOptions], RawLog]
    options: tuple[str, ...] = ()
    licence: str | None = None
