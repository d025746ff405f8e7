"""Amazon review files of 2014, 2018 and 2023 (json or jsonl, plain or gz), with titles from a metadata file.

2014 and 2018 name the columns reviewerID, asin, overall, unixReviewTime; 2023 user_id, parent_asin, rating, timestamp
(milliseconds). 2023's metadata lists parents only, so there the parent is the item.
"""

from __future__ import annotations

import html
from pathlib import Path

import pyarrow as pa

from layerprobe.data.interactions import Interactions
from layerprobe.data.sources.json_lines import first_keys, read_json_lines
from layerprobe.data.sources.raw import RawLog, SourceOptions
from layerprobe.data.sources.raw_table import LogColumns, RawTable, to_interactions
from layerprobe.data.sources.titles import read_titles
from layerprobe.errors import InputError

UNTIL_2018 = LogColumns("reviewerID", "asin", "unixReviewTime", "overall")
SINCE_2023 = LogColumns("user_id", "parent_asin", "timestamp", "rating")
TEXT_FIELDS = ("reviewerID", "asin", "user_id", "parent_asin")
NUMBER_FIELDS = ("overall", "unixReviewTime", "rating", "timestamp")
REVIEW_FIELDS: dict[str, pa.DataType] = {
    **dict.fromkeys(TEXT_FIELDS, pa.string()),
    **dict.fromkeys(NUMBER_FIELDS, pa.float64()),
}
META_FIELDS: dict[str, pa.DataType] = dict.fromkeys(("asin", "parent_asin", "title"), pa.string())
SCRIPT_MARK = "getTime"  # the 2018 crawl left page scripts in some titles; its authors advise to drop those


def read_amazon(path: Path, options: SourceOptions) -> RawLog:
    """Reads a review file; `items_path` names the metadata file.

    Raises:
        InputError: a file is missing, empty or damaged, a key is missing, or a value is not of its type.
    """
    table = read_json_lines(path, REVIEW_FIELDS)
    log = to_interactions(table, _columns(table))
    titles = None if options.items_path is None else _titles(Path(options.items_path), log)
    return RawLog(log, titles, ordered=False)


def _columns(table: RawTable) -> LogColumns:
    # The reader adds every field it was given, so a release is known by the columns that hold a value.
    is_2023 = not _has(table, UNTIL_2018.user) and _has(table, SINCE_2023.user)
    names = SINCE_2023 if is_2023 else UNTIL_2018
    if is_2023 and not _has(table, names.item):
        names = LogColumns(names.user, "asin", names.timestamp, names.rating)
    missing = [name for name in names.present() if not _has(table, name)]
    if missing:
        raise InputError(
            f"{table.path} has no key {missing[0]!r}; keys of its first object: {', '.join(first_keys(table.path))}; "
            "expected a review file of 2014, 2018 or 2023"
        )
    return names


def _titles(path: Path, log: Interactions) -> dict[str, str]:
    table = read_json_lines(path, META_FIELDS)
    item = "parent_asin" if _has(table, "parent_asin") else "asin"
    for name in (item, "title"):
        if not _has(table, name):
            raise InputError(f"{path} has no key {name!r}; keys of its first object: {', '.join(first_keys(path))}")
    titles = read_titles(table, item, "title", log.item_ids)
    return {key: html.unescape(title) for key, title in titles.items() if SCRIPT_MARK not in title}


def _has(table: RawTable, name: str) -> bool:
    return table.table[name].null_count < table.table.num_rows
