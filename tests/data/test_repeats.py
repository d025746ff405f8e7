"""Logs in which targets were met before, rows are there twice, ids are missing or times have two units."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_study import write_study

from layerprobe.cli.main import main
from layerprobe.data.audits.repeats import Repeats
from layerprobe.data.interactions import from_columns
from layerprobe.data.log import prepare
from layerprobe.data.prepare import load_prepared
from layerprobe.data.preprocess import PreprocessOptions, preprocess
from layerprobe.data.sources.raw import RawLog
from layerprobe.errors import InputError
from layerprobe.store.atomic import read_json, write_json


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


def test_a_study_refuses_them_before_anything_is_trained_and_names_both_remedies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replayed(60).to_csv(tmp_path / "log.csv", index=False)
    found = counted(replayed(60))
    study = write_study(tmp_path, data={"source": "table"}, evaluation={"sampled": None, "remove_history": True})
    given = [str(study), "--path", str(tmp_path / "log.csv"), "--out", str(tmp_path / "run")]
    for command in (["run", *given], ["run", *given, "--dry-run"]):
        assert main(command) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert f"{found.met_before} of 60 test targets ({100 * found.share_met:.1f} %) were met before" in said
        assert "set evaluation.remove_history to false, or drop repeats with data.preprocess.drop_repeats true" in said
        assert not (tmp_path / "run" / "data" / "interactions.parquet").exists()
    for remedy in ("--evaluation.remove_history=false", "--data.preprocess.drop_repeats=true"):
        assert main(["data", *given, remedy]) == 0
        shutil.rmtree(tmp_path / "run")


def test_one_target_in_a_hundred_may_be_met_before() -> None:
    few = Repeats(targets=1000, met_before=10, same_as_last=0, rows=9000, identical=0)
    few.require_few_met()
    with pytest.raises(InputError, match=r"11 of 1,000 test targets \(1\.1 %\) were met before"):
        Repeats(targets=1000, met_before=11, same_as_last=0, rows=9000, identical=0).require_few_met()


def test_prepare_says_what_a_study_will_do_and_the_facts_hold_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replayed(60).to_csv(tmp_path / "log.csv", index=False)
    found = counted(replayed(60))
    command = ["prepare", "--source", "table", "--path", str(tmp_path / "log.csv"), "--out", str(tmp_path / "data")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert f"note: {found.met_before} of 60 test targets were met before by their user" in printed
    assert f"%), and {found.valid_met_before} of 60 validation targets" in printed
    assert "note: a study with evaluation.remove_history true refuses this log" in printed
    facts = read_json(tmp_path / "data" / "facts.json")
    assert Repeats(**facts["repeats"]) == found
    del facts["repeats"]  # as an older version wrote them
    older = tmp_path / "older"
    shutil.copytree(tmp_path / "data", older)
    (older / "done.json").unlink(missing_ok=True)
    write_json(older / "facts.json", facts)
    assert Repeats(**load_prepared(older).facts["repeats"]) == found


def test_every_row_twice_is_counted_and_dropping_identical_rows_gives_the_log_again() -> None:
    once = replayed(80, 12, share=0.2).sort_values(["user", "timestamp"])
    twice = pd.concat([once, once]).sort_values(["user", "timestamp"], kind="stable")
    found = repeats_in(twice)
    assert found == counted(twice)
    assert found.identical == len(once)
    assert found.same_as_last == 80  # every target is right behind its own twin
    plain, dropped = (
        prepare(raw_log(log), PreprocessOptions(drop_identical=drop)) for log, drop in ((once, False), (twice, True))
    )
    assert plain.split.sequences.items.tolist() == dropped.split.sequences.items.tolist()
    assert plain.split.sequences.offsets.tolist() == dropped.split.sequences.offsets.tolist()
    assert any(note.startswith(f"{len(once)} of {2 * len(once):,} rows equal") for note in found.notes())
    step = dropped.facts["steps"][1]
    assert (step["step"], step["interactions"]) == ("rows equal in user, item and time dropped, first kept", len(once))


def test_identical_rows_need_times() -> None:
    log = from_columns(np.array(list("aaa")), np.array(list("xyz")))
    with pytest.raises(InputError, match="drop_identical compares times, and the log has none"):
        preprocess(log, PreprocessOptions(drop_identical=True))
    assert repeats_in(replayed(5).drop(columns="timestamp")).identical is None


@pytest.mark.parametrize(("kind", "mark"), [("user", "NA"), ("item", "null"), ("user", "None"), ("item", "\\N")])
def test_marks_of_missing_values_are_no_ids(tmp_path: Path, capsys, kind: str, mark: str) -> None:
    log = replayed(40, share=0.0)
    log.loc[[7, 50, 51], kind] = mark
    log.to_csv(tmp_path / "log.csv", index=False)
    command = ["prepare", "--source", "table", "--path", str(tmp_path / "log.csv"), "--out", str(tmp_path / "data")]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert (
        f"every row must have a {kind} id; 3 of 800 have a mark for a missing value, first {mark!r} in line 9:" in said
    )
    assert not (tmp_path / "data").exists()
    assert main([*command, "--read.null_ids", "true"]) == 0


def test_a_user_with_much_of_the_log_is_noted() -> None:
    log = replayed(300, share=0.0)
    log.loc[:799, "user"] = "guest"  # 40 users' rows
    notes = prepare(raw_log(log)).facts["audit"]["notes"]
    assert any(note.startswith("one user has 13.3 % of all rows, 800: ") for note in notes)
    assert not any("of all rows" in note for note in prepare(raw_log(replayed(30))).facts["audit"]["notes"])


def test_times_of_two_units_are_refused_by_their_ranges() -> None:
    log = replayed(40, share=0.0)
    mixed = log.assign(timestamp=log["timestamp"].where(np.arange(len(log)) % 20 >= 10, log["timestamp"] * 1000))
    with pytest.raises(InputError) as refused:
        prepare(raw_log(mixed))
    assert str(refused.value) == (
        "all times must have one unit; 400 rows look like seconds (1600000600 to 1600001140), 400 rows look like "
        "milliseconds (1600000000000 to 1600000540000): convert them to one"
    )


@pytest.mark.parametrize("times", [1, 1000, 10**6, 10**9, None])
def test_times_of_one_unit_and_numbers_of_an_order_pass(times: int | None) -> None:
    log = replayed(20, share=0.0)
    log["timestamp"] = np.arange(len(log)) if times is None else log["timestamp"] * times
    assert prepare(raw_log(log)).facts["counts"]["users"] == 20


def test_titles_are_counted_by_prepare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replayed(20, share=0.0).to_csv(tmp_path / "interactions.csv", index=False)
    items = replayed(20, share=0.0)["item"].unique()
    pd.DataFrame({"item": items[:5], "title": "a title"}).to_csv(tmp_path / "items.csv", index=False)
    assert main(["prepare", "--source", "table", "--path", str(tmp_path), "--out", str(tmp_path / "data")]) == 0
    assert f"titles: 5 of {len(items)} items" in capsys.readouterr().out
