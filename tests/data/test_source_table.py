"""Tables with named columns, the registry, and what bad files are answered with."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from layerprobe.data.interactions import from_columns
from layerprobe.data.sources import delimited
from layerprobe.data.sources.dates import ACCEPTED
from layerprobe.data.sources.raw import RawLog
from layerprobe.data.sources.registry import SOURCES, SourceOptions, read_source
from layerprobe.errors import InputError

NONE = SourceOptions()
LOG = pd.DataFrame({"user": ["u", "v", "u"], "item": ["01", "1", "NA"], "timestamp": [5, 6, 7], "rating": [1, 2.5, 3]})
TEXT = LOG.to_csv(index=False)


def rows_of(raw: RawLog) -> list[tuple]:
    log = raw.interactions
    time = [None] * len(log) if log.timestamp is None else log.timestamp.tolist()
    rating = [None] * len(log) if log.rating is None else log.rating.tolist()
    return list(zip(log.user_ids[log.user], log.item_ids[log.item], time, rating, strict=True))


ROWS = [("u", "01", 5, 1.0), ("v", "1", 6, 2.5), ("u", "NA", 7, 3.0)]


def write(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "tsv", "tsv.gz", "txt"])
def test_text_tables_keep_ids_as_written(tmp_path: Path, suffix: str) -> None:
    text = TEXT.replace(",", "\t") if "tsv" in suffix else TEXT
    assert rows_of(read_source("table", write(tmp_path / f"log.{suffix}", text), NONE)) == ROWS


def test_byte_order_mark_quotes_blank_lines_and_windows_ends_do_no_harm(tmp_path: Path) -> None:
    text = '\ufeff"user",item,timestamp,rating\r\nu,"01",5,1\r\n\r\nv,1, 6,2.5\r\nu,NA,7,3'
    assert rows_of(read_source("table", write(tmp_path / "log.csv", text), NONE)) == ROWS


def test_quoted_line_breaks_survive_the_reading_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 128)
    rows = [f'u,"item\n{number}",{number},1' for number in range(200)]
    path = write(tmp_path / "log.csv", "user,item,timestamp,rating\n" + "\n".join(rows))
    assert rows_of(read_source("table", path, NONE)) == [("u", f"item\n{number}", number, 1.0) for number in range(200)]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"user": LOG["user"].astype("category")},
        {"timestamp": LOG["timestamp"].astype(float)},
        {"rating": LOG["rating"].astype("float32")},
    ],
)
def test_parquet_of_any_column_type(tmp_path: Path, change: dict) -> None:
    LOG.assign(**change).to_parquet(tmp_path / "log.parquet")
    assert rows_of(read_source("table", tmp_path / "log.parquet", NONE)) == ROWS


def test_parquet_integer_ids_and_dates(tmp_path: Path) -> None:
    times = pd.to_datetime(["1970-01-01 00:00:02", "1970-01-01 00:00:01"]).as_unit("ms")
    pd.DataFrame({"user": [3, 4], "item": [7, 7], "timestamp": times}).to_parquet(tmp_path / "log.parquet")
    assert rows_of(read_source("table", tmp_path / "log.parquet", NONE)) == [
        ("3", "7", 2000, None),
        ("4", "7", 1000, None),
    ]


def test_fractional_times_stay_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", "user,item,timestamp\nu,a,10.25\nu,b,10.5\n")
    log = read_source("table", path, NONE).interactions
    assert log.timestamp is not None
    assert log.timestamp.tolist() == [10_250_000, 10_500_000]


def test_large_integer_times_stay_exact(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", f"user,item,timestamp\nu,a,{2**60 + 1}\n")
    log = read_source("table", path, NONE).interactions
    assert log.timestamp is not None
    assert log.timestamp.tolist() == [2**60 + 1]


def test_named_columns_and_another_delimiter(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", "when;who;what;stars;name\n9;u;a;4;Apple\n3;u;b;2; \n8;v;a;1;Other\n")
    options = SourceOptions("who", "what", "when", "stars", "name", delimiter=";")
    raw = read_source("table", path, options)
    assert rows_of(raw) == [("u", "a", 9, 4.0), ("u", "b", 3, 2.0), ("v", "a", 8, 1.0)]
    assert raw.titles == {"a": "Apple"}


@pytest.mark.parametrize("delimiter", ["::", "¦"])
def test_a_delimiter_may_have_several_bytes(tmp_path: Path, delimiter: str) -> None:
    path = write(tmp_path / "log.csv", TEXT.replace(",", delimiter))
    assert rows_of(read_source("table", path, SourceOptions(delimiter=delimiter))) == ROWS


@pytest.mark.parametrize("source", ["table", "sequences"])
def test_an_empty_delimiter_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(InputError, match="delimiter must not be empty"):
        read_source(source, write(tmp_path / "log.csv", TEXT), SourceOptions(delimiter=""))


def test_a_folder_holds_log_and_items(tmp_path: Path) -> None:
    write(tmp_path / "interactions.csv.gz", TEXT)
    write(tmp_path / "items.csv.gz", "item,title\n01,First\n1,\nNA,Third\n77,Unseen\n")
    raw = read_source("table", tmp_path, NONE)
    assert rows_of(raw) == ROWS
    assert raw.titles == {"01": "First", "NA": "Third"}
    write(tmp_path / "items.csv.gz", "item,colour\n01,red\n")
    assert read_source("table", tmp_path, NONE).titles is None


def test_rows_without_times_need_a_declaration(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", "user,item\nu,a\nu,b\n")
    with pytest.raises(InputError, match="no column 'timestamp'; columns found: 'user', 'item'.*declared_ordered"):
        read_source("table", path, NONE)
    raw = read_source("table", path, SourceOptions(declared_ordered=True))
    assert rows_of(raw) == [("u", "a", None, None), ("u", "b", None, None)]
    assert raw.ordered


def test_a_log_that_is_neither_timed_nor_ordered_cannot_be_made() -> None:
    log = from_columns(np.array(["u"]), np.array(["a"]))
    with pytest.raises(InputError, match="timestamps or rows"):
        RawLog(log, None, ordered=False)


HEAD = "user,item,timestamp,rating\n"
BAD_FILES = [
    ("", {}, "is empty"),
    ("\n \n", {}, "has no column 'user'"),
    (HEAD, {}, "no row below its header line"),
    (TEXT.replace(",", ";"), {}, "no column 'user'; columns found, split at ',': 'user;item;timestamp;rating'"),
    (TEXT, {"delimiter": ";"}, "no column 'user'; columns found, split at ';': 'user,item,timestamp,rating'"),
    (
        TEXT,
        {"user_column": "uid"},
        "no column 'uid'; columns found, split at ',': 'user', 'item', 'timestamp', 'rating'",
    ),
    (TEXT, {"rating_column": "stars"}, "no column 'stars'"),
    (TEXT, {"timestamp_column": "when"}, "no column 'when'"),
    (TEXT, {"title_column": "title"}, "no column 'title'"),
    ("user,item,user,timestamp\nu,a,u,1\n", {}, "more than one column 'user'"),
    (HEAD + "u,a,1,2\nv,b,3\n", {}, "line 3: expected 4 columns split at ','; got 3"),
    (HEAD + "u,a,1,2\n\nv,b,x9,2\n", {}, f"line 4: 'timestamp' must be {ACCEPTED}; got 'x9'"),
    (HEAD + "u,a,1,2\nv,b,,2\n", {}, f"line 3: 'timestamp' must be {ACCEPTED}; got ''"),
    (HEAD + "u,a,1,2\nv,b,1e30,2\n", {}, f"line 3: 'timestamp' must be {ACCEPTED}; got '1e30'"),
    (HEAD + "u,a,17-06-2018,2\n", {}, f"line 2: 'timestamp' must be {ACCEPTED}; got '17-06-2018'"),
    (HEAD + 'u,"a\nb",1,2\nv,b,2,good\nw,c,3,bad\n', {}, "line 4: 'rating' must be a finite number; got 'good'"),
    (HEAD + "u,a,1,inf\n", {}, "line 2: 'rating' must be a finite number; got 'inf'"),
    (HEAD + "u,a,1,2\n,b,1,2\n", {}, "line 3: an id must not be empty; column 'user' is"),
    (HEAD + "u,a,1,2\nv,,1,2\n", {}, "line 3: an id must not be empty; column 'item' is"),
]


@pytest.mark.parametrize(("text", "options", "part"), BAD_FILES)
def test_bad_text_tables_get_one_line_that_names_the_fault(tmp_path: Path, text: str, options: dict, part: str) -> None:
    path = write(tmp_path / "log.csv", text)
    with pytest.raises(InputError) as raised:
        read_source("table", path, SourceOptions(**options))
    assert part in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"rating": ["1", "good", "x"]}, "row 2: 'rating' must be a finite number; got 'good'"),
        ({"timestamp": [1, None, 3]}, "row 2: 'timestamp' must be a finite number"),
        ({"item": ["a", "b", None]}, "row 3: an id must not be empty"),
    ],
)
def test_bad_parquet_rows_are_named(tmp_path: Path, change: dict, part: str) -> None:
    LOG.assign(**change).to_parquet(tmp_path / "log.parquet")
    with pytest.raises(InputError) as raised:
        read_source("table", tmp_path / "log.parquet", NONE)
    assert part in str(raised.value)


def test_parquet_without_rows_or_columns_or_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    LOG.head(0).to_parquet(path)
    with pytest.raises(InputError, match="has no row"):
        read_source("table", path, NONE)
    LOG.drop(columns="user").to_parquet(path)
    with pytest.raises(InputError, match="no column 'user'; columns found: 'item', 'timestamp', 'rating'"):
        read_source("table", path, NONE)
    path.write_text("no parquet")
    with pytest.raises(InputError, match="could not be read"):
        read_source("table", path, NONE)


def test_damaged_gz_and_wrong_encoding_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(TEXT.encode() * 500)[:-40])
    with pytest.raises(InputError, match="could not be read"):
        read_source("table", path, NONE)
    path.write_bytes(b"plain text")  # the first bytes decide, not the suffix
    with pytest.raises(InputError, match="no column 'user'; columns found, split at ',': 'plain text'"):
        read_source("table", path, NONE)
    latin = tmp_path / "log.csv"
    latin.write_bytes((HEAD + "\xe9,a,1,2\n").encode("latin-1"))
    with pytest.raises(InputError, match="invalid UTF8"):
        read_source("table", latin, NONE)


@pytest.mark.parametrize("source", sorted(set(SOURCES) - {"synthetic"}))
def test_a_missing_file_is_named_by_every_reader(tmp_path: Path, source: str) -> None:
    with pytest.raises(InputError, match="absent does not exist"):
        read_source(source, tmp_path / "absent", NONE)


@pytest.mark.parametrize("source", ["table", "recbole", "movielens-100k", "amazon", "sequences"])
def test_an_empty_folder_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(InputError, match=r"must hold exactly one|does not exist|is a folder"):
        read_source(source, tmp_path, NONE)


def test_an_unknown_source_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="movielens-100k, movielens-1m, .*got 'netflix'"):
        read_source("netflix", tmp_path, NONE)


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("movielens-1m", {"user_column": "u"}),
        ("amazon", {"declared_ordered": True}),
        ("sequences", {"rating_column": "r"}),
    ],
)
def test_an_option_the_format_cannot_use_is_refused(tmp_path: Path, source: str, options: dict) -> None:
    with pytest.raises(InputError, match=f"source {source} cannot use the option {next(iter(options))}"):
        read_source(source, tmp_path / "absent", SourceOptions(**options))


def test_every_entry_says_what_it_is_and_where_it_comes_from() -> None:
    assert {
        "movielens-100k",
        "movielens-1m",
        "movielens-latest",
        "amazon",
        "recbole",
        "sequences",
        "table",
    } <= set(SOURCES)
    known = set(SourceOptions.__dataclass_fields__)
    for name, entry in SOURCES.items():
        assert entry.name == name
        assert entry.description
        assert entry.where
        assert "\n" not in entry.description
        assert set(entry.options) <= known
