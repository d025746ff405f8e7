"""Logs at the edge of what there is: where a bad id stands, one user with all rows, one item, clocks that go back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from layerprobe.data.audits.raw import require_ids
from layerprobe.data.audits.repeats import Repeats
from layerprobe.data.interactions import from_columns
from layerprobe.data.log import load_log, prepare
from layerprobe.data.order import OrderOptions
from layerprobe.data.prepare import FILES, DataOptions, PreparedData, load_prepared
from layerprobe.data.prepare import prepare as prepare_files
from layerprobe.data.sources.raw import RawLog, SourceOptions
from layerprobe.data.times.options import SplitOptions
from layerprobe.errors import InputError
from layerprobe.evaluation.ranks import Protocols, rank_targets
from layerprobe.recommender.baselines import Markov1, Popularity

NAMES = ["user", "item", "timestamp"]
ROWS = [("u1", "a", 5), ("u1", "b", 6), ("u2", "a", 7), ("NA", "c", 8), ("u2", "null", 9), ("NA", "a", 10)]


def raw_log(log: pd.DataFrame) -> RawLog:
    return RawLog(from_columns(log["user"], log["item"], log["timestamp"].to_numpy()), None, ordered=False)


def write_text(folder: Path, text: str, name: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def csv_with_blank_lines(folder: Path) -> Path:
    lines = ["user,item,timestamp", "", *(",".join(map(str, row)) for row in ROWS[:3]), "", "", "NA,c,8", "u2,null,9"]
    return write_text(folder, "\n".join(lines) + "\n", "log.csv")


def csv_with_line_ends_in_quotes(folder: Path) -> Path:
    rows = [f'{user},{item},{at},"two\nlines"' for user, item, at in ROWS]
    return write_text(folder, "\n".join(["user,item,timestamp,said", *rows]) + "\n", "log.csv")


def parquet(folder: Path) -> Path:
    pd.DataFrame(ROWS, columns=NAMES).to_parquet(folder / "log.parquet")
    return folder / "log.parquet"


def json_lines(folder: Path) -> Path:
    pd.DataFrame(ROWS, columns=NAMES).to_json(folder / "log.jsonl", orient="records", lines=True)
    return folder / "log.jsonl"


def text_of_sequences(folder: Path) -> Path:
    return write_text(folder, "u1 a b c\nu2 a c\nNA a b\nu3 null b\n", "log.txt")


@pytest.mark.parametrize(
    ("write", "source", "user_place", "item_place"),
    [
        (csv_with_blank_lines, "table", "line 8", "line 9"),
        (csv_with_line_ends_in_quotes, "table", "line 9", "line 11"),  # where their rows end
        (parquet, "table", "row 4", "row 5"),
        (json_lines, "table", "line 4", "line 5"),
        (text_of_sequences, "sequences", "line 3", "line 4"),
    ],
)
def test_a_mark_of_a_missing_value_is_found_by_its_place_in_the_file(
    tmp_path: Path, write: Callable[[Path], Path], source: str, user_place: str, item_place: str
) -> None:
    log = load_log(write(tmp_path), source).interactions
    with pytest.raises(InputError, match=f"first 'NA' in {user_place}: leave"):
        require_ids(log)
    users = log.user_ids.copy()
    users[users == "NA"] = "u9"
    renamed = type(log)(log.user, log.item, log.timestamp, None, users, log.item_ids, log.place)
    with pytest.raises(InputError, match=f"first 'null' in {item_place}: leave"):
        require_ids(renamed)


def test_a_place_is_still_that_of_the_file_where_only_some_events_are_read(tmp_path: Path) -> None:
    kinds = ["view", "buy", "buy", "view", "buy", "buy"]  # the first NA is no purchase: line 5; the next one is line 7
    lines = [",".join(map(str, (*row, kind))) for row, kind in zip(ROWS, kinds, strict=True)]
    path = write_text(tmp_path, "\n".join(["user,item,timestamp,kind", *lines]) + "\n", "log.csv")
    log = load_log(path, options=SourceOptions(event_column="kind", events="buy")).interactions
    with pytest.raises(InputError, match="1 of 4 have a mark for a missing value, first 'NA' in line 7: leave"):
        require_ids(log)


N_ROWS = 200_000


def walk_of_one(n_items: int = 5000) -> pd.DataFrame:
    items = np.random.default_rng(0).integers(0, n_items, N_ROWS)
    return pd.DataFrame({"user": "u", "item": [f"i{item}" for item in items], "timestamp": np.arange(N_ROWS) + 10**9})


def test_one_user_with_200_000_interactions_is_prepared_and_ranked() -> None:
    log = walk_of_one()
    items = log["item"].tolist()
    data = prepare(raw_log(log))
    assert data.facts["lengths"] == {"min": N_ROWS, "median": N_ROWS, "mean": N_ROWS, "max": N_ROWS}
    assert data.split.train_ends.tolist() == [N_ROWS - 2]
    assert Repeats(**data.facts["repeats"]) == Repeats(
        targets=1,
        met_before=int(items[-1] in items[:-1]),
        same_as_last=int(items[-1] == items[-2]),
        rows=N_ROWS,
        identical=0,
        valid_targets=1,
        valid_met_before=int(items[-2] in items[:-2]),
    )
    assert not any("of all rows" in note for note in data.facts["audit"]["notes"])  # there is no other user
    trained = pd.Series(items[:-2])
    counts, target = trained.value_counts(), items[-1]
    after = trained[1:][(trained[:-1] == items[-2]).to_numpy()].value_counts()
    protocols = Protocols(sampled=None, remove_history=False)
    popular = rank_targets(Popularity(data.split), data.split, ["test"], protocols)["popularity"]
    assert popular["n_higher"].tolist() == [int((counts > counts[target]).sum())]
    markov = rank_targets(Markov1(data.split), data.split, ["test"], protocols)["markov-1"]
    if target in after:
        assert markov["n_higher"].tolist() == [int((after > after[target]).sum())]
    else:
        assert markov["n_higher"][0] >= len(after)


def test_a_user_with_nearly_all_rows_is_noted_among_few_users_too() -> None:
    few = pd.DataFrame({"user": np.repeat([f"v{number}" for number in range(5)], 8), "item": "x"})
    log = pd.concat([walk_of_one().head(960)[["user", "item"]], few])
    notes = prepare(raw_log(log.assign(timestamp=np.arange(len(log))))).facts["audit"]["notes"]
    assert any(note.startswith("one user has 96.0 % of all rows, 960: ") for note in notes)  # 960 of 1,000


def test_one_item_is_prepared_and_told_as_what_it_is() -> None:
    log = pd.DataFrame([(f"u{user}", "i", 10**9 + place) for user in range(20) for place in range(6)], columns=NAMES)
    data = prepare(raw_log(log))
    assert data.catalogue.item_ids.tolist() == ["i"]
    assert data.split.sequences.items.tolist() == [1] * 120
    assert Repeats(**data.facts["repeats"]) == Repeats(
        targets=20, met_before=20, same_as_last=20, rows=120, identical=0, valid_targets=20, valid_met_before=20
    )
    assert data.facts["audit"]["chance"] == 1
    assert not data.facts["audit"]["catalogue_order"]


def jumping(n_users: int = 30) -> pd.DataFrame:
    """Rows as they were written, while the clock of each user goes back by an hour after the fifth of ten."""
    times = [10**9 + 60 * place - 3600 * (place >= 5) for place in range(10)]
    return pd.DataFrame(
        [(f"u{user}", f"i{(user + 3 * place) % 37}", times[place]) for user in range(n_users) for place in range(10)],
        columns=NAMES,
    )


def items_of(data: PreparedData, user: int) -> list[str]:
    start, end = data.split.sequences.offsets[user : user + 2]
    return data.catalogue.item_ids[data.split.sequences.items[start:end] - 1].tolist()


def test_a_log_whose_clock_goes_back_is_sorted_or_told_never_both_in_silence() -> None:
    log = jumping()
    written = log["item"][:10].tolist()
    by_time, by_file = prepare(raw_log(log)), prepare(raw_log(log), order=OrderOptions(by="file"))
    assert items_of(by_time, 0) == written[5:] + written[:5]
    assert items_of(by_file, 0) == written
    assert by_time.facts["audit"]["backward"] == 0
    assert by_file.facts["audit"]["backward"] == pytest.approx(1 / 9)  # one of nine pairs
    assert any("go back in time" in note for note in by_file.facts["audit"]["notes"])
    with pytest.raises(InputError, match="a row is older than the one before it: set order.by time"):
        prepare(raw_log(log), order=OrderOptions(by="file"), split=SplitOptions(kind="global-time"))


def test_a_machine_whose_clock_goes_back_prepares_and_checks_the_same_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumping().to_csv(tmp_path / "log.csv", index=False)
    options, lines = DataOptions("table", tmp_path / "log.csv"), []
    expected = prepare_files(options, tmp_path / "first")
    clock = iter(range(4 * 10**9, 0, -3600))  # an hour back at every look, from the year 2096 on
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: float(next(clock)))
        patch.setattr(time, "time_ns", lambda: 10**9 * next(clock))
        found = prepare_files(options, tmp_path / "second", lines.append)
        for name in FILES:
            os.utime(tmp_path / "second" / name, (4e9, 4e9))  # written while the clock was ahead
        assert load_prepared(tmp_path / "second").facts == found.facts == expected.facts
        path = tmp_path / "second" / "interactions.parquet"
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        path.write_bytes(damaged)
        os.utime(path, (4e9, 4e9))  # same size, same time
        with pytest.raises(InputError, match="interactions.parquet"):
            load_prepared(tmp_path / "second")
    for name in FILES:
        if name != "interactions.parquet":
            assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    seconds = [float(line.rsplit(", ", 1)[1].removesuffix(" s")) for line in lines[1:]]
    assert all(0 <= second < 60 for second in seconds)
