"""Files and folders that a command is pointed at by mistake or by malice: one line, nothing written, nothing echoed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tiny_study import write_study

from layerprobe.cli.main import main
from layerprobe.errors import InputError, one_line
from layerprobe.safe_yaml import DEEPEST, MOST_BYTES, MOST_VALUES, parse_yaml

SECRET = "hunter2"
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
TEXTS: list[tuple[str, bytes, str]] = [
    ("binary", bytes(range(256)), "must be YAML, as UTF-8 text"),
    ("a zip", b"PK\x03\x04\x14\x00\x00\x00" + bytes(100), "characters that no YAML has"),
    ("NUL", b"name: a\x00b\n", "characters that no YAML has"),
    ("latin-1", "name: J\xfcrgen\n".encode("latin-1"), "must be YAML, as UTF-8 text; byte 8 is not"),
    ("UTF-16", "name: a\n".encode("utf-16"), "must be YAML, as UTF-8 text"),
    ("unclosed", b"name: [1", "line 1, column 9: expected ',' or ']'"),
    ("deep", b"name: " + b"[" * 10_000, f"nested deeper than {DEEPEST} levels"),
    ("alias bomb", BOMB.encode(), f"its aliases stand for more than {MOST_VALUES:,} values"),
    ("a circle", b"name: &a [*a]\n", "an alias stands inside of what it names"),
    ("a long list", b"probe:\n  seeds: [" + b"1," * 30_000 + b"]\n", f"more than {MOST_VALUES:,} values"),
    ("large", b"#" * (MOST_BYTES + 1), "at most 256 KiB"),
    ("twice", b"training:\n  epochs: 1\n  epochs: 2\n", "line 3, column 3: the key 'epochs' is given twice, first in "),
    ("twice above", b"training:\n  epochs: 1\nname: a\ntraining: {}\n", "the key 'training' is given twice"),
    ("a 13th month", b"name: 2001-13-01\n", "one of its values has a wrong form"),
    ("5,000 digits", b"training:\n  epochs: " + b"9" * 5000, "one of its values has a wrong form"),
    ("code", b"!!python/object/apply:os.system ['touch x']\n", "could not determine a constructor for the tag"),
    ("two documents", b"name: a\n---\nname: b\n", "another document"),
    ("password file", f"root:x:0:0:{SECRET}:/root:/bin/bash\nbin:x:1:1:bin:/bin:/bin/false\n".encode(), "got text"),
    ("foreign keys", f"{SECRET}: {SECRET}\n".encode(), "none of its keys is one of a study"),
    ("a foreign list", f"- {SECRET}\n".encode(), "got a list"),
    ("a foreign word", f"*{SECRET}\n".encode(), "found undefined alias"),
    ("empty", b"", "got nothing"),
    ("an escape", b"name: a\ntraining: {\"\\e[2Jx\": 1}\n", "unknown key training.'\\x1b[2Jx'"),
]  # fmt: skip


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Runs a command that must be refused, and returns its one line."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.startswith("layerprobe: error")]
    assert len(lines) == 1
    assert lines[0].isprintable()
    assert len(lines[0]) <= 330
    assert SECRET not in printed.err + printed.out
    return lines[0]


@pytest.mark.parametrize("command", ["run", "report"])
@pytest.mark.parametrize(("text", "message"), [row[1:] for row in TEXTS], ids=[row[0] for row in TEXTS])
def test_odd_files_are_one_line_and_not_echoed(
    command: str,
    text: bytes,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_bytes(text)
    start = time.perf_counter()
    said = error_of([command, "x.yaml"], capsys)
    assert time.perf_counter() - start < 30
    if command == "run" or "must be YAML" in said:
        assert message in said
    assert {entry.name for entry in tmp_path.iterdir()} == {"x.yaml"}


@pytest.mark.parametrize("flag", ["--config=x.yaml", "--training=x.yaml"])
def test_a_second_file_by_a_flag_is_read_with_the_same_care(
    flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(BOMB)
    start = time.perf_counter()
    error_of(["run", str(write_study(tmp_path)), flag], capsys)
    assert time.perf_counter() - start < 30


def test_aliases_and_merges_stay_allowed() -> None:
    assert parse_yaml("a: &a {b: 1, c: 2}\nd:\n  <<: *a\n  b: 3\ne: *a\n", "x") == {
        "a": {"b": 1, "c": 2}, "d": {"b": 3, "c": 2}, "e": {"b": 1, "c": 2},
    }  # fmt: skip


def test_one_value_less_than_the_limit_is_read() -> None:
    entries = MOST_VALUES - 3  # the mapping, its key and the list are values as well
    assert len(parse_yaml(f"a: [{'1,' * entries}]", "x")["a"]) == entries
    with pytest.raises(InputError, match="more than"):
        parse_yaml(f"a: [{'1,' * (entries + 1)}]", "x")


def outs(tmp_path: Path) -> dict[str, tuple[str, str]]:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    return {
        "empty": ("", "must not be empty; got ''"),
        "a file": (str(tmp_path / "file"), "file is a file"),
        "below a file": (str(tmp_path / "file" / "a" / "b"), "file is a file, so"),
        "dangling": (str(tmp_path / "dangling"), "nothing, which is not there"),
        "below dangling": (str(tmp_path / "dangling" / "a"), "is a link to"),
        "300 letters": (str(tmp_path / ("x" * 300)), "must have names of at most 255 bytes"),
        "5,000 letters": (str(tmp_path) + "/x" * 2500, "must have at most 4,096 letters"),
        "NUL": ("a\0b", "must not hold the character NUL"),
        "no UTF-8": ("a\udcff", "must be UTF-8"),
        "proc": ("/proc/study", "must be a folder that can be written"),
    }


OUTS = ["empty", "a file", "below a file", "dangling", "below dangling", "300 letters", "5,000 letters", "NUL",
        "no UTF-8", "proc"]  # fmt: skip


@pytest.mark.parametrize("command", ["run", "dry run", "lr", "prepare", "publish", "report"])
@pytest.mark.parametrize("kind", OUTS)
def test_a_folder_that_cannot_be_written_is_one_line(
    command: str, kind: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = str(write_study(tmp_path))
    out, message = outs(tmp_path)[kind]
    if kind == "proc" and not Path("/proc/self").exists():
        pytest.skip("there is no /proc")
    before = {str(entry) for entry in tmp_path.rglob("*")}
    arguments = {
        "run": ["run", study, "--out", out],
        "dry run": ["run", study, "--dry-run", "--out", out],
        "lr": ["lr", study, "--out", out],
        "prepare": ["prepare", "--source", "synthetic", "--out", out],
        "publish": ["publish", str(finished), out],
        "report": ["report", str(finished), "--out", out],
    }
    assert message in error_of(arguments[command], capsys)
    assert {str(entry) for entry in tmp_path.rglob("*")} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_rights_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "locked"
    place.mkdir(mode=0o555)
    said = error_of(["run", str(write_study(tmp_path)), "--out", str(place / "study")], capsys)
    assert "must be a folder that can be written" in said


PATHS = ["missing", "folder", "file/below", "dangling", "binary", "x" * 300, "", "locked"]


@pytest.mark.parametrize("key", ["the study", "--path", "data.path", "data.read.items_path", "backbone.checkpoint"])
@pytest.mark.parametrize("value", PATHS, ids=[value[:12] or "empty" for value in PATHS])
def test_odd_paths_are_one_line(
    key: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").write_text("user,item,timestamp\n")
    Path("dangling").symlink_to("nothing")
    Path("binary").write_bytes(bytes(range(256)) * 9)
    Path("locked").write_text("user,item,timestamp\n")
    Path("locked").chmod(0)
    Path("log.csv").write_text("user,item,timestamp\n" + "".join(f"u{n % 9},i{n % 5},{n}\n" for n in range(99)))
    path = f"./{value}" if value else ""
    study = str(write_study(tmp_path, data={"source": "table"}))
    before = {str(entry) for entry in tmp_path.rglob("*")}
    arguments = {
        "the study": ["run", path],
        "--path": ["run", study, "--path", path, "--dry-run"],
        "data.path": ["run", study, f"--data.path={path}", "--dry-run"],
        "data.read.items_path": ["run", study, "--path", "log.csv", f"--data.read.items_path={path}", "--dry-run"],
        "backbone.checkpoint": ["run", study, "--path", "log.csv", f"--backbone.checkpoint={path}", "--dry-run"],
    }
    error_of(arguments[key], capsys)
    assert {str(entry) for entry in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/b", ".", "..", "a\0b", "x" * 201, "", 7, None, [1]])
def test_a_name_in_a_study_is_no_path(
    name: object, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = str(write_study(tmp_path, name=name))
    assert "name must" in error_of(["report", study], capsys)
    assert "name must" in error_of(["run", study], capsys)


def test_a_published_students_name_is_no_path(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (copied / "study.yaml").read_text()
    (copied / "study.yaml").write_text(text.replace("  name: student\n", "  name: ../../x\n"))
    assert "distill.name must be letters" in error_of(["verify", str(copied)], capsys)


@pytest.mark.parametrize("command", ["inspect", "verify", "recommend", "plan"])
@pytest.mark.parametrize("place", ["", "./missing", "x" * 300, "y/" * 3000, "a\0b", "a\udcff", "file/below"])
def test_odd_places_of_other_commands_are_one_line(
    command: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("x")
    more = {"inspect": [], "verify": [], "recommend": ["--history", "1"], "plan": []}[command]
    error_of([command, *(["--pilot"] if command == "plan" else []), place, *more], capsys)


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    line = one_line(f"begins {'x' * 900} ends")
    assert len(line) <= 300
    assert line.startswith("begins x")
    assert line.endswith("x ends")
    assert one_line("a\x1b[2J\u202eb\nc") == "a\\x1b[2J\\u202eb c"
