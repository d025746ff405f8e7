"""Bad values of every key, made from the types and ranges that the spec declares: one line each, and nothing written.

What is bad is told from the declared range alone: minus one is fine where the range holds it, and only then.
"""

from __future__ import annotations

import contextlib
import io
import math
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import yaml

from layerprobe.cli import main as command_line
from layerprobe.cli import study_commands
from layerprobe.cli.main import main
from layerprobe.ranges import MOST_LETTERS, Range, Text, parted
from layerprobe.study.checks import check_study
from layerprobe.study.guard import check_folder
from layerprobe.study.key_rules import keys_of
from layerprobe.study.spec import StudySpec

COMMANDS = command_line.build_parser()
KEYS = dict(keys_of(StudySpec))
NUMBERS = [math.nan, math.inf, -math.inf, -1, -0.5, 0, 10**30, 2**70, 1e300, 10**400]
TEXTS = ["", "./wörld ☃", "a\0b", "x" * 5000]
OTHERS = [True, "./many", [], {}, {"a": 1}, None]
LONGEST = 330
"""Letters of a printed error with the words before it."""


def kinds_of(hint: Any) -> set[Any]:
    """The plain types that a field takes: those of its union, `list` for lists and tuples."""
    bare = parted(hint)[0]
    parts = get_args(bare) if get_origin(bare) not in (None, list, tuple, dict, Literal) else (bare,)
    return {(list if get_origin(part) in (list, tuple) else get_origin(part) or part) for part in parts}


def is_numeric(hint: Any) -> bool:
    return bool({int, float} & kinds_of(hint)) or isinstance(parted(hint)[1], Range)


def is_certainly_bad(value: Any, hint: Any) -> bool:
    """Whether type or range alone forbids a value; what other keys forbid as well is not asked here."""
    kinds, (bare, limit) = kinds_of(hint), parted(hint)
    if isinstance(value, bool):
        return bool not in kinds
    if value is None:
        return NoneType not in kinds
    if isinstance(value, str):
        text = limit if isinstance(limit, Text) else Text()
        choices = [choice for part in (bare, *get_args(bare)) for choice in get_args(part)]
        if str not in kinds:
            return Literal not in kinds or value not in choices
        return not text.least <= len(value) <= text.most or "\0" in value
    if isinstance(value, (int, float)):
        if not kinds & {int, float}:
            return True
        if isinstance(value, float) and float not in kinds:
            return True
        assert isinstance(limit, Range)
        over = value > limit.low if limit.above else value >= limit.low
        return not (over and (value < limit.high if limit.below else value <= limit.high))
    if isinstance(value, list) and list in kinds:
        (entry,) = get_args(next(part for part in (bare, *get_args(bare)) if get_origin(part) in (list, tuple)))[:1]
        return any(is_certainly_bad(one, Annotated[entry, limit]) for one in value)
    return (list if isinstance(value, list) else dict) not in kinds


def rows_of(hint: Any) -> list[Any]:
    values = list(OTHERS)
    if is_numeric(hint):
        values += NUMBERS
        if list in kinds_of(hint):
            values += [[number] for number in NUMBERS]
    if str in kinds_of(hint):
        values += TEXTS
    return values


def with_key(key: str, value: Any) -> dict[str, Any]:
    """A study of defaults with one key set."""
    plain: dict[str, Any] = {}
    *sections, name = key.split(".")
    inner: Any = plain
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[name] = value
    return plain


@pytest.fixture(autouse=True)
def checks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--dry-run` ends after everything that is checked before a stage starts: nothing is timed."""

    def checks(study: Any, _executor: str) -> int:
        check_study(study)
        check_folder(study)
        return 0

    monkeypatch.setattr(study_commands, "_dry_run", checks)
    monkeypatch.setattr(command_line, "build_parser", lambda: COMMANDS)  # making it takes most of a refusal


def told(arguments: list[str]) -> tuple[int, str]:
    """Runs a command in this process; returns its exit code and what it says of errors."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, "\n".join(line for line in errors.getvalue().splitlines() if line.startswith("layerprobe: error"))


def assert_one_line(code: int, said: str, case: object) -> None:
    assert code == 2, (case, said)
    assert said.count("\n") == 0, (case, said)
    assert len(said) <= LONGEST, (case, said)
    assert said.isprintable(), (case, said)


def test_every_number_of_the_spec_states_a_finite_range() -> None:
    bounds = {key: parted(hint)[1] for key, hint in KEYS.items() if is_numeric(hint)}
    assert len(bounds) > 90
    for key, limit in bounds.items():
        assert isinstance(limit, Range), key
        assert -math.inf < limit.low < limit.high < math.inf, key


def test_every_default_lies_in_its_range(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"name": "defaults"}))
    assert told(["run", str(path), "--out", str(tmp_path / "out"), "--dry-run"]) == (0, "")


def test_the_table_is_long_enough() -> None:
    rows = [(key, value) for key, hint in KEYS.items() for value in rows_of(hint)]
    assert len(rows) >= 1500
    assert sum(is_certainly_bad(value, KEYS[key]) for key, value in rows) >= 1000


@pytest.mark.parametrize("key", KEYS)
def test_bad_values_of_a_key_are_one_line_and_write_nothing(key: str, tmp_path: Path) -> None:
    path, out = tmp_path / "study.yaml", tmp_path / "out"
    for value in rows_of(KEYS[key]):
        path.write_text(yaml.safe_dump(with_key(key, value)))
        code, said = told(["run", str(path), "--out", str(out), "--dry-run"])
        if code or is_certainly_bad(value, KEYS[key]):
            assert_one_line(code, said, value)
        if is_certainly_bad(value, KEYS[key]):
            assert key in said, (value, said)
        assert {entry.name for entry in tmp_path.iterdir()} == {path.name}, value


@pytest.mark.parametrize("key", [key for key, hint in KEYS.items() if is_numeric(hint)])
def test_bad_flags_are_one_line_and_write_nothing(key: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("name: tiny\n")
    for value in [*NUMBERS, "./many", "", "[", "{"]:
        if not is_certainly_bad(value, KEYS[key]):
            continue
        code, said = told(["run", str(path), "--out", str(tmp_path / "out"), "--dry-run", f"--{key}={value}"])
        assert_one_line(code, said, value)
        assert key in said, (value, said)
        assert {entry.name for entry in tmp_path.iterdir()} == {path.name}, value


def test_a_printed_error_is_never_long() -> None:
    assert MOST_LETTERS == 4096
    code, said = told(["run", "x" * 200 + "/" + "y" * 200 + "/" + "z" * 200])
    assert_one_line(code, said, "a long path")
