"""The data folder: what `prepare` writes, that it reads back the same, and that errors leave nothing."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from layerprobe import columns
from layerprobe.data.order import OrderOptions, order_rule
from layerprobe.data.prepare import FILES, DataOptions, PreparedData, load_prepared, load_user_ids, prepare
from layerprobe.data.preprocess import PreprocessOptions
from layerprobe.data.sources.registry import SourceOptions
from layerprobe.errors import InputError
from layerprobe.store.atomic import read_json

TEXT = """user,item,timestamp,rating
v,c,3,5
u,a,1,4
v,b,2,3
u,b,1,4
u,d,0,1
v,a,1,5
u,c,9,4
w,a,1,2
v,b,4,4
"""
ITEMS = "item,title\na,Apple\nb,Bean\nd,Date\n"


@pytest.fixture
def options(tmp_path: Path) -> DataOptions:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "interactions.csv").write_text(TEXT)
    (folder / "items.csv").write_text(ITEMS)
    return DataOptions("table", folder)


def raw_sequences(data: PreparedData) -> list[list[str]]:
    sequences = data.split.sequences
    names = data.catalogue.item_ids[sequences.items - 1]
    return [names[start:end].tolist() for start, end in zip(sequences.offsets, sequences.offsets[1:], strict=False)]


def assert_same(a: PreparedData, b: PreparedData) -> None:
    for name in ("items", "offsets"):
        left, right = getattr(a.split.sequences, name), getattr(b.split.sequences, name)
        np.testing.assert_array_equal(left, right)
        assert left.dtype == right.dtype == np.int64
    assert a.split.sequences.n_items == b.split.sequences.n_items
    assert a.catalogue.item_ids.tolist() == b.catalogue.item_ids.tolist()
    left, right = a.catalogue.titles, b.catalogue.titles
    assert (left is None and right is None) or (left is not None and right is not None and list(left) == list(right))
    assert a.facts == b.facts


def test_sequences_are_in_time_order_of_users_in_file_order(options: DataOptions, tmp_path: Path) -> None:
    data = prepare(options, tmp_path / "data")
    assert raw_sequences(data) == [["a", "b", "c", "b"], ["d", "a", "b", "c"], ["a"]]
    assert load_user_ids(tmp_path / "data").tolist() == ["v", "u", "w"]
    assert data.split.evaluated.tolist() == [0, 1]


def test_folder_reads_back_the_same(options: DataOptions, tmp_path: Path) -> None:
    data = prepare(options, tmp_path / "data")
    assert_same(data, load_prepared(tmp_path / "data"))
    assert {path.name for path in (tmp_path / "data").iterdir()} == {*FILES, "done.json"}


def test_preparing_twice_gives_the_same_bytes(options: DataOptions, tmp_path: Path) -> None:
    for name in ("one", "two"):
        prepare(options, tmp_path / name)
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_interactions_file_holds_the_final_rows_with_raw_ids(options: DataOptions, tmp_path: Path) -> None:
    data = prepare(replace(options, preprocess=PreprocessOptions(min_rating=3)), tmp_path / "data")
    table = pd.read_parquet(tmp_path / "data" / "interactions.parquet").astype({"user": str, "item": str})
    assert table[columns.USER].tolist() == ["v"] * 4 + ["u"] * 3
    assert table[columns.ITEM].tolist() == [item for sequence in raw_sequences(data) for item in sequence]
    assert table[columns.TIMESTAMP].tolist() == [1, 2, 3, 4, 1, 1, 9]
    assert table[columns.RATING].tolist() == [5, 3, 5, 4, 4, 4, 4]


def test_repeats_are_judged_in_sequence_order_not_in_file_order(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,timestamp\nu,a,9\nu,b,2\nu,c,3\nu,a,1\n")
    data = prepare(DataOptions("table", path, preprocess=PreprocessOptions(drop_repeats=True)), tmp_path / "data")
    assert raw_sequences(data) == [["a", "b", "c"]]


def test_catalogue_holds_only_items_that_are_left(options: DataOptions, tmp_path: Path) -> None:
    data = prepare(replace(options, preprocess=PreprocessOptions(min_rating=3)), tmp_path / "data")
    assert sorted(data.catalogue.item_ids) == ["a", "b", "c"]
    assert data.catalogue.titles is not None
    titles = dict(zip(data.catalogue.item_ids, data.catalogue.titles, strict=True))
    assert titles == {"a": "Apple", "b": "Bean", "c": ""}
    assert data.facts["items_with_title"] == 2


def test_another_seed_renumbers_items_and_changes_nothing_else(options: DataOptions, tmp_path: Path) -> None:
    numberings = set()
    for seed in range(4):
        data = prepare(replace(options, seed=seed), tmp_path / str(seed))
        numberings.add(tuple(data.catalogue.item_ids))
        assert raw_sequences(data) == [["a", "b", "c", "b"], ["d", "a", "b", "c"], ["a"]]
    assert len(numberings) > 1


def test_facts_hold_every_step_the_counts_the_lengths_and_the_audit(options: DataOptions, tmp_path: Path) -> None:
    facts = prepare(replace(options, preprocess=PreprocessOptions(min_rating=3)), tmp_path / "data").facts
    assert facts["source"] == "table"
    assert facts["steps"] == [
        {"step": "read", "users": 3, "items": 4, "interactions": 9},
        {"step": "rating >= 3", "users": 2, "items": 3, "interactions": 7},
    ]
    assert facts["counts"] == {"users": 2, "items": 3, "interactions": 7, "evaluated_users": 2, "density": 7 / (2 * 3)}
    assert facts["lengths"] == {"min": 3, "median": 3.5, "mean": 3.5, "max": 4}
    assert facts["audit"]["equal_time"] == 1 / 5


def test_split_file_names_the_rules_and_hashes_the_sequences(options: DataOptions, tmp_path: Path) -> None:
    data = prepare(replace(options, order=OrderOptions(ties="hash", salt=5), seed=3), tmp_path / "data")
    split, sequences = read_json(tmp_path / "data" / "split.json"), data.split.sequences
    assert split["order"] == {"by": "time", "ties": "hash", "salt": 5}
    assert "salt 5" in split["order_rule"]
    assert split["rule"].startswith("leave-one-out")
    assert split["item_seed"] == 3
    assert split["counts"] == data.facts["counts"]
    stored = np.concatenate([sequences.offsets, sequences.items]).astype("<i8")
    assert split["sha256"] == hashlib.sha256(stored.tobytes()).hexdigest()


def test_order_without_times_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("u c a b\nv a b c\n")
    options = DataOptions("sequences", path, order=OrderOptions(by="file"))
    assert raw_sequences(prepare(options, tmp_path / "data")) == [["c", "a", "b"], ["a", "b", "c"]]
    columns_found = pd.read_parquet(tmp_path / "data" / "interactions.parquet").columns
    assert list(columns_found) == [columns.USER, columns.ITEM]
    assert_same(prepare(options, tmp_path / "data"), load_prepared(tmp_path / "data"))


BAD_OPTIONS = [
    ({"source": "netflix"}, "source must be one of"),
    ({"path": "/nowhere/x.csv"}, "does not exist"),
    ({"read": SourceOptions(user_column="uid")}, "no column 'uid'"),
    ({"preprocess": PreprocessOptions(min_rating=9)}, "'rating >= 9' left no user and no item"),
    ({"preprocess": PreprocessOptions(filter="k-core", min_user=50)}, "'k-core: users >= 50, items >= 1' left no user"),
    ({"preprocess": PreprocessOptions(min_rating=5)}, "at least 3 interactions"),
]


@pytest.mark.parametrize(("change", "part"), BAD_OPTIONS)
def test_errors_leave_no_folder_behind(options: DataOptions, tmp_path: Path, change: dict, part: str) -> None:
    with pytest.raises(InputError) as raised:
        prepare(replace(options, **change), tmp_path / "data")
    assert part in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("source", "text", "read"),
    [
        ("sequences", "u c a b\n", SourceOptions()),
        ("table", "user,item\nu,c\nu,a\nu,b\n", SourceOptions(declared_ordered=True)),
    ],
)
def test_a_log_without_times_keeps_the_order_of_its_file(
    tmp_path: Path, source: str, text: str, read: SourceOptions
) -> None:
    path = tmp_path / "x.txt"
    path.write_text(text)
    data = prepare(DataOptions(source, path, read), tmp_path / "data")
    assert data.catalogue.item_ids[data.split.sequences.items - 1].tolist() == ["c", "a", "b"]
    assert data.facts["order"] == order_rule(OrderOptions(by="file"))
    with pytest.raises(InputError, match="by = file has no equal times"):
        prepare(DataOptions(source, path, read, order=OrderOptions(ties="hash")), tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_of_the_folder_is_named(options: DataOptions, tmp_path: Path, name: str) -> None:
    prepare(options, tmp_path / "data")
    (tmp_path / "data" / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        load_prepared(tmp_path / "data")


def test_sequences_of_another_run_are_refused(options: DataOptions, tmp_path: Path) -> None:
    prepare(options, tmp_path / "data")
    prepare(replace(options, order=OrderOptions(by="file")), tmp_path / "other")
    (tmp_path / "other" / "sequences.safetensors").replace(tmp_path / "data" / "sequences.safetensors")
    with pytest.raises(InputError, match="prepare the folder again"):
        load_prepared(tmp_path / "data")


REAL = [
    ("table", "amazon-beauty", 22_363, 12_101, 198_502, 12_094),
    ("table", "amazon-giftcards", 458, 148, 2_969, 148),
    ("movielens-100k", "raw/ml-100k", 943, 1_682, 100_000, 1_682),
]


@pytest.mark.parametrize(("source", "name", "users", "items", "interactions", "titles"), REAL)
def test_real_files_have_the_published_counts(
    shared_data: Path, tmp_path: Path, source: str, name: str, users: int, items: int, interactions: int, titles: int
) -> None:
    data = prepare(DataOptions(source, shared_data / name), tmp_path)
    counts = data.facts["counts"]
    assert (counts["users"], counts["items"], counts["interactions"]) == (users, items, interactions)
    assert data.facts["items_with_title"] == titles
    assert_same(data, load_prepared(tmp_path))


def test_beauty_keeps_the_order_published_numbers_hold_for(shared_data: Path, tmp_path: Path) -> None:
    data = prepare(DataOptions("table", shared_data / "amazon-beauty"), tmp_path)
    table = pd.read_csv(shared_data / "amazon-beauty" / "interactions.csv.gz")
    names = data.catalogue.item_ids[data.split.sequences.items - 1]
    assert names.tolist() == table["item"].tolist()
    assert load_user_ids(tmp_path).tolist() == table["user"].drop_duplicates().tolist()


def test_beauty_is_its_own_5_core(shared_data: Path, tmp_path: Path) -> None:
    core = PreprocessOptions(filter="k-core", min_user=5, min_item=5, drop_repeats=True)
    steps = prepare(DataOptions("table", shared_data / "amazon-beauty", preprocess=core), tmp_path).facts["steps"]
    assert {step["interactions"] for step in steps} == {198_502}
