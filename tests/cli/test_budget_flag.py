"""`--budget` on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_study import write_study

from layerprobe.cli.budget_flag import budget_flags
from layerprobe.cli.main import main


@pytest.mark.parametrize(
    ("texts", "flags"),
    [
        ([], []),
        (["latency_ms=5"], ["--budget.latency_ms=5.0"]),
        (["latency_ms=0.5,parameters=200000"], ["--budget.latency_ms=0.5", "--budget.parameters=200000"]),
        (["parameters=3", "latency_ms = 2"], ["--budget.parameters=3", "--budget.latency_ms=2.0"]),
    ],
)
def test_the_short_form_stands_for_the_keys(texts: list[str], flags: list[str]) -> None:
    assert budget_flags(texts) == flags


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--budget", "latency=5"], "--budget takes latency_ms=NUMBER, parameters=NUMBER or both"),
        (["--budget", "5"], "got '5'"),
        (["--budget", ""], "got ''"),
        (["--budget", "latency_ms=5,"], "got ''"),
        (["--budget", "latency_ms=fast"], "--budget latency_ms must be a number; got 'fast'"),
        (["--budget", "latency_ms"], "--budget latency_ms must be a number; got ''"),
        (["--budget", "parameters=2.5"], "--budget parameters must be a whole number; got '2.5'"),
        (["--budget", "latency_ms=5", "--budget", "latency_ms=6"], "got latency_ms twice"),
        (["--budget", "latency_ms=-5"], "budget.latency_ms must be above 0, or null; got -5.0"),
        (["--budget", "latency_ms=nan"], "--budget latency_ms must be a number; got 'nan'"),
        (["--budget", "latency_ms=inf"], "--budget latency_ms must be a number; got 'inf'"),
        (["--budget", "parameters=0"], "budget.parameters must be at least 1, or null; got 0"),
        (["--budget.latency_ms", "0"], "budget.latency_ms must be above 0, or null; got 0"),
        (["--budget.memory", "5"], "budget.memory"),
        (["--cost.calls", "19"], "cost.calls must be at least 20"),
    ],
)
def test_nonsense_is_refused_in_one_line(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["decide", str(write_study(tmp_path)), "--out", str(tmp_path / "study"), *flags]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "study").exists()


def test_a_report_takes_no_budget(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = str(write_study(tmp_path))
    assert main(["report", study, "--out", str(finished), "--budget", "parameters=5"]) == 2
    assert "takes no option but --out" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--budget", "latency_ms=5,parameters=7"],
                                   ["--budget.latency_ms", "5", "--budget.parameters", "7"]])  # fmt: skip
def test_both_forms_set_the_studys_keys(flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(write_study(tmp_path)), *flags, "--print_config"]) == 0
    assert "budget:\n  latency_ms: 5.0\n  parameters: 7\n" in capsys.readouterr().out
