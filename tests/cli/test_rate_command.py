"""`layerprobe lr`, as a user runs it on the tiny study."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from tiny_study import TINY, TRAINING, write_study

from layerprobe import columns
from layerprobe.cli.main import main
from layerprobe.stages import teach
from layerprobe.store.atomic import read_json, read_yaml

FILES = {"done.json", "range.csv", "range.json", "range.png", "range.svg"}
FEW = ["--low", "1e-5", "--high", "10", "--steps", "40"]


@pytest.mark.parametrize(
    ("model", "folder", "needed", "key"),
    [
        ("sasrec", "sasrec", {"data"}, "items.training.learning_rate"),
        ("teacher", "teacher", {"data", "items", "baselines"}, "training.learning_rate"),
        ("first:4", "teacher", {"data", "items", "baselines"}, "training.learning_rate"),
        ("keep:0,3", "keep-0_3", {"data", "items", "baselines"}, "training.learning_rate"),
    ],
)
def test_a_test_writes_its_files_and_says_what_it_found(
    model: str, folder: str, needed: set[str], key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "study"
    assert main(["lr", str(write_study(tmp_path)), "--out", str(out), "--model", model, *FEW]) == 0
    assert {path.name for path in out.iterdir()} == needed | {
        "files.json", "checked.json",
        "lr", "study.yaml", "provenance.json", "decisions.jsonl",  # the plan, recorded before anything is trained
    }  # fmt: skip
    assert {path.name for path in (out / "lr").iterdir()} == {folder}
    assert {path.name for path in (out / "lr" / folder).iterdir()} == FILES
    facts, table = read_json(out / "lr" / folder / "range.json"), pd.read_csv(out / "lr" / folder / "range.csv")
    assert list(table) == list(columns.RATE_RANGE)
    assert len(table) == facts["steps_done"] <= 40
    ratio = table[columns.LEARNING_RATE] / table[columns.LEARNING_RATE].shift()
    assert ratio.dropna().to_numpy() == pytest.approx((10 / 1e-5) ** (1 / 39))
    assert facts["own"]["key"] == key
    assert facts["own"]["rate"] == TRAINING["learning_rate"]
    printed = capsys.readouterr().out.splitlines()
    assert printed[: len(facts["sentences"])] == facts["sentences"]
    assert printed[0].startswith(f"{folder}: ")
    assert printed[-1] == f"figure: {out / 'lr' / folder / 'range.png'}"


def test_another_test_of_a_model_replaces_its_files_alone(tmp_path: Path) -> None:
    study, out = str(write_study(tmp_path)), tmp_path / "study"
    for model, steps in (("sasrec", "30"), ("first:0", "30"), ("sasrec", "20")):
        assert main(["lr", study, "--out", str(out), "--model", model, "--high", "0.1", "--steps", steps]) == 0
    rows = {name: len(pd.read_csv(out / "lr" / name / "range.csv")) for name in ("sasrec", "first-0")}
    assert rows == {"sasrec": 20, "first-0": 30}
    assert {path.name for path in (out / "lr").iterdir()} == set(rows)


def test_a_test_that_dies_while_it_writes_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from layerprobe.pipeline import learning_rate_test

    study, out = str(write_study(tmp_path)), tmp_path / "study"
    asked = ["lr", study, "--out", str(out), "--model", "sasrec", "--high", "0.1", "--steps"]
    assert main([*asked, "20"]) == 0
    before = {path.name: path.read_bytes() for path in (out / "lr" / "sasrec").iterdir()}

    def dying(_folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(learning_rate_test, "draw_rate_test", dying)
    assert main([*asked, "30"]) == 130
    assert {path.name: path.read_bytes() for path in (out / "lr" / "sasrec").iterdir()} == before
    assert {path.name for path in (out / "lr").iterdir()} == {"sasrec"}


def test_the_rate_may_change_until_a_model_is_trained_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, out = str(write_study(tmp_path)), tmp_path / "study"
    there = ["--out", str(out)]
    assert main(["lr", study, *there, "--model", "sasrec", *FEW]) == 0
    assert main(["lr", study, *there, *FEW, "--items.training.learning_rate", "0.01"]) == 0
    assert read_yaml(out / "study.yaml")["items"]["training"]["learning_rate"] == 0.01
    changed = [study, *there, "--items.training.learning_rate", "0.01", "--training.learning_rate", "0.002"]
    real = teach.run
    with monkeypatch.context() as patched:
        patched.setattr(teach, "run", lambda study: (real(study), pytest.fail("killed")))
        with pytest.raises(pytest.fail.Exception):
            main(["teach", *changed])
    assert main(["teach", *changed]) == 0
    assert read_yaml(out / "study.yaml")["training"]["learning_rate"] == 0.002
    assert main(["teach", study, *there, "--items.training.learning_rate", "0.01"]) == 2
    assert "these keys differ: training.learning_rate;" in capsys.readouterr().err
    assert main(["lr", *changed[:-2], "--training.learning_rate", "0.002", *FEW]) == 0
    assert main(["lr", study, *there, "--training.learning_rate", "0.002", *FEW]) == 2
    assert "these keys differ: items.training.learning_rate;" in capsys.readouterr().err


def test_a_variant_that_starts_from_the_teacher_has_one_trained(tmp_path: Path) -> None:
    study, out = write_study(tmp_path, probe={"start": "teacher", "depths": [2]}), tmp_path / "study"
    assert main(["lr", str(study), "--out", str(out), *FEW]) == 0
    assert not (out / "teacher").exists()
    assert main(["lr", str(study), "--out", str(out), "--model", "first:2", *FEW]) == 0
    assert (out / "teacher" / "done.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--low", "0.1", "--high", "0.1"], "low must be below high; got 0.1 and 0.1"),
        (["--low", "1", "--high", "0.1"], "got 1 and 0.1"),
        (["--low", "0"], "--low must be above 0; got 0.0"),
        (["--low", "-1"], "--low must be above 0; got -1.0"),
        (["--low", "nan"], "--low must lie in (0, 1,000,000]; got nan"),
        (["--high", "inf"], "--high must be at most 1,000,000; got inf"),
        (["--high", "much"], "invalid float value: 'much'"),
        (["--steps", "9"], "at least 10; got 9"),
        (["--steps", "1.5"], "invalid int value"),
        (["--model", "student"], "--model must be teacher, sasrec or a selection"),
        (["--model", ""], "--model must be teacher"),
        (["--model", "first:9"], "depth must lie in 0 to 4"),
        (["--model", "most:2"], "is not understood"),
        (["--colour", "red"], "colour"),
        (["--budget", "parameters=5"], "budget"),
        (["--training.supervision", "none"], "supervision"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "study"
    try:
        code = main(["lr", str(write_study(tmp_path)), "--out", str(out), *arguments])
    except SystemExit as stop:
        code = stop.code
    printed = capsys.readouterr()
    assert code == 2
    assert message in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert printed.out == ""
    assert not out.exists()


def test_print_config_prints_and_tests_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lr", str(write_study(tmp_path)), "--out", str(tmp_path / "study"), "--print_config"]) == 0
    assert f"name: {TINY['name']}" in capsys.readouterr().out
    assert not (tmp_path / "study").exists()
