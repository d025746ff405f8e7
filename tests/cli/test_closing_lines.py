"""A command ends by saying what it has just written, and which later files are older than that."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_study import write_study

from layerprobe.cli.closing import stage_lines
from layerprobe.cli.main import main
from layerprobe.reporting import report
from layerprobe.stages.registry import STAGES
from layerprobe.store.atomic import read_json
from layerprobe.store.decision import read_decision
from layerprobe.study.parser import load_spec
from layerprobe.study.study import Study

UP_TO_DATE = "`layerprobe run` with the same arguments brings"


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return write_study(tmp_path)


def last_lines(capsys: pytest.CaptureFixture[str], *command: object) -> list[str]:
    assert main([str(part) for part in command]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("stage", "line"),
    [
        ("data", "data: {study}/data"),
        ("items", "SASRec and item table: {study}/items"),
        ("teach", "teacher: {study}/teacher"),
        ("similarity", "layers: {study}/similarity/report/report.md"),
        ("cost", "costs: {study}/costs/costs.csv"),
        ("export", "student: {study}/student"),
    ],
)
def test_a_stage_that_made_nothing_anew_says_where_its_files_are_and_calls_nothing_older(
    stage: str, line: str, copied: Path, spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert last_lines(capsys, stage, spec, "--out", copied) == [line.format(study=copied)]


@pytest.mark.parametrize(("stage", "older"), [("probe", "decision and report"), ("curve", "decision and report")])
def test_a_stage_that_writes_the_curve_calls_what_is_drawn_from_it_older(
    stage: str, older: str, copied: Path, spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert last_lines(capsys, stage, spec, "--out", copied) == [
        f"curve: {copied / 'curve.csv'}",
        f"older than this: {older}; {UP_TO_DATE} them up to date",
    ]


def test_decide_prints_the_new_decision_and_calls_the_report_older(
    copied: Path, spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = read_json(copied / "decision.json")["sentence"]
    verdict, decision, older = last_lines(capsys, "decide", spec, "--out", copied, "--decision.margin", "0.6")
    assert decision == f"decision: {read_json(copied / 'decision.json')['sentence']}" != f"decision: {old}"
    assert verdict == f"verdict: {read_decision(copied).told}"
    assert verdict.startswith(("verdict: keep ", "verdict: use the baseline "))
    assert older == f"older than this: report; {UP_TO_DATE} it up to date"


def test_decide_by_another_metric_calls_the_student_s_comparison_older_and_the_report_says_so(
    copied: Path, spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    *_, older = last_lines(capsys, "decide", spec, "--out", copied, "--decision.metric", "hr")
    assert older.startswith("older than this: report and comparison of the student; ")
    last_lines(capsys, "report", copied)
    text = (copied / "report" / "report.md").read_text()
    by = "This comparison is older than the decision: it is by NDCG@10 at 95 % confidence, the decision by HR@10"
    assert by in text
    assert main(["publish", str(copied), str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "distilled.json must follow from the ranks and options of the study; it differs in metric: run" in said
    assert not (tmp_path / "out").exists()


def test_decide_calls_a_student_of_other_layers_older(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_study(tmp_path, distill={"depth": 4})
    *_, older = last_lines(capsys, "decide", other, "--out", copied)
    assert older == (
        f"older than this: report and student; {UP_TO_DATE} them up to date, once {copied / 'student'} and "
        f"{copied / 'distillation' / 'student'} are moved away"
    )
    for folder in ("student", "distillation"):
        shutil.move(copied / folder, tmp_path / f"older-{folder}")
    assert last_lines(capsys, "run", other, "--out", copied)[-1].startswith("report: ")


def test_distill_tells_of_the_student_it_trained_and_not_of_the_older_one(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = write_study(tmp_path, distill={"depth": 2, "name": "second", "weights": {"cosine": 0.5}})
    trained, gain, older = last_lines(capsys, "distill", second, "--out", copied)
    folder = copied / "distillation" / "second"
    assert trained == f"trained student: {folder} (`layerprobe export` writes the folder to deploy)"
    assert gain == read_json(copied / "distilled.json")["sentence"]
    assert older == (
        f"older than this: report and student; {UP_TO_DATE} them up to date, once {copied / 'student'} is moved away"
    )
    shutil.move(copied / "student", tmp_path / "first")
    *_, older = last_lines(capsys, "distill", second, "--out", copied)
    assert older == f"older than this: report; {UP_TO_DATE} it up to date"
    *_, drawn = last_lines(capsys, "run", second, "--out", copied)
    assert drawn == f"report: {copied / 'report' / 'report.md'}"
    assert last_lines(capsys, "export", second, "--out", copied) == [f"student: {copied / 'student'}"]


def test_a_stage_of_a_new_study_tells_of_that_stage_alone(
    tmp_path: Path, spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert last_lines(capsys, "data", spec, "--out", tmp_path / "new") == [f"data: {tmp_path / 'new' / 'data'}"]


def test_run_prints_decision_curve_student_and_report(
    copied: Path, spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert last_lines(capsys, "run", spec, "--out", copied) == [
        f"verdict: {read_decision(copied).told}",
        f"decision: {read_json(copied / 'decision.json')['sentence']}",
        f"curve: {copied / 'curve.csv'}",
        f"student: {copied / 'student'}",
        f"report: {copied / 'report' / 'report.md'}",
    ]


def test_every_stage_has_closing_lines(finished: Path, spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "write_layer_report", lambda folder: folder)
    study = Study(load_spec(spec, []), finished)
    for stage in STAGES:
        assert stage.name == "report" or stage_lines(study, stage.name)[0].count(": ") >= 1
