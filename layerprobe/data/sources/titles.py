"""Titles of the items in a log, as a plain dict: stripped, never empty, the first one where an item has several."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from layerprobe.data.sources import column_types
from layerprobe.data.sources.raw_table import RawTable, shown
from layerprobe.errors import InputError


def read_titles(table: RawTable, item: str, title: str, wanted: np.ndarray) -> dict[str, str]:
    """Returns raw item id -> title for the wanted items.

    Args:
        table: one or more rows per item.
        item: its column of item ids.
        title: its column of titles; null and "" both mean no title.
        wanted: the raw ids of the log.

    Raises:
        InputError: a column holds no text or ids, or no item of the log is in the table.
    """
    titles = pd.DataFrame({"item": _texts(table, item), "title": _texts(table, title)})
    titles["title"] = titles["title"].fillna("").str.strip()
    known = titles["item"].isin(wanted)
    if not known.any():
        raise InputError(
            f"{table.path}: none of the log's {len(wanted):,} items is in column {item!r}; ids there look like "
            f"{_first(titles['item'])}, in the log like {shown(wanted[0])}: check both columns of ids (read.items_key) "
            "and their leading zeros, or leave the titles out"
        )
    # Empty titles go first, so that the first one kept of an item is the first one with text.
    titles = titles.loc[known & (titles["title"] != "")].drop_duplicates(subset=["item"])
    return dict(zip(titles["item"], titles["title"], strict=True))


def _texts(table: RawTable, name: str) -> np.ndarray:
    column = table.table[name]
    try:
        plain = column_types.unwrapped(column)
        if not column_types.holds_ids(plain.type):
            raise pa.ArrowTypeError
        return column_types.trimmed(column_types.id_text(plain)).to_numpy().astype(object)
    except column_types.FAILS as error:
        kind = str(column.type)[:60]
        raise InputError(f"{table.path}: column {name!r} is of type {kind}; expected text or whole numbers") from error


def _first(ids: pd.Series) -> str:
    present = ids.dropna()
    return shown(present.iloc[0]) if len(present) else "nothing"
