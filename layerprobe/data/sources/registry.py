"""The table of readers: `read_source` takes a name and a path and hands on a `RawLog`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from layerprobe.data.sources.amazon import read_amazon
from layerprobe.data.sources.movielens import read_movielens_1m, read_movielens_100k, read_movielens_latest
from layerprobe.data.sources.raw import RawLog, Source, SourceOptions
from layerprobe.data.sources.recbole import read_recbole
from layerprobe.data.sources.sequences import read_sequences
from layerprobe.data.sources.table import read_table
from layerprobe.errors import InputError

__all__ = ["SOURCES", "RawLog", "Source", "SourceOptions", "find_source", "read_source"]

GROUPLENS = "https://grouplens.org/datasets/movielens/"
LOG_COLUMNS = ("user_column", "item_column", "timestamp_column", "rating_column", "declared_ordered")
ENTRIES = (
    Source(
        "movielens-100k",
        "MovieLens 100K: u.data (tab separated) with u.item beside it; path = the folder or u.data",
        f"{GROUPLENS}100k/",
        read_movielens_100k,
    ),
    Source(
        "movielens-1m",
        "MovieLens 1M: ratings.dat with movies.dat beside it, split at '::'; path = the folder or ratings.dat",
        f"{GROUPLENS}1m/",
        read_movielens_1m,
    ),
    Source(
        "movielens-latest",
        "MovieLens latest, 20M, 25M or 32M: ratings.csv with movies.csv beside it; path = the folder or ratings.csv",
        f"{GROUPLENS}latest/",
        read_movielens_latest,
    ),
    Source(
        "amazon",
        "Amazon reviews of 2014, 2018 or 2023: an object per line, plain or gz; titles from items_path (metadata)",
        "https://amazon-reviews-2023.github.io/ (2018: https://nijianmo.github.io/amazon/)",
        read_amazon,
        ("items_path",),
    ),
    Source(
        "recbole",
        "RecBole atomic files: .inter (a row per interaction, or a row per user with a list) with .item beside it",
        "https://recbole.io/dataset_list.html",
        read_recbole,
        (*LOG_COLUMNS, "title_column", "items_path"),
    ),
    Source(
        "sequences",
        "Text, one line per user: user item item ..., in order, no times (S3-Rec's form); titles from items_path",
        "https://github.com/RUCAIBox/CIKM2020-S3Rec and the repositories that follow it",
        read_sequences,
        ("item_column", "title_column", "items_path", "delimiter", "declared_ordered"),
    ),
    Source(
        "table",
        "Any CSV, TSV (plain or gz) or Parquet with named columns; path = the log, or a folder of log and items",
        "your own logs",
        read_table,
        (*LOG_COLUMNS, "title_column", "items_path", "delimiter"),
    ),
)
SOURCES: dict[str, Source] = {entry.name: entry for entry in ENTRIES}


def find_source(name: str) -> Source:
    """Returns the entry of a format.

    Raises:
        InputError: there is no such format; the message lists them.
    """
    if name not in SOURCES:
        raise InputError(f"source must be one of {', '.join(SOURCES)} or synthetic; got {name!r}")
    return SOURCES[name]


def read_source(source: str, path: Path, options: SourceOptions) -> RawLog:
    """Reads the files at `path` in the format named `source`.

    Raises:
        InputError: the format is unknown, it cannot use an option that is set, or the files are wrong.
    """
    entry = find_source(source)
    defaults = asdict(SourceOptions())
    for name, value in asdict(options).items():
        if value != defaults[name] and name not in entry.options:
            usable = ", ".join(entry.options) or "none"
            raise InputError(f"source {source} cannot use the option {name}; it can use: {usable}")
    return entry.reader(path, options)
