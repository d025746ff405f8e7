"""MIND, Microsoft's news: an impression per line of `behaviors.tsv`; a row of the log is a news that was clicked.

The column of earlier clicks has no times and is left out. All clicks of an impression have its time.
"""

# pyright: reportAttributeAccessIssue=false
# Arrow makes its compute functions at import time, so no type checker sees them.

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from layerprobe.data.sources.delimited import Layout, read_delimited
from layerprobe.data.sources.item_lists import split_tokens
from layerprobe.data.sources.raw import RawLog, SourceOptions
from layerprobe.data.sources.raw_table import LogColumns, RawTable, to_raw_log
from layerprobe.data.sources.recipes.facts import ItemFile
from layerprobe.data.sources.recipes.reader import log_in, with_titles
from layerprobe.errors import InputError

FILES = ("behaviors.tsv",)
LAYOUT = Layout("\t", ("impression_id", "user_id", "time", "history", "impressions"))
NEWS = ItemFile(
    ("news.tsv",),
    "news_id",
    "title",
    Layout(
        "\t",
        ("news_id", "category", "subcategory", "title", "abstract", "url", "title_entities", "abstract_entities"),
    ),
)
TIME = "%m/%d/%Y %I:%M:%S %p"
LABEL, CLICK = r"-[01]$", r"-1$"
CLICKED = LogColumns("user", "item", "timestamp")


def read_mind(path: Path, options: SourceOptions) -> RawLog:
    """Reads the clicks of `behaviors.tsv`, with titles from `news.tsv` beside it.

    Raises:
        InputError: a file is missing or damaged, a time is of another form, or impressions have no labels.
    """
    log = log_in(path, FILES)
    table = read_delimited(log, LAYOUT, ("user_id", "time", "impressions"))
    times = _times(table)
    tokens, lengths = split_tokens(table.table["impressions"])
    shown = np.repeat(np.arange(len(times)), lengths)  # the line of each token
    labelled = pc.match_substring_regex(tokens, LABEL)
    if not pc.all(labelled, min_count=0).as_py():
        row = int(shown[pc.index(labelled, False).as_py()])
        table.refuse("impressions", row, "news ids with a label, such as N1-0 N2-1 (the test file has no labels)")
    clicks = pc.match_substring_regex(tokens, CLICK)
    rows = shown[clicks.to_numpy(zero_copy_only=False)]
    if not len(rows):
        raise InputError(f"{log} has no click: no impression has the label -1")
    items = pc.replace_substring_regex(tokens.filter(clicks), LABEL, "")
    users = table.table["user_id"].combine_chunks().take(pa.array(rows))
    clicked = pa.table({"user": users, "item": items, "timestamp": times[rows]})
    place = table.place  # not the table: a log would keep its columns in memory
    raw = to_raw_log(RawTable(log, clicked, lambda row: place(int(rows[row]))), CLICKED)
    note = "the column of earlier clicks has no times and is left out"
    return with_titles(replace(raw, notes=(note, *raw.notes)), log.parent, NEWS, options, "news_id")


def _times(table: RawTable) -> np.ndarray:
    texts = table.table["time"].to_pandas()
    times = pd.to_datetime(texts, format=TIME, errors="coerce")
    if times.isna().any():
        table.refuse("time", int(np.argmax(times.isna())), "a time such as 11/15/2019 10:22:32 AM")
    return times.to_numpy().astype("datetime64[s]").astype(np.int64)
