"""`layerprobe plan`: a table and its answer, from a pilot or from stated noise; bad input is one line."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from made_decisions import made_decision, made_row

from layerprobe.cli.main import main
from layerprobe.store.atomic import write_text
from layerprobe.store.decision import PowerRow, VarianceRow, write_decision

STATED = ["--users", "20000", "--user_noise", "1.2", "--training_noise", ".003"]
VARIANCE = VarianceRow(users=1.44 * 0.25, joint=0.0, seeds=0.000018 * 0.25, value=0.5)
POWER = PowerRow(
    minimal_detectable_relative_difference=0.02,
    n_users=20_000,
    n_seeds=4,
    covers_training=True,
    users_needed_for_margin=None,
    variance=VARIANCE,
)


def decided(folder: Path, **power: object) -> Path:
    """A decided study, but for parts of its power."""
    decision = made_decision(depths=(made_row("first:4", 4),), power=replace(POWER, **power))
    write_decision(folder, decision)
    return folder


@pytest.fixture
def pilot(tmp_path: Path) -> Path:
    return decided(tmp_path)


def plan(capsys: pytest.CaptureFixture[str], *flags: str) -> list[str]:
    assert main(["plan", *flags]) == 0
    return capsys.readouterr().out.splitlines()


def table(lines: list[str]) -> list[str]:
    start = next(place for place, line in enumerate(lines) if line.startswith("seeds"))
    return lines[start : start + 8]


def test_stated_noise_gives_a_table_and_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    lines = plan(capsys, *STATED)
    heads = ["seeds", "10,000 users", "20,000 users", "40,000 users", "80,000 users"]
    assert re.split(r"\s{2,}", table(lines)[0]) == heads
    assert [row.split()[0] for row in table(lines)[1:]] == ["2", "3", "4", "5", "6", "8", "10"]
    assert table(lines)[2].split() == ["3", "3.0", "%", "2.2", "%", "1.6", "%", "1.3", "%"]
    assert (
        "A margin of 2 % needs about 25,000 users with 3 seeds. No number of seeds is enough with 20,000 users."
        in lines
    )
    assert any(line.startswith("One seed shows nothing about training noise") for line in lines)


def test_a_pilot_with_the_same_noise_gives_the_same_table(capsys: pytest.CaptureFixture[str], pilot: Path) -> None:
    assert table(plan(capsys, "--pilot", str(pilot))) == table(plan(capsys, *STATED))
    source = plan(capsys, "--pilot", str(pilot))[0]
    assert source == (
        f"From {pilot}: over users a difference has a standard deviation of 1.2 times the metric, a training one of "
        "0.30 % of it (a rough estimate: 4 seeds)."
    )


def test_flags_go_before_the_numbers_of_the_pilot(capsys: pytest.CaptureFixture[str], pilot: Path) -> None:
    lines = plan(capsys, "--pilot", str(pilot), "--users", "40000", "--margin", ".03", "--alpha", ".1", "--power", ".9")
    assert table(lines)[0].split()[1] == "20,000"
    assert any(line.startswith("A margin of 3 % needs") for line in lines)
    assert any(line.endswith("with a power of 90 % (alpha 10 %):") for line in lines)
    assert table(lines) == table(
        plan(capsys, *STATED, "--users", "40000", "--margin", ".03", "--alpha", ".1", "--power", ".9")
    )


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        (["--training_noise", ".01"], "needs more than 3 seeds and more than 20,000 users, such as 5 seeds with about"),
        (
            ["--training_noise", ".01", "--margin", ".03"],
            "needs 4 seeds with 20,000 users. No number of users is enough",
        ),
        (["--margin", ".05"], "A margin of 5 % needs about 3,700 users with 3 seeds, or 2 seeds with 20,000 users."),
        (["--difference", "-.005"], "a depth that differs by -0.5 % is shown"),
        (["--training_noise", ".01"], "With 2 seeds more users do not always help"),
    ],
)
def test_what_the_margin_needs_is_said(capsys: pytest.CaptureFixture[str], flags: list[str], answer: str) -> None:
    assert answer in "\n".join(plan(capsys, *STATED, *flags))


BAD = [
    ([], "plan needs --pilot FOLDER, or all of --users, --user_noise and --training_noise; missing: --users, --user"),
    (["--users", "20"], "missing: --user_noise and --training_noise"),
    (["--pilot", "PILOT", "--user_noise", "1"], "plan takes a pilot or its noise; got --pilot and --user_noise"),
    (["--pilot", "PILOT/none"], "--pilot must be the folder of a decided study; "),
    (["--pilot", "PILOT", "--margin", "0"], "--margin must lie between 0 and 1; got 0.0"),
    (["--pilot", "PILOT", "--margin", "2"], "--margin must lie between 0 and 1"),
    (["--pilot", "PILOT", "--users", "0"], "--users must be at least 1; got 0"),
    ([*STATED, "--users", "-5"], "--users must be at least 1; got -5"),
    ([*STATED, "--users", "many"], "argument --users: invalid int value: 'many'"),
    ([*STATED, "--user_noise", "0"], "user_noise must be a number above 0"),
    ([*STATED, "--training_noise", "-1"], "training_noise must be a number of at least 0"),
    ([*STATED, "--alpha", "1"], "--alpha must lie in [1e-12, 1); got 1.0"),
    ([*STATED, "--power", ".01"], "power must lie between alpha"),
    ([*STATED, "--difference", "-.02"], "--difference must be above minus the margin, -0.02"),
    ([*STATED, "--seeds", "3"], "unrecognized arguments: --seeds 3"),
]


@pytest.mark.parametrize(("flags", "message"), BAD)
def test_bad_flags_are_one_line(
    capsys: pytest.CaptureFixture[str], pilot: Path, flags: list[str], message: str
) -> None:
    flags = [flag.replace("PILOT", str(pilot)) for flag in flags]
    try:
        code = main(["plan", *flags])
    except SystemExit as stop:  # argparse's own mistakes
        code = stop.code
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert message in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("power", "message"),
    [
        ({"variance": None}, "has no variances of its differences; decide it again with this version"),
        ({"variance": replace(VARIANCE, value=0.0)}, "has no variances of its differences"),
        ({"variance": replace(VARIANCE, users=0.0)}, "variances of users must be above 0"),
        ({"n_seeds": 1}, "one seed shows nothing about training noise, and its decision is of 1 seed: give"),
        ({"covers_training": False}, "is of 4 seeds, with cover users: give probe.seeds two or more"),
    ],
)
def test_a_pilot_that_tells_nothing_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, power: dict, message: str
) -> None:
    assert main(["plan", "--pilot", str(decided(tmp_path, **power))]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_damaged_pilot_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_text(tmp_path / "decision.json", "{")
    assert main(["plan", "--pilot", str(tmp_path)]) == 2
    assert "decision.json cannot be read" in capsys.readouterr().err
