"""The data stage says on standard error how far it is, wherever its log comes from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tiny_study import write_study

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
