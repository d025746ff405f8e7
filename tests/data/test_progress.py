"""Preparing says one line per step, with counts and seconds, and says nothing unless somebody listens."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from layerprobe.cli.main import main
from layerprobe.data.interactions import from_columns
from layerprobe.data.order import OrderOptions
from layerprobe.data.prepare import DataOptions, prepare, prepare_log
from layerprobe.data.preprocess import PreprocessOptions
from layerprobe.data.progress import Steps
from layerprobe.data.sources.raw import RawLog
from layerprobe.errors import InputError

CORE = PreprocessOptions(filter="k-core", min_user=3, min_item=2, drop_repeats=True)
LOG = "user,item,timestamp\nu,a,1\nu,b,2\nu,b,3\nu,c,4\nv,a,1\nv,b,2\nv,c,3\nw,d,1\nw,a,2\nw,c,3\n"
LEFT = [
    "read: 10 interactions",
    "ordered: 10 interactions",
    "repeats dropped, first kept: 3 users, 4 items, 9 interactions",
    "k-core: users >= 3, items >= 2: 2 users, 3 items, 6 interactions",  # d is rare, then w has too few
    "numbered: 2 users, 3 items",
    "audited: 4 neighbouring pairs",
    "written: 5 files",
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


def without_seconds(lines: list[str]) -> list[str]:
    """Cuts the seconds off, which every line must end with."""
    found = [re.fullmatch(r"(.*), \d+\.\d s", line) for line in lines]
    assert all(found), lines
    return [match[1] for match in found if match]


def test_every_step_is_said_with_what_it_left(log: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    prepare(DataOptions("table", log, preprocess=CORE), tmp_path / "data", lines.append)
    assert lines[0] == f"reading {log}"
    assert without_seconds(lines[1:]) == LEFT


def test_a_log_in_memory_is_not_read(tmp_path: Path) -> None:
    lines: list[str] = []
    raw = RawLog(from_columns(np.array(["u"] * 3), np.array(["a", "b", "c"])), None, ordered=True)
    prepare_log(raw, DataOptions("synthetic", "", order=OrderOptions(by="file")), tmp_path, lines.append)
    assert [line.split(":")[0] for line in lines] == ["ordered", "numbered", "audited", "written"]


def test_what_is_said_comes_when_the_step_ends(log: Path, tmp_path: Path) -> None:
    there = []
    prepare(DataOptions("table", log), tmp_path / "data", lambda _: there.append((tmp_path / "data").exists()))
    assert there == [False] * 5 + [True]  # reading, read, ordered, numbered, audited; written


def test_seconds_are_those_since_the_step_before(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.5, 12.75])
    monkeypatch.setattr("layerprobe.data.progress.time.monotonic", lambda: next(clock))
    lines: list[str] = []
    steps = Steps(lines.append)
    steps.done("a: 1")
    steps.done("b: 2")
    assert lines == ["a: 1, 2.5 s", "b: 2, 0.2 s"]


def test_library_calls_are_silent(log: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prepare(DataOptions("table", log, preprocess=CORE), tmp_path / "data")
    assert tuple(capfd.readouterr()) == ("", "")


def test_the_command_says_progress_on_standard_error_alone(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    core = ["--preprocess.filter", "k-core", "--preprocess.min_user", "3", "--preprocess.min_item", "2"]
    arguments = [*core, "--preprocess.drop_repeats", "true", "--out", str(tmp_path / "data")]
    assert main(["prepare", "--source", "table", "--path", str(log), *arguments]) == 0
    printed = capsys.readouterr()
    first, *steps = printed.err.splitlines()
    assert first == f"reading {log}"
    assert without_seconds(steps) == LEFT
    counts = ["read: 3 users, 4 items, 10 interactions", *LEFT[2:4]]
    assert printed.out.splitlines()[:3] == counts
    assert len(printed.out.splitlines()) == len(counts) + 4  # order, two lines of the audit, the folder


def test_the_command_says_what_it_generated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--synthetic.n_users", "40", "--out", str(tmp_path / "data")]
    assert main(["prepare", "--source", "synthetic", *options]) == 0
    steps = [line.split(":")[0] for line in without_seconds(capsys.readouterr().err.splitlines())]
    assert steps == ["generated", "ordered", "numbered", "audited", "written"]


def test_a_file_that_is_not_there_is_no_step(tmp_path: Path) -> None:
    lines: list[str] = []
    with pytest.raises(InputError, match="does not exist"):
        prepare(DataOptions("table", tmp_path / "absent.csv"), tmp_path / "data", lines.append)
    assert lines == []
