"""Amazon reader: the three generations, their quirks, and the real 2018 files against the prepared table."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from layerprobe.data.order import OrderOptions, sort_rows
from layerprobe.data.sources.raw import RawLog
from layerprobe.data.sources.registry import SourceOptions, read_source
from layerprobe.errors import InputError


def write_lines(path: Path, records: list, dump=json.dumps) -> Path:
    text = "\n".join(dump(record) for record in records) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def read(path: Path, items: Path | None = None) -> RawLog:
    return read_source("amazon", path, SourceOptions(items_path=None if items is None else str(items)))


def rows_of(raw: RawLog) -> list[tuple]:
    log = raw.interactions
    assert log.timestamp is not None
    assert log.rating is not None
    users, items = log.user_ids[log.user], log.item_ids[log.item]
    return list(zip(users, items, log.rating.tolist(), log.timestamp.tolist(), strict=True))


def review(user: str, item: str, rating: float, time: int, **extra: object) -> dict:
    return {"reviewerID": user, "asin": item, "overall": rating, "unixReviewTime": time, **extra}


@pytest.mark.parametrize("suffix", ["json", "json.gz"])
def test_2018_reviews_may_differ_in_their_keys_and_types(tmp_path: Path, suffix: str) -> None:
    records = [
        review("u1", "B1", 5.0, 1529193600, style={"Gift Amount:": " 50"}, vote="3"),
        review("u2", "B1", 4, 1528934400, image=["a.jpg"], vote=3),
        review("u1", "B0", 1.0, 1527897600, style="none"),
    ]
    assert rows_of(read(write_lines(tmp_path / f"reviews.{suffix}", records))) == [
        ("u1", "B1", 5.0, 1529193600),
        ("u2", "B1", 4.0, 1528934400),
        ("u1", "B0", 1.0, 1527897600),
    ]


def test_2018_titles_take_the_first_that_is_not_empty_and_are_unescaped(tmp_path: Path) -> None:
    reviews = write_lines(tmp_path / "r.json", [review("u", item, 5, 1) for item in ("B1", "B2", "B3", "B4")])
    meta = [
        {"asin": "B1", "title": "", "rank": []},
        {"asin": "B1", "title": "  Salt &amp; Pepper ", "rank": "3 in Toys"},
        {"asin": "B1", "title": "Later"},
        {"asin": "B2", "title": None},
        {"asin": "B3", "title": "var t = new Date().getTime();"},
        {"asin": "B9", "title": "Not in the log"},
        {"asin": "B4"},
    ]
    assert read(reviews, write_lines(tmp_path / "meta.json", meta)).titles == {"B1": "Salt & Pepper"}


def test_2014_metadata_may_be_python_literals(tmp_path: Path) -> None:
    reviews = write_lines(tmp_path / "r.json", [review("u", "B1", 5, 1), review("u", "B2", 5, 2)])
    meta = [
        {"asin": "B1", "title": 'It\'s a "dress"', "salesRank": {"Toys": 3}, "price": None},
        {"asin": "B2", "description": "no title"},
    ]
    assert read(reviews, write_lines(tmp_path / "meta.json.gz", meta, dump=repr)).titles == {"B1": 'It\'s a "dress"'}


def test_2023_takes_the_parent_and_keeps_milliseconds(tmp_path: Path) -> None:
    records = [
        {"user_id": "u", "asin": "C1", "parent_asin": "P1", "rating": 4.0, "timestamp": 1588687728923, "images": []},
        {"user_id": "u", "asin": "C2", "parent_asin": "P1", "rating": 5.0, "timestamp": 1588687728924},
    ]
    meta = write_lines(tmp_path / "meta.jsonl", [{"parent_asin": "P1", "title": "Parent", "price": 3.5}])
    raw = read(write_lines(tmp_path / "reviews.jsonl", records), meta)
    assert rows_of(raw) == [("u", "P1", 4.0, 1588687728923), ("u", "P1", 5.0, 1588687728924)]
    assert raw.titles == {"P1": "Parent"}


def test_2023_without_parents_takes_the_item(tmp_path: Path) -> None:
    record = {"user_id": "u", "asin": "C1", "rating": 4.0, "timestamp": 1}
    assert rows_of(read(write_lines(tmp_path / "r.jsonl", [record]))) == [("u", "C1", 4.0, 1)]


GOOD = json.dumps(review("u", "B", 5, 1))
BAD_LINES = [
    (f"{GOOD}\n\n{json.dumps(review('u', 'B', 'five', 1))}\n", "line 3: 'overall' must be a number; got 'five'"),  # type: ignore[arg-type]
    (f"{GOOD}\n{{'broken\n", "line 2: expected one JSON object per line"),
    (f"{GOOD}\n[1, 2]\n", "line 2: expected one JSON object per line; got '[1, 2]'"),
    ("user,item,timestamp\n", "line 1: expected one JSON object per line or the CSV"),
    (f"{GOOD}\n{json.dumps({'asin': 'B', 'overall': 5, 'unixReviewTime': 1})}\n", "line 2: an id must not be empty"),
    (f"{GOOD}\n\n{json.dumps(review('u', '', 5, 1))}\n", "line 3: an id must not be empty; column 'asin' is"),
    (f"{GOOD}\n{json.dumps({'reviewerID': 'u', 'asin': 'B', 'overall': 5})}\n", "line 2: 'unixReviewTime' must be"),
    ('{"asin": "B", "stars": 3}\n', "no key 'reviewerID'; keys of its first object: asin, stars"),
    ('{"user_id": "u", "asin": "B", "rating": 3}\n', "no key 'timestamp'"),
    ("\n\n", "is empty"),
]


@pytest.mark.parametrize(("text", "part"), BAD_LINES)
def test_bad_lines_are_named(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "reviews.json"
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        read(path)
    assert part in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('{"sku": "B", "title": "x"}\n', "no key 'asin'"),
        ('{"asin": "B", "name": "x"}\n', "no key 'title'; keys of its first object: asin, name"),
        ("{'asin': 'B', 'title': 'x'}\n{'asin': 'C', 'title': oops}\n", "line 2: expected a dict literal"),
        ("{'asin': 'B', 'title': ['x']}\n", "line 1: 'title' must be text; got ['x']"),
        ("{'asin', 'title'}\n", "line 1: expected a dict"),
    ],
)
def test_bad_metadata_is_named(tmp_path: Path, text: str, part: str) -> None:
    reviews, meta = write_lines(tmp_path / "r.json", [review("u", "B", 5, 1)]), tmp_path / "meta.json"
    meta.write_text(text)
    with pytest.raises(InputError) as raised:
        read(reviews, meta)
    assert part in str(raised.value)
    assert str(meta) in str(raised.value)


def test_a_cut_gz_file_is_refused(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "r.json.gz", [review("u", f"B{number}", 5, number) for number in range(500)])
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InputError, match="could not be read"):
        read(path)


def test_real_gift_cards_equal_the_prepared_table_but_for_its_dropped_duplicates(shared_data: Path) -> None:
    folder = shared_data / "raw" / "amazon2018-giftcards"
    raw = read(folder / "Gift_Cards_5.json.gz", folder / "meta_Gift_Cards.json.gz")
    assert len(raw.interactions) == 2972
    log = raw.interactions.take(sort_rows(raw.interactions, OrderOptions()))
    found = log.to_frame().astype({"user": str, "item": str})[["user", "item", "timestamp"]].drop_duplicates()
    expected = pd.read_csv(shared_data / "amazon-giftcards" / "interactions.csv.gz")
    found = found.sort_values("user", kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(found, expected.sort_values("user", kind="stable", ignore_index=True))
    titles = pd.read_csv(shared_data / "amazon-giftcards" / "items.csv.gz").set_index("item")["title"].str.strip()
    assert raw.titles == titles.to_dict()
