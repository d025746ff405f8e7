"""Sequence text: one line per user, ordered by nature."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from layerprobe.data.sources.raw import RawLog
from layerprobe.data.sources.registry import SourceOptions, read_source
from layerprobe.errors import InputError


def pairs_of(raw: RawLog) -> list[tuple[str, str]]:
    log = raw.interactions
    return list(zip(log.user_ids[log.user], log.item_ids[log.item], strict=True))


EXPECTED = [("u", "1"), ("u", "2"), ("u", "1"), ("1", "7")]


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [("u 1 2 1\n1 7\n", None), ("u\t1  2 1 \r\n\r\n 1 7", None), ("u,1,2,1\n1,7\n", ",")],
)
def test_a_line_is_a_user_and_his_items(tmp_path: Path, text: str, delimiter: str | None) -> None:
    path = tmp_path / "x.txt.gz"
    path.write_bytes(gzip.compress(text.encode()))
    raw = read_source("sequences", path, SourceOptions(delimiter=delimiter))
    assert pairs_of(raw) == EXPECTED
    assert raw.ordered
    assert raw.titles is None
    assert raw.interactions.timestamp is None
    assert raw.interactions.rating is None


def test_titles_come_from_a_table(tmp_path: Path) -> None:
    path, items = tmp_path / "x.txt", tmp_path / "items.csv"
    path.write_text("u;1;2\n")
    items.write_text("id,name\n1,One\n3,Three\n")
    options = SourceOptions(item_column="id", title_column="name", items_path=str(items), delimiter=";")
    assert read_source("sequences", path, options).titles == {"1": "One"}


@pytest.mark.parametrize(
    ("text", "delimiter", "part"),
    [
        ("u 1\n\nv\n", None, "line 3: expected a user and at least one item"),
        ("u 1\n   \n", None, "line 2: expected a user and at least one item"),
        ("u 1\nv 2\nu 3\n", None, "line 3: one line per user"),
        ("u,1\nv,2,,3\n", ",", "line 2: an id must not be empty"),
        ("u,1\nv,2\n", None, "line 1: expected a user"),
        ("", None, "is empty"),
        ("\n\n", None, "holds blank lines only"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, text: str, delimiter: str | None, part: str) -> None:
    path = tmp_path / "x.txt"
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        read_source("sequences", path, SourceOptions(delimiter=delimiter))
    assert part in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_real_beauty_text_is_the_prepared_table_under_its_item_numbers(shared_data: Path) -> None:
    raw = read_source("sequences", shared_data / "raw" / "s3rec" / "Beauty.txt.gz", SourceOptions())
    table = pd.read_csv(shared_data / "amazon-beauty" / "interactions.csv.gz", dtype=str)
    numbers = pd.read_csv(shared_data / "amazon-beauty" / "items.csv.gz", dtype=str).set_index("item")["s3rec_id"]
    log = raw.interactions
    assert log.item_ids[log.item].tolist() == table["item"].map(numbers).tolist()
    assert log.user.tolist() == pd.factorize(table["user"])[0].tolist()
