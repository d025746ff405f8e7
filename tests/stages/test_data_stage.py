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
        assert "300 of 300 (100.0 %, at most 1 %) were met before" in refusal
        assert all(" ".join(known) in refusal for known in REMEDIES)
        assert not list(out.rglob("*.parquet"))
        assert not list(out.rglob("*.json"))
    assert main(["data", str(study), "--out", str(out), *remedy]) == 0
    met = "300 of 300 test targets (100.0 %)" if "false" in remedy else "0 of 300 test targets (0.0 %)"
    assert f"repeats: {met} met before" in capsys.readouterr().err


@pytest.mark.parametrize("older", [False, True])
def test_a_prepared_folder_of_replays_is_noted_when_made_and_refused_when_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], older: bool
) -> None:
    folder = tmp_path / "prepared"
    assert main(["prepare", "--source", "table", "--path", str(write_replays(tmp_path)), "--out", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "repeats: 300 of 300 test targets (100.0 %) met before" in printed
    assert "`layerprobe run` refuses these data unless it has --evaluation.remove_history false" in printed
    if older:
        facts = json.loads((folder / "facts.json").read_text())
        del facts["repeats"]
        (folder / "facts.json").write_text(json.dumps(facts))
    study = write_study(tmp_path, data={"source": "prepared", "path": str(folder)}, evaluation=RANKED)
    for extra in ([], ["--dry-run"]):
        assert main(["run", str(study), "--out", str(tmp_path / "out"), *extra]) == 2
        assert "`prepare --preprocess.drop_repeats true`" in capsys.readouterr().err
    assert main(["data", str(study), "--out", str(tmp_path / "out"), "--evaluation.remove_history", "false"]) == 0
    assert json.loads((tmp_path / "out" / "data" / "facts.json").read_text())["repeats"]["met"] == 300
