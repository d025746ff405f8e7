"""MovieLens readers: small files of the real forms, and the real files against the prepared tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from layerprobe.data.interactions import Interactions
from layerprobe.data.order import OrderOptions, sort_rows
from layerprobe.data.sources.registry import SourceOptions, read_source

NONE = SourceOptions()


def rows_of(log: Interactions) -> list[tuple[str, str, int, float]]:
    assert log.timestamp is not None
    assert log.rating is not None
    users, items = log.user_ids[log.user], log.item_ids[log.item]
    return list(zip(users, items, log.timestamp.tolist(), log.rating.tolist(), strict=True))


def sequences_of(log: Interactions) -> dict[str, list[str]]:
    ordered = log.take(sort_rows(log, OrderOptions()))
    items = pd.Series(ordered.item_ids[ordered.item])
    return items.groupby(ordered.user_ids[ordered.user], sort=False).agg(list).to_dict()


def canonical(folder: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    log = pd.read_csv(folder / "interactions.csv.gz", dtype=str)
    items = pd.read_csv(folder / "items.csv.gz", dtype=str, keep_default_na=False)
    return log.groupby("user")["item"].agg(list).to_dict(), dict(
        zip(items["item"], items["title"].str.strip(), strict=True)
    )


def test_100k_reads_tabs_and_latin_1_titles_with_bars(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_bytes(b"196\t242\t3\t881250949\n186\t302\t4\t891717742\n")
    flags = b"|".join([b"0"] * 19)
    lines = [b'242|Mis\xe9rables, "Les" (1995)|01-Jan-1995||url|', b"302|  |01-Jan-1995||url|", b"9|Unseen|||url|"]
    (tmp_path / "u.item").write_bytes(b"\n".join(line + flags for line in lines) + b"\n")
    raw = read_source("movielens-100k", tmp_path, NONE)
    assert rows_of(raw.interactions) == [("196", "242", 881250949, 3.0), ("186", "302", 891717742, 4.0)]
    assert raw.titles == {"242": 'Misérables, "Les" (1995)'}
    assert not raw.ordered


def test_1m_splits_at_double_colons_and_keeps_single_ones(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_bytes(b"1::1193::5::978300760\r\n2::661::3::978302109\r\n")
    (tmp_path / "movies.dat").write_bytes(b"1193::Mission: Caf\xe9 (1996)::Action|Drama\n661::X::Drama\n")
    raw = read_source("movielens-1m", tmp_path / "ratings.dat", NONE)
    assert rows_of(raw.interactions) == [("1", "1193", 978300760, 5.0), ("2", "661", 978302109, 3.0)]
    assert raw.titles == {"1193": "Mission: Café (1996)", "661": "X"}


def test_latest_reads_quoted_titles_with_commas_and_line_breaks(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,7,4.5,964982703\n")
    (tmp_path / "movies.csv").write_text('movieId,title,genres\n7,"Postman, ""The""\n(1994)",Drama\n')
    raw = read_source("movielens-latest", tmp_path, NONE)
    assert rows_of(raw.interactions) == [("1", "7", 964982703, 4.5)]
    assert raw.titles == {"7": 'Postman, "The"\n(1994)'}


def test_without_a_movies_file_there_are_no_titles(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("1\t2\t3\t4\n")
    assert read_source("movielens-100k", tmp_path / "u.data", NONE).titles is None


@pytest.mark.parametrize(
    ("source", "raw", "name"),
    [("movielens-100k", "ml-100k", "ml-100k"), ("movielens-latest", "ml-latest-small", "ml-latest-small")],
)
def test_real_files_give_the_prepared_sequences_and_titles(shared_data: Path, source: str, raw: str, name: str) -> None:
    read = read_source(source, shared_data / "raw" / raw, NONE)
    sequences, titles = canonical(shared_data / name)
    assert sequences_of(read.interactions) == sequences
    assert read.titles == titles


def test_real_1m_ratings_and_movies(shared_data: Path) -> None:
    raw = read_source("movielens-1m", shared_data / "raw" / "ml-1m" / "ratings_head.dat", NONE)
    assert len(raw.interactions) == 254
    assert rows_of(raw.interactions)[0] == ("1", "1193", 978300760, 5.0)
    assert raw.titles is not None
    assert raw.titles["1193"] == "One Flew Over the Cuckoo's Nest (1975)"
    assert set(raw.titles) == set(raw.interactions.item_ids)
    assert {rating for *_, rating in rows_of(raw.interactions)} <= {1.0, 2.0, 3.0, 4.0, 5.0}
