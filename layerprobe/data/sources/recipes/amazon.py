"""Amazon reviews of 2014, 2018 and 2023: objects or CSV, plain or compressed, with titles from a metadata file.

2014 and 2018 name the columns reviewerID, asin, overall, unixReviewTime; 2023 user_id, parent_asin, rating, timestamp
(milliseconds). 2023's metadata lists parents only, so there the parent is the item. The CSV files of 2014 and 2018 have
no header and differ in their order.
"""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from layerprobe.data.sources.delimited import Layout, header, read_delimited
from layerprobe.data.sources.files import TableFile
from layerprobe.data.sources.json_lines import first_keys, read_json_lines
from layerprobe.data.sources.opening import at_home, require_file
from layerprobe.data.sources.raw import RawLog, SourceOptions
from layerprobe.data.sources.raw_table import LogColumns, RawTable, listed_columns, to_raw_log
from layerprobe.data.sources.titles import read_titles
from layerprobe.errors import InputError

UNTIL_2018 = LogColumns("reviewerID", "asin", "unixReviewTime", "overall")
SINCE_2023 = LogColumns("user_id", "parent_asin", "timestamp", "rating")
BARE_CSV = {
    "2014": ("reviewerID", "asin", "overall", "unixReviewTime"),
    "2018": ("asin", "reviewerID", "overall", "unixReviewTime"),
}
"""Columns of the CSV files of ratings alone, which have no header line."""
TEXT_FIELDS = ("reviewerID", "asin", "user_id", "parent_asin")
NUMBER_FIELDS = ("overall", "unixReviewTime", "rating", "timestamp")
REVIEW_FIELDS: dict[str, pa.DataType] = {
    **dict.fromkeys(TEXT_FIELDS, pa.string()),
    **dict.fromkeys(NUMBER_FIELDS, pa.float64()),
}
META_FIELDS: dict[str, pa.DataType] = dict.fromkeys(("asin", "parent_asin", "title"), pa.string())
SCRIPT_MARK = "getTime"  # the 2018 crawl left page scripts in some titles; its authors advise to drop those


def read_amazon(release: str | None, path: Path, options: SourceOptions) -> RawLog:
    """Reads a file of reviews or ratings; `items_path` names the metadata file.

    Args:
        release: 2014, 2018 or 2023; None tells it by the columns.
        path: the file.
        options: how it is read.

    Raises:
        InputError: a file is missing, empty or damaged, a key is missing, or a value is not of its type.
    """
    require_file(path)
    if TableFile(path).form == "text":
        table, names = _csv(path, release)
    else:
        table = read_json_lines(path, REVIEW_FIELDS)
        names = _columns(table, release)
    raw = to_raw_log(table, names)
    if options.items_path is None:
        return raw
    return replace(raw, titles=_titles(at_home(options.items_path), raw))


def _csv(path: Path, release: str | None) -> tuple[RawTable, LogColumns]:
    layout = Layout(",", quoted=True)
    found = header(path, layout)
    if SINCE_2023.user in found and release in (None, "2023"):
        names = SINCE_2023 if SINCE_2023.item in found else replace(SINCE_2023, item="asin")
        return read_delimited(path, layout, names.present()), names
    if release in BARE_CSV and UNTIL_2018.user not in found:
        return read_delimited(path, Layout(",", BARE_CSV[release], quoted=True), UNTIL_2018.present()), UNTIL_2018
    if release is None and len(found) == len(UNTIL_2018.present()):
        raise InputError(
            f"{path} has no header line with 'user_id'; its first line is {listed_columns(found)}: for ratings of 2014 "
            "(user,item,rating,time) use source amazon-2014, for those of 2018 (item,user,rating,time) amazon-2018"
        )
    raise InputError(
        f"{path} line 1: expected one JSON object per line or the CSV of amazon-2014, -2018 or -2023; got "
        f"{listed_columns(found)}"
    )


def _columns(table: RawTable, release: str | None) -> LogColumns:
    # The reader adds every field it was given, so a release is known by the columns that hold a value.
    by_content = not _has(table, UNTIL_2018.user) and _has(table, SINCE_2023.user)
    is_2023 = by_content if release is None else release == "2023"
    names = SINCE_2023 if is_2023 else UNTIL_2018
    if is_2023 and not _has(table, names.item):
        names = replace(names, item="asin")
    missing = [name for name in names.present() if not _has(table, name)]
    if missing:
        raise InputError(
            f"{table.path} has no key {missing[0]!r}; keys of its first object: {_keys(table.path)}; "
            f"expected a review file of {release or '2014, 2018 or 2023'}"
        )
    return names


def _titles(path: Path, raw: RawLog) -> dict[str, str]:
    table = read_json_lines(path, META_FIELDS)
    item = "parent_asin" if _has(table, "parent_asin") else "asin"
    for name in (item, "title"):
        if not _has(table, name):
            raise InputError(f"{path} has no key {name!r}; keys of its first object: {_keys(path)}")
    titles = read_titles(table, item, "title", raw.interactions.item_ids)
    return {key: html.unescape(title) for key, title in titles.items() if SCRIPT_MARK not in title}


def _keys(path: Path) -> str:
    return ", ".join(first_keys(path)[:8])


def _has(table: RawTable, name: str) -> bool:
    return table.table[name].null_count < table.table.num_rows
