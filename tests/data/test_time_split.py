"""Splits by time against a loop over users and rows, and that leave-one-out stays what it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from layerprobe.cli.main import main
from layerprobe.data.log import load_log
from layerprobe.data.log import prepare as prepare_in_memory
from layerprobe.data.order import OrderOptions
from layerprobe.data.prepare import DataOptions, load_prepared, prepare, sequences_hash, split_hash
from layerprobe.data.recency import recency
from layerprobe.data.sources.raw import SourceOptions
from layerprobe.data.splits import PARTS, Split
from layerprobe.data.times.cuts import TimeCuts, in_words
from layerprobe.data.times.options import SplitOptions
from layerprobe.data.train_batches import training_examples
from layerprobe.errors import InputError
from layerprobe.store.atomic import read_json, write_json

START = 1_388_534_400  # 2014-01-01
DAY = 86_400


def random_log(seed: int, n_users: int = 40, n_items: int = 70) -> pd.DataFrame:
    """Users with 1 to 8 rows that begin at any day of a year; many rows share a day."""
    generator = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        length = int(generator.integers(1, 9))
        days = np.sort(generator.integers(0, 40, length)) + generator.integers(0, 320)
        rows += [(f"u{user}", f"i{generator.integers(n_items)}", START + DAY * int(day)) for day in days]
    return pd.DataFrame(rows, columns=["user", "item", "timestamp"])


def written(folder: Path, log: pd.DataFrame) -> Path:
    path = folder / "log.csv"
    log.to_csv(path, index=False)
    return path


def by_hand(log: pd.DataFrame, options: SplitOptions, cuts: TimeCuts) -> dict[str, list[tuple]]:
    """Returns training rows and the (user, history, target) of each part, row by row."""
    if options.cold_items == "drop":
        log = log[log["item"].isin(set(log.loc[log["timestamp"] < cuts.valid, "item"]))]
    found: dict[str, list[tuple]] = {"train": [], "valid": [], "test": []}
    for user, rows in log.groupby("user", sort=False):
        rows = rows.sort_values("timestamp", kind="stable").reset_index(drop=True)
        parts = ["train" if t < cuts.valid else "valid" if t < cuts.test else "test" for t in rows["timestamp"]]
        found["train"] += [(user, item) for item, part in zip(rows["item"], parts, strict=True) if part == "train"]
        for part in ("valid", "test"):
            inside = [place for place, name in enumerate(parts) if name == part]
            if inside and inside[0] == 0:
                inside = inside[1:] if options.no_history == "keep" else []
            if options.target != "all":
                inside = inside[-1:] if options.target == "last" else inside[:1]
            items = rows["item"].tolist()
            found[part] += [(user, tuple(items[:place]), items[place]) for place in inside]
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("target", ["last", "first", "all"])
@pytest.mark.parametrize(("cold", "new"), [("drop", "drop"), ("keep", "keep"), ("drop", "keep")])
def test_parts_are_those_of_a_loop(seed: int, target: str, cold: str, new: str, tmp_path: Path) -> None:
    log = random_log(seed)
    options = SplitOptions("global-time", 0.8, "2014-07-20", target, cold, new)  # pyright: ignore
    data = prepare(DataOptions("table", written(tmp_path, log), split=options), tmp_path / "data")
    split, ids = data.split, data.catalogue.item_ids
    assert split.cuts is not None
    assert split.cuts.valid == pd.Timestamp("2014-07-20", tz="UTC").timestamp()
    assert split.cuts.test == sorted(log["timestamp"])[int(0.8 * len(log))]
    users = pd.read_parquet(tmp_path / "data" / "interactions.parquet")["user"].drop_duplicates().tolist()
    expected = by_hand(log, options, split.cuts)
    items = ids[split.sequences.items - 1]
    rows = np.repeat(np.arange(split.sequences.n_users), split.sequences.lengths)
    mask = split.train_mask()
    assert [(users[u], item) for u, item in zip(rows[mask], items[mask], strict=True)] == expected["train"]
    for part in PARTS:
        queries = split.queries(part)
        found = [
            (users[user], tuple(items[start:end]), ids[item - 1])
            for user, start, end, item in zip(queries.users, queries.starts, queries.ends, queries.targets, strict=True)
        ]
        assert found == expected[part]
        assert data.facts["split"][part]["users"] == len({user for user, *_ in found})
        assert data.facts["split"][part]["targets"] == len(found)
    known = set(log.loc[log["timestamp"] < split.cuts.valid, "item"])
    cold_rows = ~log["item"].isin(known)
    assert data.facts["split"]["cold"]["interactions"] == cold_rows.sum()
    assert cold_rows.any()
    assert len(items) == len(log) - (cold_rows.sum() if cold == "drop" else 0)


def test_training_reads_nothing_behind_the_first_cut(tmp_path: Path) -> None:
    log, options = random_log(3), SplitOptions("global-time", target="all")
    split = prepare_in_memory(load_log(written(tmp_path, log)), split=options).split
    assert split.times is not None
    assert split.cuts is not None
    for supervision in ("all", "last"):
        examples = training_examples(split, 4, supervision, None)
        assert split.times[examples.ends].max() < split.cuts.valid  # the target of the newest input
    assert split.train_counts().sum() == (split.times < split.cuts.valid).sum()


def test_asking_for_some_users_keeps_their_targets_in_order(tmp_path: Path) -> None:
    options = SplitOptions("global-time", target="all")
    split = prepare_in_memory(load_log(written(tmp_path, random_log(4))), split=options).split
    some = split.users("valid")[::2]
    whole, part = split.queries("valid"), replace(split, asked=some).queries("valid")
    kept = np.isin(whole.users, some)
    assert part.ends.tolist() == whole.ends[kept].tolist()
    assert part.newest().users.tolist() == some.tolist()
    assert all(part.newest().ends == [whole.ends[whole.users == user].max() for user in some])


def test_a_folder_reads_back_the_same_and_its_hash_holds_the_cuts(tmp_path: Path) -> None:
    raw = DataOptions("table", written(tmp_path, random_log(5)))
    options = SplitOptions("global-time", target="all", cold_items="keep")
    made = prepare(replace(raw, split=options), tmp_path / "a")
    read = load_prepared(tmp_path / "a")
    assert read.split.cuts == made.split.cuts
    assert read.split.times is not None
    assert read.split.times.tolist() == made.split.times.tolist()  # pyright: ignore
    assert read.facts == made.facts
    other = prepare(replace(raw, split=replace(options, cut=0.85)), tmp_path / "b")
    plain = prepare(raw, tmp_path / "c")
    assert sequences_hash(other.split.sequences) == sequences_hash(made.split.sequences)
    assert len({split_hash(data.split) for data in (made, other, plain)}) == 3
    assert split_hash(plain.split) == sequences_hash(plain.split.sequences)
    stored = read_json(tmp_path / "a" / "split.json")
    for changed in ({"kind": "by-moon"}, {"cuts": {**stored["cuts"], "test": stored["cuts"]["test"] + 1}}):
        write_json(tmp_path / "a" / "split.json", {**stored, **changed})
        with pytest.raises(InputError, match=r"does not know|prepare the folder again"):
            load_prepared(tmp_path / "a")


def test_a_folder_of_an_older_version_is_leave_one_out(tmp_path: Path) -> None:
    prepare(DataOptions("table", written(tmp_path, random_log(6))), tmp_path / "data")
    path = tmp_path / "data" / "split.json"
    stored = read_json(path)
    del stored["kind"]
    write_json(path, stored)
    (tmp_path / "data" / "done.json").unlink()  # older versions wrote none
    assert load_prepared(tmp_path / "data").split.cuts is None


def test_the_share_that_is_later_than_a_target_is_that_of_a_loop(tmp_path: Path) -> None:
    data = prepare_in_memory(load_log(written(tmp_path, random_log(7))))
    split = data.split
    assert split.times is not None
    training = split.times[split.train_mask()]
    shares = [np.mean(training > split.times[end]) for end in split.queries("test").ends]
    assert data.facts["split"]["later"] == pytest.approx(np.mean(shares), abs=1e-12)
    assert 0.1 < data.facts["split"]["later"] < 0.9


def test_places_in_an_order_are_no_times(tmp_path: Path) -> None:
    log = random_log(8).assign(timestamp=lambda rows: rows.groupby("user").cumcount() + 1)
    data = prepare_in_memory(load_log(written(tmp_path, log)))
    assert data.split.times is None
    assert "later" not in data.facts["split"]


def test_gaps_of_several_targets_are_joined_by_their_history(tmp_path: Path) -> None:
    options = SplitOptions("global-time", target="all")
    split = prepare_in_memory(load_log(written(tmp_path, random_log(9))), split=options).split
    queries = split.queries("test")
    assert split.times is not None
    found = recency(split.times, split)
    assert found is not None
    assert found.lengths is not None
    ranks = pd.DataFrame({"user": queries.users, "history_length": queries.ends - queries.starts, "end": queries.ends})
    joined = found.beside(ranks.sample(frac=1, random_state=0))
    gaps = split.times[joined["end"]] - split.times[joined["end"] - 1]
    assert joined["recency"].tolist() == gaps.tolist()


def test_times_are_said_as_dates() -> None:
    assert in_words(START, "s") == in_words(START * 10**9, "ns") == "2014-01-01"


BAD_OPTIONS = [
    ({"kind": "global-time", "cut": 1.0}, r"split.cut must be a share between 0 and 1.*got 1"),
    ({"kind": "global-time", "valid_cut": -0.1}, "split.valid_cut must be a share between 0 and 1.*got -0.1"),
    ({"kind": "global-time", "cut": 0.5}, "split.valid_cut must lie before split.cut; got 0.8 and 0.5"),
    ({"kind": "by-moon"}, "SplitOptions.kind must be one of 'leave-one-out', 'global-time'"),
    ({"cut": 0.7}, "split.cut needs split.kind global-time"),
    ({"target": "all"}, "split.target needs split.kind global-time"),
    ({"kind": "global-time", "target": "some"}, "SplitOptions.target must be one of"),
    ({"kind": "global-time", "cut": True}, "SplitOptions.cut must be"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS)
def test_options_out_of_range_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SplitOptions(**options)


BAD_CUTS = [
    (["--split.cut", "2019-05-01"], "split.cut must lie inside the log, which goes from 2014-01-01 to 2014-"),
    (["--split.valid_cut", "2013-05-01"], "split.valid_cut must lie inside the log"),
    (["--split.valid_cut", "1400"], "split.valid_cut must lie inside the log"),
    (["--split.cut", "2014-05-32"], "split.cut must be a date such as 2014-05-01"),
    (["--split.cut", "yesterday"], "split.cut must be a date such as 2014-05-01"),
    (["--split.cut", "2014-03-01"], "split.valid_cut must lie before split.cut; got 2014-"),
    (["--split.valid_cut", "2014-12-01", "--split.cut", "2014-02-01"], "must lie before split.cut"),
    (["--split.kind", "by-moon"], "by-moon"),
    (["--split.kind", "leave-one-out", "--split.cut", "0.7"], "split.cut needs split.kind global-time"),
    (["--order.by", "file"], "needs every user's rows in the order of time"),
]


@pytest.mark.parametrize(("flags", "message"), BAD_CUTS)
def test_cuts_that_do_not_fit_the_log_are_one_line(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = random_log(1)
    log = pd.concat([log, log.iloc[[0, -1]].assign(timestamp=[START, START + DAY * 364])])  # a file out of order
    known = ["prepare", "--source", "table", "--path", str(written(tmp_path, log)), "--out", str(tmp_path / "data")]
    assert main([*known, "--split.kind", "global-time", *flags]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert message in last
    assert not (tmp_path / "data").exists()


def test_what_leaves_nothing_is_refused(tmp_path: Path) -> None:
    def made(rows: list[tuple[str, str, int]], **options: object) -> Split:
        log = pd.DataFrame(rows, columns=["user", "item", "timestamp"]).assign(
            timestamp=lambda table: START + DAY * table["timestamp"]
        )
        chosen = SplitOptions("global-time", "2014-02-01", "2014-01-20", **options)  # pyright: ignore
        return prepare_in_memory(load_log(written(tmp_path, log)), split=chosen).split

    early = [("u", "a", 0), ("u", "b", 1), ("v", "a", 2)]
    with pytest.raises(InputError, match="the split leaves no validation target: of 0 users"):
        made([*early, ("u", "a", 40)])
    with pytest.raises(InputError, match="the split leaves no test target: of 1 users .* set split.no_history keep"):
        made([*early, ("u", "a", 25), ("w", "a", 40), ("w", "b", 41)])
    assert len(made([*early, ("u", "a", 25), ("w", "a", 40), ("w", "b", 41)], no_history="keep").queries("test")) == 1
    with pytest.raises(InputError, match="the split leaves no training pair"):
        made([("u", "a", 0), ("v", "b", 1), ("u", "b", 25), ("u", "a", 40)])


def test_a_log_without_times_is_refused(tmp_path: Path) -> None:
    options = SplitOptions("global-time", "2014-05-01")
    log = random_log(2)
    untimed = load_log(written(tmp_path, log.drop(columns="timestamp")), options=SourceOptions(declared_ordered=True))
    places = load_log(written(tmp_path, log.assign(timestamp=log.groupby("user").cumcount())))
    minutes = load_log(written(tmp_path, log.assign(timestamp=(log["timestamp"] - START) // 60)))
    with pytest.raises(InputError, match="needs timestamps that all users share; the log has none"):
        prepare_in_memory(untimed, order=OrderOptions(by="file"), split=options)
    with pytest.raises(InputError, match="begin anew with every user, an order only"):
        prepare_in_memory(places, split=options)
    with pytest.raises(InputError, match="split.cut is a date, '2014-05-01', and the times of this log are none"):
        prepare_in_memory(minutes, split=options)
    assert prepare_in_memory(minutes, split=SplitOptions("global-time")).split.cuts is not None
