"""A log of plays, 70 % of them replays: what is counted, and what `prepare` says of users, marks and titles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from layerprobe.cli.main import main
from layerprobe.data.audits.repeats import Repeats
from layerprobe.data.interactions import from_columns
from layerprobe.data.log import prepare
from layerprobe.data.preprocess import PreprocessOptions
from layerprobe.data.sources.raw import RawLog


def replayed(n_users: int = 300, n_plays: int = 20, share: float = 0.7, seed: int = 0) -> pd.DataFrame:
    """Plays of which a share repeats one of the user's earlier ones."""
    generator = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        met: list[int] = []
        for time in range(n_plays):
            again = bool(met) and generator.random() < share
            met.append(met[generator.integers(len(met))] if again else int(generator.integers(500)))
            rows.append((f"u{user}", f"i{met[-1]}", 1_600_000_000 + 60 * time))
    return pd.DataFrame(rows, columns=["user", "item", "timestamp"])


def counted(log: pd.DataFrame) -> Repeats:
    """The counts, by lists and sets, user by user."""
    met = same = identical = valid = 0
    for _, rows in log.groupby("user"):
        items = rows.sort_values("timestamp", kind="stable")["item"].tolist()
        met += items[-1] in items[:-1]
        valid += items[-2] in items[:-2]
        same += items[-1] == items[-2]
        identical += len(rows) - len(set(zip(rows["item"], rows["timestamp"], strict=True)))
    return Repeats(
        targets=log["user"].nunique(),
        met_before=met,
        same_as_last=same,
        rows=len(log),
        identical=identical,
        valid_targets=log["user"].nunique(),
        valid_met_before=valid,
    )


def raw_log(log: pd.DataFrame) -> RawLog:
    times = log["timestamp"].to_numpy() if "timestamp" in log else None
    return RawLog(from_columns(log["user"], log["item"], times), None, ordered=times is None)


def repeats_in(log: pd.DataFrame, drop_repeats: bool = False, drop_identical: bool = False) -> Repeats:
    options = PreprocessOptions(drop_repeats=drop_repeats, drop_identical=drop_identical)
    return Repeats(**prepare(raw_log(log), options).facts["repeats"])


def test_targets_that_were_met_before_are_counted() -> None:
    log = replayed()
    found = repeats_in(log)
    assert found == counted(log)
    assert found.share_met > 0.6
    assert repeats_in(log, drop_repeats=True).met_before == 0


def test_marks_of_missing_values_are_ids_where_that_is_declared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = replayed(40, share=0.0)
    log.loc[[7, 50, 51], "user"] = "NA"
    log.to_csv(tmp_path / "log.csv", index=False)
    command = ["prepare", "--source", "table", "--path", str(tmp_path / "log.csv"), "--out", str(tmp_path / "data")]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "every row must have a user id; 3 of 800 have a mark for a missing value, first 'NA' in line 9:" in said
    assert not (tmp_path / "data").exists()
    assert main([*command, "--read.null_ids", "true"]) == 0


def test_a_user_with_much_of_the_log_is_noted() -> None:
    log = replayed(300, share=0.0)
    log.loc[:799, "user"] = "guest"  # 40 users' rows
    notes = prepare(raw_log(log)).facts["audit"]["notes"]
    assert any(note.startswith("one user has 13.3 % of all rows, 800: ") for note in notes)
    assert not any("of all rows" in note for note in prepare(raw_log(replayed(30))).facts["audit"]["notes"])


def test_titles_are_counted_by_prepare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replayed(20, share=0.0).to_csv(tmp_path / "interactions.csv", index=False)
    items = replayed(20, share=0.0)["item"].unique()
    pd.DataFrame({"item": items[:5], "title": "a title"}).to_csv(tmp_path / "items.csv", index=False)
    assert main(["prepare", "--source", "table", "--path", str(tmp_path), "--out", str(tmp_path / "data")]) == 0
    assert f"titles: 5 of {len(items)} items" in capsys.readouterr().out
