"""The table of readers: `read_source` takes a name and a path and hands on a `RawLog`."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

from layerprobe.data.sources.delimited import unreadable
from layerprobe.data.sources.opening import at_home, require_there
from layerprobe.data.sources.raw import RawLog, Source, SourceOptions
from layerprobe.data.sources.recbole import read_recbole
from layerprobe.data.sources.recipes.amazon import read_amazon
from layerprobe.data.sources.recipes.facts import RECIPES
from layerprobe.data.sources.recipes.mind import read_mind
from layerprobe.data.sources.recipes.otto import read_otto
from layerprobe.data.sources.recipes.reader import source_of
from layerprobe.data.sources.sequences import read_sequences
from layerprobe.data.sources.table import read_table
from layerprobe.errors import InputError

__all__ = ["SOURCES", "RawLog", "Source", "SourceOptions", "find_source", "read_source"]

LOG_COLUMNS = ("user_column", "item_column", "timestamp_column", "rating_column", "declared_ordered")
ITEM_FILE = ("title_column", "items_path", "items_key")
AMAZON = "Amazon reviews of {}: an object per line, or the CSV of ratings alone; titles from items_path (metadata)"
AMAZON_PAGES = {
    "2014": "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html",
    "2018": "https://nijianmo.github.io/amazon/",
    "2023": "https://amazon-reviews-2023.github.io/",
}
AMAZON_TERMS = "research; cite the papers named on the page"


def _amazon(release: str, unit: str) -> Source:
    about = f"{AMAZON.format(release)}; times in {unit}"
    reader = partial(read_amazon, release)
    return Source(f"amazon-{release}", about, AMAZON_PAGES[release], reader, ("items_path",), AMAZON_TERMS)


ENTRIES = (
    Source(
        "table",
        "Any CSV, TSV, JSON lines or Parquet with named columns; path = the log, or a folder of log and items",
        "your own logs",
        read_table,
        (*LOG_COLUMNS, *ITEM_FILE, "delimiter", "columns", "event_column", "events"),
    ),
    Source(
        "sequences",
        "Text, one line per user: user item item ..., in order, no times (S3-Rec's form); titles from items_path",
        "https://github.com/RUCAIBox/CIKM2020-S3Rec and the repositories that follow it",
        read_sequences,
        ("item_column", *ITEM_FILE, "delimiter", "declared_ordered"),
    ),
    Source(
        "recbole",
        "RecBole atomic files: .inter (a row per interaction, or a row per user with a list) with .item beside it",
        "https://recbole.io/dataset_list.html",
        read_recbole,
        (*LOG_COLUMNS, *ITEM_FILE, "delimiter"),
    ),
    Source(
        "amazon",
        AMAZON.format("2014, 2018 or 2023, told by its keys"),
        AMAZON_PAGES["2023"],
        partial(read_amazon, None),
        ("items_path",),
        AMAZON_TERMS,
    ),
    _amazon("2014", "seconds"),
    _amazon("2018", "seconds"),
    _amazon("2023", "milliseconds"),
    *map(source_of, RECIPES),
    Source(
        "mind",
        "MIND, news: a clicked news per row of behaviors.tsv, with news.tsv beside it; times in seconds; path = the "
        "folder or behaviors.tsv",
        "https://msnews.github.io/",
        read_mind,
        ("items_path",),
        "Microsoft research licence terms: non-commercial",
    ),
    Source(
        "otto",
        "OTTO sessions: clicks, carts and orders; no titles; times in milliseconds; path = the folder or train.jsonl",
        "https://github.com/otto-de/recsys-dataset",
        read_otto,
        ("events",),
        "CC BY 4.0",
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


OF_EVERY_SOURCE = ("null_ids",)
"""Options that are used after a log was read, whatever its format."""


def read_source(source: str, path: Path, options: SourceOptions) -> RawLog:
    """Reads the files at `path` in the format named `source`.

    Raises:
        InputError: the format is unknown, it cannot use an option that is set, or the files are wrong or not allowed
            to be read.
    """
    entry = find_source(source)
    defaults = asdict(SourceOptions())
    for name, value in asdict(options).items():
        if value != defaults[name] and name not in (*entry.options, *OF_EVERY_SOURCE):
            usable = ", ".join(entry.options) or "none"
            raise InputError(f"source {source} cannot use the option {name}; it can use: {usable}")
    there = at_home(path)
    require_there(there)
    try:
        return entry.reader(there, options)
    except (OSError, BadZipFile) as error:  # no rights to a folder or file, a name that is too long
        raise unreadable(path, error) from error
