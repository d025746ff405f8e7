"""Damaged bytes, for every reader: a log or one line, never anything else."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import zipfile
from pathlib import Path

import pytest

from layerprobe.data.sources.registry import SOURCES, SourceOptions, read_source
from layerprobe.errors import InputError

CSV = b"user,item,timestamp,rating\nu,a,5,1\nv,b,6,2\n"
JSON = b'{"user":"u","item":"a","timestamp":5}\n{"user":"v","item":"b","timestamp":6}\n'


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("log.csv", CSV)
    return buffer.getvalue()


WHOLE = [
    CSV,
    JSON,
    b"user_id:token\titem_id:token\ttimestamp:float\nu\ta\t1\n",
    b"u a b c\nv d e\n",
    b"1\tU\t11/15/2019 10:22:32 AM\t\tN1-1 N2-0\n",
    b'{"session":1,"events":[{"aid":1,"ts":2,"type":"clicks"}]}\n',
    b"1::2::3::4\n",
    b'{"reviewerID":"a","asin":"b","overall":5,"unixReviewTime":1}\n',
    CSV.decode().encode("utf-16"),
    gzip.compress(CSV),
    gzip.compress(JSON),
    bz2.compress(CSV),
    lzma.compress(CSV),
    zipped(),
]
PIECES = [
    b'""', b'"', b"null", b"NaN", b"[]", b"{}", b"1e400", b"9" * 30, b"\r", b"\r\n", b"\xef\xbb\xbf", b"\xff\xfe",
    b"true", b"\x1f\x8b", b"\x00",
]  # fmt: skip
TABLE_OPTIONS: list[dict] = [
    {},
    {"columns": "user,item,timestamp,-"},
    {"declared_ordered": True},
    {"event_column": "item", "events": "a"},
    {"delimiter": "::"},
]


def damaged(content: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 4)):
        place, kind = chance.randrange(len(content) + 1), chance.randrange(4)
        if kind == 0:
            content = content[:place]
        elif kind == 1:
            content = content[:place] + bytes([chance.randrange(256)]) + content[place + 1 :]
        elif kind == 2:
            content = content[:place] + chance.choice(PIECES) + content[place:]
        else:
            content = content[:place] + content[place + chance.randint(1, 9) :]
    return content


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_damaged_bytes_are_a_log_or_one_line(tmp_path: Path, source: str) -> None:
    path, chance, refused = tmp_path / "log.csv", random.Random(source), 0
    for number in range(60):
        path.write_bytes(damaged(WHOLE[number % len(WHOLE)], chance))
        options = chance.choice(TABLE_OPTIONS) if source == "table" else {}
        try:
            assert len(read_source(source, path, SourceOptions(**options)).interactions) > 0
        except InputError as error:
            text = str(error).replace(str(path), "")
            assert text.isprintable()
            assert len(text) <= 300
            refused += 1
    assert refused > 20


def test_json_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(JSON.replace(b'"u"', b'"\xff"'))
    with pytest.raises(InputError, match="could not be read: .*UTF"):
        read_source("table", path, SourceOptions())


def test_several_objects_in_a_line_are_told_by_their_number(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    review = '{"reviewerID":"a","asin":"b","overall":5,"unixReviewTime":1}'
    path.write_text(f"{review} {review.replace('b', '')}\n")
    with pytest.raises(InputError, match="object 2: an id must not be empty"):
        read_source("amazon", path, SourceOptions())
