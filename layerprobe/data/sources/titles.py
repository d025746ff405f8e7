"""Titles of the items in a log, as a plain dict: stripped, never empty, the first one where an item has several."""

from __future__ import annotations

import numpy as np
import pandas as pd

from layerprobe.data.sources.raw_table import RawTable, as_text


def read_titles(table: RawTable, item: str, title: str, wanted: np.ndarray) -> dict[str, str]:
    """Returns raw item id -> title for the wanted items.

    Args:
        table: one or more rows per item.
        item: its column of item ids.
        title: its column of titles; null and "" both mean no title.
        wanted: the raw ids of the log.
    """
    titles = pd.DataFrame(
        {
            "item": as_text(table.table[item]).to_numpy().astype(object),
            "title": as_text(table.table[title]).fill_null("").to_numpy().astype(object),
        }
    )
    titles["title"] = titles["title"].str.strip()
    # Empty titles go first, so that the first one kept of an item is the first one with text.
    titles = titles.loc[titles["item"].isin(wanted) & (titles["title"] != "")].drop_duplicates(subset=["item"])
    return dict(zip(titles["item"], titles["title"], strict=True))
