"""RecBole reader: the plain and the sequence-valued form, and the real files against others of the same data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from layerprobe.data.interactions import Interactions
from layerprobe.data.sources.registry import SourceOptions, read_source
from layerprobe.errors import InputError

NONE = SourceOptions()
PLAIN = "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu\ta\t3\t8.5e2\nv\tb\t4.5\t851\n"
LISTS = "user_id:token\titem_id_list:token_seq\titem_id:token\nu\ta b  c\td\nv\t\ta\nw\tb\ta\n"


def pairs_of(log: Interactions) -> list[tuple[str, str]]:
    return list(zip(log.user_ids[log.user], log.item_ids[log.item], strict=True))


def test_plain_rows_with_types_in_the_header(tmp_path: Path) -> None:
    (tmp_path / "x.inter").write_text(PLAIN)
    (tmp_path / "x.item").write_text('item_id:token\tmovie_title:token_seq\na\t"A" film\nb\t\n')
    raw = read_source("recbole", tmp_path, NONE)
    assert pairs_of(raw.interactions) == [("u", "a"), ("v", "b")]
    assert raw.interactions.timestamp is not None
    assert raw.interactions.timestamp.tolist() == [850, 851]
    assert raw.interactions.rating is not None
    assert raw.interactions.rating.tolist() == [3.0, 4.5]
    assert raw.titles == {"a": '"A" film'}
    assert not raw.ordered


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    (tmp_path / "x.inter").write_text("uid:token\tsku:token\twhen:float\nu\ta\t3\n")
    (tmp_path / "x.item").write_text("sku:token\tname:token_seq\na\tThing\n")
    options = SourceOptions(user_column="uid", item_column="sku", timestamp_column="when", title_column="name")
    raw = read_source("recbole", tmp_path / "x.inter", options)
    assert pairs_of(raw.interactions) == [("u", "a")]
    assert raw.titles == {"a": "Thing"}


def test_list_and_target_of_a_row_are_one_ordered_sequence(tmp_path: Path) -> None:
    path = tmp_path / "x.test.inter"
    path.write_text(LISTS)
    (tmp_path / "x.item").write_text("item_id:token\ttitle:token_seq\nd\tLast\n")
    raw = read_source("recbole", path, NONE)
    assert pairs_of(raw.interactions) == [("u", i) for i in "abcd"] + [("v", "a")] + [("w", "b"), ("w", "a")]
    assert raw.interactions.timestamp is None
    assert raw.ordered
    assert raw.titles == {"d": "Last"}


def test_rows_without_times_need_a_declaration(tmp_path: Path) -> None:
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\nu\ta\n")
    with pytest.raises(InputError, match="declared_ordered"):
        read_source("recbole", tmp_path, NONE)
    assert read_source("recbole", tmp_path, SourceOptions(declared_ordered=True)).ordered


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (LISTS + "u\ta b\tc\n", "line 5: a sequence-valued .inter file must have one row per user"),
        (LISTS + "x\ta b\t\n", "line 5: an id must not be empty"),
        (
            LISTS.replace("user_id", "uid"),
            "no column 'user_id'; columns found, split at '\\t': 'uid', 'item_id_list', 'item_id'",
        ),
        (PLAIN.replace("item_id", "sku"), "no column 'item_id'"),
        (PLAIN.replace("4.5", "good"), "line 3: 'rating:float' must be a finite number; got 'good'"),
        (PLAIN.replace("851", "nan"), "line 3: 'timestamp:float' must be a finite number, or a date"),
        (PLAIN.replace("\t", ","), "no column 'user_id'"),
        (PLAIN.replace("v\tb\t", "v\tb "), "line 3: expected 4 columns split at '\\t'; got 3"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "x.inter").write_text(text)
    with pytest.raises(InputError) as raised:
        read_source("recbole", tmp_path, NONE)
    assert part in str(raised.value)


def test_a_folder_must_hold_one_log(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found none"):
        read_source("recbole", tmp_path, NONE)
    for name in ("x.train.inter", "x.test.inter"):
        (tmp_path / name).write_text(LISTS)
    with pytest.raises(InputError, match=r"found x\.test\.inter, x\.train\.inter"):
        read_source("recbole", tmp_path, NONE)


def test_a_title_column_without_an_item_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.inter").write_text(PLAIN)
    with pytest.raises(InputError, match="no .item file"):
        read_source("recbole", tmp_path, SourceOptions(title_column="title"))


def test_real_ml_100k_holds_the_rows_of_u_data(shared_data: Path) -> None:
    raw = read_source("recbole", shared_data / "raw" / "ml-100k-recbole", NONE)
    log, same = raw.interactions, read_source("movielens-100k", shared_data / "raw" / "ml-100k", NONE).interactions
    assert pairs_of(log) == pairs_of(same)
    np.testing.assert_array_equal(log.timestamp, same.timestamp)
    np.testing.assert_array_equal(log.rating, same.rating)
    assert raw.titles is not None
    assert raw.titles["1"] == "Toy Story"


def test_real_games_rows_are_the_sequences_without_their_last_item(shared_data: Path) -> None:
    raw = read_source("recbole", shared_data / "raw" / "llmrank-games" / "Games-6k.valid.inter.gz", NONE)
    whole = pd.read_csv(shared_data / "amazon-games" / "interactions.csv.gz", dtype=str)
    shorter = whole[whole["user"].duplicated(keep="last")]
    assert pairs_of(raw.interactions) == list(zip(shorter["user"], shorter["item"], strict=True))
    titles = (
        pd.read_csv(shared_data / "amazon-games" / "items.csv.gz", dtype=str).set_index("item")["title"].str.strip()
    )
    assert raw.titles == titles[raw.interactions.item_ids].to_dict()
