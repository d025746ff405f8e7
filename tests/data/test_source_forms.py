"""Forms that files come in: compressed, in UTF-16, binary, without a header, with odd types, from a home folder."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from layerprobe.cli.main import main
from layerprobe.data.log import load_log
from layerprobe.data.sources import opening
from layerprobe.data.sources.raw import RawLog
from layerprobe.data.sources.registry import SOURCES, SourceOptions, read_source
from layerprobe.errors import InputError
from layerprobe.store.atomic import read_json

TEXT = "user,item,timestamp\nu,a,5\nv,b,6\nu,b,7\n"
ROWS = [("u", "a", 5), ("v", "b", 6), ("u", "b", 7)]
BEGINNING = "".join(f"line {number}\n" for number in range(40))


def rows_of(raw: RawLog) -> list[tuple]:
    log = raw.interactions
    times = [None] * len(log) if log.timestamp is None else log.timestamp.tolist()
    return list(zip(log.user_ids[log.user], log.item_ids[log.item], times, strict=True))


def read(path: Path, **options: object) -> RawLog:
    return read_source("table", path, SourceOptions(**options))  # type: ignore[arg-type]


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(InputError) as raised:
        read(path, **options)
    text = str(raised.value)
    assert text.isprintable()
    assert len(text.replace(str(path), "")) <= 300
    return text


def zipped(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def zstd(content: bytes) -> bytes:
    return pa.compress(content, "zstd", asbytes=True)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zip": lambda content: zipped({"folder/log.csv": content.decode(), "__MACOSX/._log.csv": "x"}),
    "zst": zstd,
}


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("name", ["log.csv", "log.csv.{}"])
def test_a_compressed_file_is_known_by_its_first_bytes(tmp_path: Path, suffix: str, name: str) -> None:
    path = tmp_path / name.format(suffix)
    path.write_bytes(PACKERS[suffix](TEXT.encode()))
    assert rows_of(read(path)) == ROWS


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_folder_may_hold_compressed_files(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"interactions.csv.{suffix}").write_bytes(PACKERS[suffix](TEXT.encode()))
    (tmp_path / f"items.csv.{suffix}").write_bytes(PACKERS[suffix](b"item,title\na,Apple\n"))
    raw = read(tmp_path)
    assert rows_of(raw) == ROWS
    assert raw.titles == {"a": "Apple"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_text_with_a_mark_is_read(tmp_path: Path, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(pack(TEXT.replace("v", "é").encode(encoding)))
    assert rows_of(read(path)) == [("u", "a", 5), ("é", "b", 6), ("u", "b", 7)]
    path.write_bytes(pack(TEXT.replace(",", "::").encode(encoding)))
    assert rows_of(read(path, delimiter="::")) == ROWS
    lines = "".join(f'{{"user": "{user}", "item": "{item}", "timestamp": {time}}}\n' for user, item, time in ROWS)
    path.write_bytes(pack(lines.encode(encoding)))
    assert rows_of(read(path)) == ROWS


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (zipped({"a.csv": TEXT, "b.csv": TEXT}), "is a zip of 2 files ('a.csv', 'b.csv')"),
        (zipped({"a\x07\n.csv": TEXT, "b.csv": TEXT}), "is a zip of 2 files ('a\\x07\\n.csv'"),
        (zipped({}), "an empty zip archive"),
        (zipped({"[Content_Types].xml": "x", "xl/sheet.xml": "x"}), "is an Excel or Word file; save it as CSV"),
        (zipped({"inner.zip": "PK\x03\x04" + TEXT}), "holds a zip archive"),
        (gzip.compress(b"a" * 257 + b"ustar" + b"\0" * 200), "holds a tar archive"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(range(256)), "is a 7z archive"),
        (b"Rar!\x1a\x07\x00" + bytes(range(256)), "is a RAR archive"),
        (b"SQLite format 3\x00" + bytes(range(256)), "is an SQLite database"),
        (b"\x89HDF\r\n\x1a\n" + bytes(range(256)), "is an HDF5 file"),
        (b"\x80\x05\x95" + bytes(range(256)), "is a pickle"),
        (bytes(range(256)), "holds NUL bytes"),
        (TEXT.encode("utf-16-le"), "holds NUL bytes: it is binary, or UTF-16 without its mark"),
        (TEXT.encode("utf-32"), "is UTF-32 text"),
        (zipped({"log.csv": TEXT})[:90], "could not be read"),
        (lzma.compress(TEXT.encode())[:-20], "could not be read"),
        (bz2.compress(TEXT.encode())[:-20], "could not be read"),
        (bytes(range(1, 256)), "has no column 'user'"),
        ((BEGINNING + "\x1b[31m\x07").encode(), "has no column 'user'"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,  # archives hold a time, so their bytes name no test
)
def test_what_is_not_read_is_named_and_never_printed_raw(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    assert part in refusal(path)


def test_a_zip_with_a_password_is_named(tmp_path: Path) -> None:
    content = bytearray(zipped({"log.csv": TEXT}))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path = tmp_path / "log.zip"
    path.write_bytes(content)
    assert "is a zip with a password" in refusal(path)


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz", "zip", "zst"])
@pytest.mark.parametrize("delimiter", [None, "::"])
def test_absurd_expansion_stops_at_the_stated_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, delimiter: str | None
) -> None:
    monkeypatch.setattr(opening, "ALWAYS_ALLOWED", 10_000)
    content = (TEXT + "u,a,5\n" * 500_000).replace(",", delimiter or ",").encode()
    path = tmp_path / f"log.csv.{suffix}"
    path.write_bytes(PACKERS[suffix](content))
    size = path.stat().st_size
    assert len(content) > 200 * size
    limit = max(10_000, 200 * size)
    assert f"becomes more than {limit:,} bytes, 200 times its size" in refusal(path, delimiter=delimiter)
    monkeypatch.setattr(opening, "ALWAYS_ALLOWED", len(content))
    assert len(read(path, delimiter=delimiter).interactions) == 500_003


def test_json_lines_stop_at_the_limit_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "ALWAYS_ALLOWED", 10_000)
    path = tmp_path / "log.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"user": "u", "item": "a", "timestamp": 5}\n' * 200_000))
    assert "200 times its size" in refusal(path)


PAIRS = [("196", "242"), ("186", "302"), ("196", "302")]


@pytest.mark.parametrize("delimiter", [" ", "\t", ",", ";", "|", "::"])
def test_pairs_without_a_header(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text("".join(f"{user}{delimiter}{item}\n" for user, item in PAIRS))
    raw = read(path, columns="user,item", declared_ordered=True)
    assert [row[:2] for row in rows_of(raw)] == PAIRS
    assert raw.ordered


def test_columns_of_a_file_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text('196,"242",3,881250949\n186,302,4,891717742\n')
    raw = read(path, columns="user,item,-,timestamp")
    assert rows_of(raw) == [("196", "242", 881250949), ("186", "302", 891717742)]
    assert raw.interactions.rating is None
    assert read(path, columns="user, item, rating, timestamp").interactions.rating is not None
    other = read(path, columns="who,what,-,when", user_column="who", item_column="what", timestamp_column="when")
    assert rows_of(other) == rows_of(raw)


@pytest.mark.parametrize(
    ("text", "options", "part"),
    [
        # the values of the first row, named as columns: read, and a row lost, in earlier versions
        (
            "196,242,3,881250949\n186,302,4,891717742\n",
            {"user_column": "196", "item_column": "242", "timestamp_column": "881250949"},
            "has no header line: its first line, '196', '242', '3', '881250949', is a row; name the columns by "
            "read.columns",
        ),
        (
            "ann,x\nbob,y\nann,y\n",
            {"user_column": "ann", "item_column": "x", "declared_ordered": True},
            "has no header line",
        ),
        (
            "ann,x,2020-01-02\nbob,y,2020-01-03\n",
            {"user_column": "ann", "item_column": "x", "timestamp_column": "2020-01-02"},
            "has no header line",
        ),
        ("196,242,3,881250949\n", {}, "its first line looks like a row: name the columns by read.columns"),
        (TEXT, {"columns": "user,item,timestamp"}, "has a header line, 'user,item,timestamp': leave read.columns out"),
        (
            "1,2,3\n",
            {"columns": "user,item", "declared_ordered": True},
            "expected 2 columns split at ','; got 3",
        ),
        ("1,2\n", {"columns": "user,-"}, "no column 'item'"),
        ("1,2\n", {"columns": "user,,item"}, "columns must name every column"),
        ("1 2;3\n", {"columns": "user,item", "declared_ordered": True}, "all give 2 columns; say which"),
        ('{"user": "u"}\n', {"columns": "user"}, "read.columns is for text without a header line"),
        ('[{"user": "u"}]\n', {}, "no column 'user'"),
    ],
)
def test_a_first_line_is_a_header_or_a_row(tmp_path: Path, text: str, options: dict, part: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    assert part in refusal(path, **options)


def test_columns_that_a_tool_numbered_are_a_header(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(",0,1,2\n0,u,a,5\n1,v,b,6\n")
    raw = read(path, user_column="0", item_column="1", timestamp_column="2")
    assert rows_of(raw) == [("u", "a", 5), ("v", "b", 6)]


@pytest.mark.parametrize("spelt", ["\t", "\\t", "tab"])
def test_a_tabulator_may_be_spelt(tmp_path: Path, spelt: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(TEXT.replace(",", "\t"))
    assert rows_of(read(path, delimiter=spelt)) == ROWS


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "log.csv").write_text(TEXT + "v,a,8\nv,c,9\nu,c,10\n")
    (tmp_path / "titles.csv").write_text("item,title\na,Apple\n")
    options = SourceOptions(items_path="~/titles.csv")
    assert load_log("~/log.csv", options=options).titles == {"a": "Apple"}
    arguments = ["--path", "~/log.csv", "--read.items_path", "~/titles.csv", "--out", str(tmp_path / "data")]
    assert main(["prepare", "--source", "table", *arguments]) == 0


NAMES = ["x" * 300, "~nobody-of-this-name/log.csv", "log.csv/below", "a\x07b", "a\0b", "x" * 5000]


@pytest.mark.parametrize("source", sorted(SOURCES))
@pytest.mark.parametrize(
    "name", ["x" * 300, "~nobody-of-this-name/log.csv", "log.csv/below", "a\x07b", "a\0b", "x" * 5000]
)
def test_paths_that_cannot_be_are_one_line(tmp_path: Path, source: str, name: str) -> None:
    (tmp_path / "log.csv").write_text(TEXT)
    with pytest.raises(InputError, match=r"does not exist|could not be read") as raised:
        read_source(source, Path(name) if name.startswith("~") else tmp_path / name, SourceOptions())
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) <= 300
    with pytest.raises(InputError, match=r"does not exist|could not be read|items_path must"):
        read_source("table", tmp_path / "log.csv", SourceOptions(items_path=str(tmp_path / name)))


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_a_file_without_rights_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    def refused(*_args: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "log.csv").write_text(TEXT)
    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(InputError, match="could not be read: Permission denied"):
        read_source(source, tmp_path / "log.csv", SourceOptions())


EVENTS = "user,item,timestamp,event\nu,a,1,view\nu,b,2,purchase\nv,a,3,cart\nv,c,4,view\nu,c,5, view \n"


def test_events_are_picked(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(EVENTS)
    raw = read(path, event_column="event", events="purchase, cart")
    assert rows_of(raw) == [("u", "b", 2), ("v", "a", 3)]
    assert raw.interactions.user_ids.tolist() == ["u", "v"]
    assert raw.notes == ("rows by event: view 3, purchase 1, cart 1; kept: purchase, cart, 2 of 5 rows",)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"event_column": "event"}, "event_column and events need each other"),
        ({"events": "view"}, "event_column and events need each other"),
        (
            {"event_column": "event", "events": "buy"},
            "no row whose 'event' is 'buy'; found: view 3, ",
        ),
        ({"event_column": "event", "events": " ,"}, "must name at least one event"),
        ({"event_column": "kind", "events": "view"}, "no column 'kind'"),
    ],
)
def test_bad_events_are_refused(tmp_path: Path, options: dict, part: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(EVENTS)
    assert part in refusal(path, **options)


def test_the_options_can_be_flags(tmp_path: Path) -> None:
    def counts(name: str, text: str, *flags: str) -> tuple[int, int, int]:
        (tmp_path / f"{name}.txt").write_text(text)
        arguments = ["--path", str(tmp_path / f"{name}.txt"), "--out", str(tmp_path / name), *flags]
        assert main(["prepare", "--source", "table", *arguments]) == 0
        found = read_json(tmp_path / name / "facts.json")["counts"]
        return found["users"], found["items"], found["interactions"]

    bare = "".join(f"{u},{i},3,{10 * u + i}\n" for u in (1, 2) for i in range(4))
    assert counts("bare", bare, "--read.columns", "user,item,-,timestamp") == (2, 4, 8)
    pairs = "".join(f"{u} {i}\n" for u in (1, 2) for i in range(4))
    assert counts("pairs", pairs, "--read.columns", "user,item", "--read.declared_ordered", "true") == (2, 4, 8)
    numbered = "".join(f"{u};{i};{i}\n" for u in (1, 2) for i in range(4))
    assert counts("numbered", numbered, "--read.columns=user,item,timestamp", "--read.delimiter=;") == (2, 4, 8)
    events = "user,item,timestamp,event\n" + "".join(
        f"u{u},i{i},{i},{('view', 'purchase', 'cart')[i % 3]}\n" for u in (1, 2) for i in range(6)
    )
    picked = ["--read.event_column", "event", "--read.events", "purchase,cart"]
    assert counts("events", events, *picked) == (2, 4, 8)


def test_times_that_contradict_a_declared_order_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,timestamp\nu,a,5\nv,b,9\nu,b,4\nv,c,9\nu,c,3\n")
    (note,) = read(path, declared_ordered=True).notes
    assert "2 of them are older than the row of the same user before" in note
    assert read(path).notes == ()
    path.write_text(TEXT)
    assert read(path, declared_ordered=True).notes == ()


def test_a_bad_row_behind_picked_events_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(EVENTS.replace("a,3,cart", "a,x3,cart"))
    assert "line 4: 'timestamp' must be" in refusal(path, event_column="event", events="cart")


@pytest.mark.parametrize("key", ["sku", "item"])
def test_items_may_be_json_lines_with_a_key_of_their_own(tmp_path: Path, key: str) -> None:
    log, items = tmp_path / "log.csv", tmp_path / "meta.jsonl.gz"
    log.write_text(TEXT.replace(",a,", ",1,").replace(",b,", ",2,"))
    items.write_bytes(gzip.compress(f'{{"{key}": 1, "name": "One"}}\n{{"name": "Two", "{key}": 2}}\n'.encode()))
    options = {"items_path": str(items), "title_column": "name"}
    assert read(log, **options, **({} if key == "item" else {"items_key": key})).titles == {"1": "One", "2": "Two"}


def test_a_log_may_be_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(
        '{"user": 9007199254740993, "item": "a", "timestamp": 5}\n'
        '{"item": "b", "user": 2, "timestamp": 6.5, "rating": 4}\n'
    )
    assert "'rating' must be a finite number; got None" in refusal(path)
    path.write_text(path.read_text().replace(', "rating": 4', "").replace("6.5", "6"))
    assert rows_of(read(path)) == [("9007199254740993", "a", 5), ("2", "b", 6)]


def test_titles_that_do_not_join_are_refused_with_an_id_of_each_side(tmp_path: Path) -> None:
    log, items = tmp_path / "log.csv", tmp_path / "items.csv"
    log.write_text("user,item,timestamp\nu,7,1\nu,8,2\n")
    items.write_text("item,title\n007,Seven\n008,Eight\n")
    found = refusal(log, items_path=str(items))
    assert "none of the log's 2 items is in column 'item'; ids there look like '007', in the log like '7'" in found
    items.write_text("item,title\n007,Seven\n8 ,Eight\n")
    assert read(log, items_path=str(items)).titles == {"8": "Eight"}


def test_a_title_column_of_another_name_is_noted(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text(TEXT)
    (tmp_path / "items.csv").write_text("item,name\na,Apple\n")
    raw = read(tmp_path)
    assert raw.titles is None
    assert raw.notes == (
        "items.csv has no column 'title', so there are no titles; columns found: 'item', 'name': name one by "
        "read.title_column",
    )


def test_an_items_key_without_items_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(TEXT)
    assert "set items_path" in refusal(path, items_key="sku")


@pytest.mark.parametrize("delimiter", [",", " "])
def test_recbole_files_may_be_split_elsewhere(tmp_path: Path, delimiter: str) -> None:
    rows = ["user_id:token,item_id:token,timestamp:float", "u,a,5", "v,b,6", "u,b,7"]
    (tmp_path / "x.inter").write_text("\n".join(rows).replace(",", delimiter))
    (tmp_path / "x.item").write_text("item_id:token,title:token\na,Apple\n".replace(",", delimiter))
    with pytest.raises(InputError, match="check the source name and its column and delimiter options"):
        read_source("recbole", tmp_path, SourceOptions())
    raw = read_source("recbole", tmp_path, SourceOptions(delimiter=delimiter))
    assert rows_of(raw) == ROWS
    assert raw.titles == {"a": "Apple"}


def table(**columns: pa.Array) -> pa.Table:
    usual = {"user": pa.array(["u", "v", "u"]), "item": pa.array(["1", "2", "2"]), "timestamp": pa.array([5, 6, 7])}
    return pa.table(usual | columns)


DAY = 86_400
SENSIBLE: list[tuple[str, pa.Array, list]] = [
    ("item", pa.array([Decimal(1), Decimal(2), Decimal(2)], pa.decimal128(5, 0)), ["1", "2", "2"]),
    ("item", pa.array([Decimal("1.00"), Decimal("2.00"), Decimal("2.00")]), ["1", "2", "2"]),
    ("item", pa.array([1.0, 2.0, 2.0]), ["1", "2", "2"]),
    ("item", pa.array([2**63, 2, 2], pa.uint64()), [str(2**63), "2", "2"]),
    ("item", pa.array(["a", "b", "b"], pa.large_string()), ["a", "b", "b"]),
    ("item", pa.array([b"a", b"b", b"b"]), ["a", "b", "b"]),
    ("item", pa.array(["a", "b", "b"]).dictionary_encode(), ["a", "b", "b"]),
    ("rating", pa.array([True, False, True]), [1.0, 0.0, 1.0]),
    ("rating", pa.array([Decimal("1.5"), Decimal(2), Decimal(3)]), [1.5, 2.0, 3.0]),
    ("rating", pa.array([1, 2, 3], pa.int8()), [1.0, 2.0, 3.0]),
    ("timestamp", pa.array([1, 2, 3], pa.duration("ms")), [1, 2, 3]),
    ("timestamp", pa.array([0, 1, 2], pa.date32()), [0, DAY, 2 * DAY]),
    ("timestamp", pa.array([0, 1, 2], pa.timestamp("us", "Europe/Berlin")), [0, 1, 2]),
    ("timestamp", pa.array([Decimal(5), Decimal(6), Decimal(7)], pa.decimal128(20, 0)), [5, 6, 7]),
    ("timestamp", pa.array([Decimal("5.5"), Decimal(6), Decimal(7)]), [5_500_000, 6_000_000, 7_000_000]),
    ("timestamp", pa.array(["1970-01-01", "1970-01-02", "1970-01-03"]).dictionary_encode(), [0, DAY, 2 * DAY]),
]


@pytest.mark.parametrize(("name", "column", "expected"), SENSIBLE)
def test_parquet_types_that_mean_something(tmp_path: Path, name: str, column: pa.Array, expected: list) -> None:
    parquet.write_table(table(**{name: column}), tmp_path / "log.parquet")
    log = read(tmp_path / "log.parquet").interactions
    found = {"item": log.item_ids[log.item], "rating": log.rating, "timestamp": log.timestamp}[name]
    assert np.asarray(found).tolist() == expected


STRUCT = pa.array([{"id": 1}, {"id": 2}, {"id": 3}])
LIST = pa.array([[1], [2], [3]])
ODD: list[tuple[str, pa.Array, str]] = [
    *(
        (name, column, "is of type")
        for name in ("user", "item", "timestamp", "rating")
        for column in (STRUCT, LIST, pa.array([1, 2, 3], pa.time32("s")), pa.array([[("a", 1)]] * 3, pa.map_(
            pa.string(), pa.int64())))
    ),
    *((name, pa.nulls(3), "holds nulls alone") for name in ("user", "item", "timestamp", "rating")),
    *((name, pa.array([True, False, True]), "is of type bool") for name in ("user", "timestamp")),
    *((name, pa.array([1, 2, 3], pa.duration("s")), "is of type duration") for name in ("user", "rating")),
    *((name, pa.array([1, 2, 3], pa.date32()), "is of type date32") for name in ("user", "rating")),
    ("item", pa.array([b"abc", b"def", b"ghi"], pa.binary(3)), "is of type fixed_size_binary"),
    ("item", pa.array([b"a", b"\xff\x00", b"c"]), "row 2: 'item' must be text in UTF-8; got b'\\xff\\x00'"),
    ("item", pa.array([1.0, 1.5, 2.0]), "row 2: 'item' must be an id, text or an exact whole number; got 1.5"),
    ("item", pa.array([1.0, 2.0**60, 2.0]), "row 2: 'item' must be an id"),
    ("item", pa.array([1.0, float("nan"), 2.0]), "row 2: 'item' must be an id"),
    ("item", pa.array([Decimal("1.5"), Decimal(2), Decimal(3)]), "row 1: 'item' must be an id"),
    ("item", pa.array(["a", None, "b"]), "row 2: an id must not be empty"),
    ("rating", pa.array([1.0, float("inf"), 2.0]), "row 2: 'rating' must be a finite number"),
    ("timestamp", pa.array([1, None, 3], pa.timestamp("s")), "row 2: 'timestamp' must be"),
    ("timestamp", pa.array([1, None, 3], pa.duration("s")), "row 2: 'timestamp' must be"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "column", "part"), ODD)
def test_parquet_types_that_mean_nothing_are_refused(tmp_path: Path, name: str, column: pa.Array, part: str) -> None:
    parquet.write_table(table(**{name: column}), tmp_path / "log.parquet")
    assert part in refusal(tmp_path / "log.parquet")


def test_parquet_is_known_by_its_bytes(tmp_path: Path) -> None:
    parquet.write_table(table(), tmp_path / "log.csv")
    assert len(read(tmp_path / "log.csv").interactions) == 3


@pytest.mark.parametrize("title", [STRUCT, pa.array([1, 2, 3], pa.duration("s"))])
def test_titles_of_odd_types_are_refused(tmp_path: Path, title: pa.Array) -> None:
    parquet.write_table(table(), tmp_path / "interactions.parquet")
    parquet.write_table(pa.table({"item": ["1", "2", "3"], "title": title}), tmp_path / "items.parquet")
    with pytest.raises(InputError, match="column 'title' is of type"):
        read(tmp_path)
