"""The data stage says on standard error how far it is, wherever its log comes from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tiny_study import write_study

from layerprobe.cli.main import main
from layerprobe.stages.data import run as data_stage
from layerprobe.study.parser import load_spec
from layerprobe.study.study import Study

TIMED = re.compile(r"data: (.*), \d+\.\d s")


def timed_lines(folder: Path, data: dict[str, object], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Runs the stage; returns its lines with seconds, without them, and checks that standard output stays empty."""
    data_stage(Study(load_spec(write_study(folder, data=data), []), folder / "study"))
    printed = capsys.readouterr()
    assert printed.out == ""
    return [found[1] for line in printed.err.splitlines() if (found := TIMED.fullmatch(line))]


def write_log(folder: Path) -> Path:
    log = folder / "log.csv"
    log.write_text(
        "user,item,timestamp\n" + "".join(f"u{u},i{(u * 7 + t * 3) % 40},{t}\n" for u in range(30) for t in range(8))
    )
    return log


def test_a_log_is_reported_step_by_step_and_a_prepared_folder_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    core = {"filter": "k-core", "min_user": 5, "min_item": 2}
    data = {"source": "table", "path": str(write_log(tmp_path)), "preprocess": core}
    (tmp_path / "first").mkdir()
    assert timed_lines(tmp_path / "first", data, capsys) == [
        "read: 240 interactions",
        "ordered: 240 interactions",
        "k-core: users >= 5, items >= 2: 30 users, 40 items, 240 interactions",
        "numbered: 30 users, 40 items",
        "audited: 210 neighbouring pairs",
        "written: 5 files",
    ]
    folder = tmp_path / "first" / "study" / "data"
    (tmp_path / "second").mkdir()
    taken = timed_lines(tmp_path / "second", {"source": "prepared", "path": str(folder)}, capsys)
    assert taken == [f"taken over from {folder}: 240 interactions"]


def test_a_generated_log_is_reported_step_by_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = timed_lines(tmp_path, {"source": "synthetic", "synthetic": {"n_users": 80}}, capsys)
    assert [line.split(":")[0] for line in found] == ["generated", "ordered", "numbered", "audited", "written"]


def write_replays(folder: Path) -> Path:
    """300 users with 20 plays of at most 6 tracks each, the last of them met before."""
    log = folder / "plays.csv"
    rows = [f"u{u},i{(u * 11 + (t * t) % 6) % 60},{t}\n" for u in range(300) for t in range(20)]
    log.write_text("user,item,timestamp\n" + "".join(rows))
    return log


RANKED = {"sampled": None, "ks": [1, 10], "n_boot": 100}
REMEDIES = [["--evaluation.remove_history", "false"], ["--data.preprocess.drop_repeats", "true"]]


@pytest.mark.parametrize("remedy", REMEDIES)
def test_a_log_of_replays_is_refused_before_anything_is_trained_until_a_remedy_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], remedy: list[str]
) -> None:
    study, out = (
        write_study(tmp_path, data={"source": "table", "path": str(write_replays(tmp_path))}, evaluation=RANKED),
        tmp_path / "out",
    )
    for command in (["run", str(study), "--dry-run"], ["run", str(study)], ["data", str(study)]):
        assert main([*command, "--out", str(out)]) == 2
        refusal = capsys.readouterr().err.splitlines()[-1]
        assert "300 of 300 test targets (100.0 %) were met before" in refusal
        assert "set evaluation.remove_history to false" in refusal
        assert "data.preprocess.drop_repeats true" in refusal
        assert not list(out.rglob("*.parquet"))
        assert not list(out.rglob("*.json"))
    assert main(["data", str(study), "--out", str(out), *remedy]) == 0
    assert ("300 of 300 test targets were met before" in capsys.readouterr().err) == ("false" in remedy)


@pytest.mark.parametrize("older", [False, True])
def test_a_prepared_folder_of_replays_is_noted_when_made_and_refused_when_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], older: bool
) -> None:
    folder = tmp_path / "prepared"
    assert main(["prepare", "--source", "table", "--path", str(write_replays(tmp_path)), "--out", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "300 of 300 test targets were met before by their user (100.0 %)" in printed
    assert "a study with evaluation.remove_history true refuses this log" in printed
    if older:
        facts = json.loads((folder / "facts.json").read_text())
        del facts["repeats"]
        facts["audit"]["notes"] = []
        (folder / "facts.json").write_text(json.dumps(facts))
        (folder / "done.json").unlink()  # older versions wrote no hashes
    study = write_study(tmp_path, data={"source": "prepared", "path": str(folder)}, evaluation=RANKED)
    for extra in ([], ["--dry-run"]):
        assert main(["run", str(study), "--out", str(tmp_path / "out"), *extra]) == 2
        assert "300 of 300 test targets (100.0 %) were met before" in capsys.readouterr().err
    assert main(["data", str(study), "--out", str(tmp_path / "out"), "--evaluation.remove_history", "false"]) == 0
    assert "300 of 300 test targets were met before" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "data" / "facts.json").read_text())["repeats"]["met_before"] == 300


@pytest.mark.parametrize("largest", [39, 40, 50])
def test_a_cut_off_that_takes_in_the_whole_catalogue_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], largest: int
) -> None:
    data = {"source": "table", "path": str(write_log(tmp_path))}  # 40 items
    study = write_study(tmp_path, data=data, evaluation={**RANKED, "ks": [10, largest], "remove_history": False})
    assert main(["data", str(study), "--out", str(tmp_path / "out")]) == (2 if largest >= 40 else 0)
    refused = f"got {largest} in evaluation.ks and 40 items: leave it out" in capsys.readouterr().err
    assert refused == (largest >= 40)
    assert (tmp_path / "out" / "data" / "split.json").exists() != refused


def test_a_catalogue_of_ten_items_is_too_small_for_any_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log.csv").write_text(
        "user,item,timestamp\n" + "".join(f"u{u},i{(u + t) % 10},{t}\n" for u in range(30) for t in range(5))
    )
    data = {"source": "table", "path": str(tmp_path / "log.csv")}
    study = write_study(tmp_path, data=data, evaluation=RANKED)
    assert main(["data", str(study), "--out", str(tmp_path / "out")]) == 2
    assert "got 10 in evaluation.ks and 10 items: a study needs more than 10" in capsys.readouterr().err


WORDLESS = [(title, command) for title in ("7", "- !", "") for command in (["data"], ["run", "--dry-run"])]


@pytest.mark.parametrize(("title", "command"), [*WORDLESS, ("7b", ["data"])])
def test_titles_without_a_word_are_refused_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], title: str, command: list[str]
) -> None:
    log, refused = write_log(tmp_path), title != "7b"
    (tmp_path / "items.csv").write_text("item,title\n" + "".join(f"i{i},{title}\n" for i in range(40)))
    data = {"source": "table", "path": str(log), "read": {"items_path": str(tmp_path / "items.csv")}}
    study = write_study(tmp_path, data=data, evaluation={**RANKED, "remove_history": False})
    assert main([*command, str(study), "--out", str(tmp_path / "out")]) == (2 if refused else 0)
    said = capsys.readouterr().err
    assert ("the titles must hold words of two or more characters" in said) == refused
    assert ("read.title_column" in said) == ("read.items_path" in said) == refused
    assert (tmp_path / "out" / "data" / "split.json").exists() != refused
