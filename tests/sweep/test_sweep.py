"""The sweep: one failed model stops none of the others, and what is left out is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tiny_study import write_study

from layerprobe import processes
from layerprobe.cli.main import build_parser, main
from layerprobe.cli.study_commands import run_command
from layerprobe.errors import InputError, NoSpace, StudyError, TrainingDiverged
from layerprobe.store.atomic import read_json, write_json
from layerprobe.study.parser import load_spec
from layerprobe.study.study import Study
from layerprobe.sweep import tasks
from layerprobe.sweep.board import Board
from layerprobe.sweep.complete import complete
from layerprobe.sweep.tasks import Ended, Step, Task, attempt, failed_line
from layerprobe.sweep.tasks import sweep_tasks as tasks_of
from layerprobe.training.loop import Trainer
from layerprobe.training.model_folder import ModelJob


def opened(tmp_path: Path, folder: Path, **probe: object) -> Study:
    return Study(load_spec(write_study(tmp_path, probe=probe), []), folder)


def fail(monkeypatch: pytest.MonkeyPatch, label: str, error: BaseException) -> None:
    """Lets the training of that label raise at its first step."""
    real = Trainer._step

    def step(self: Trainer, chosen: object) -> None:
        if self.label == label:
            raise error
        real(self, chosen)

    monkeypatch.setattr(Trainer, "_step", step)


def test_a_failed_variant_is_recorded_the_others_go_on_and_the_next_run_heals_it(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path, probe={"depths": [0, 1, 2, 3]})
    failed = copied / "variants" / "first-1" / "seed-0" / "failed.json"
    with monkeypatch.context() as patched:
        fail(patched, "variant first:1 seed 0", TrainingDiverged("loss became nan"))
        assert main(["run", str(study), "--out", str(copied)]) == 1
    said = capsys.readouterr()
    last = said.err.strip().splitlines()[-1]
    assert last.startswith(
        f"layerprobe: error: 1 model failed, the others are not affected: variant first:1 seed 0 ({failed})"
    )
    assert "sweep: 2 of 4 done\n" in said.err
    assert "sweep: 2 of 4 done, 1 failed\n" in said.err  # nothing has ended yet that tells how long a model takes
    assert "sweep: 3 of 4 done, 1 failed\n" in said.err
    assert "report: " in said.out
    record = read_json(failed)
    assert record["what"] == "variant first:1 seed 0"
    assert record["error"] == "TrainingDiverged: loss became nan"
    assert "Traceback" in record["traceback"]
    note = "first:1 is left out of the tests: its training failed with seed 0."
    decision = read_json(copied / "decision.json")
    assert [row["depth"] for row in decision["depths"]] == [0, 2, 3, 4]
    assert note in decision["notes"]
    assert note in (copied / "report" / "report.md").read_text()
    assert set(pd.read_csv(copied / "curve.csv").query("kind == 'variant'")["depth"]) == {0, 2, 3, 4}
    assert main(["decide", str(study), "--out", str(copied)]) == 0
    assert not failed.exists()
    decision = read_json(copied / "decision.json")
    assert [row["depth"] for row in decision["depths"]] == [0, 1, 2, 3, 4]
    assert note not in decision["notes"]


def test_a_mistake_of_the_user_stops_everything(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(monkeypatch, "variant first:1 seed 0", InputError("take another"))
    study = write_study(tmp_path, probe={"depths": [0, 1, 2, 3]})
    assert main(["probe", str(study), "--out", str(copied)]) == 2
    assert capsys.readouterr().err.endswith("layerprobe: error: take another\n")
    assert not list(copied.rglob("failed.json"))
    assert not (copied / "variants" / "first-3").exists()


@pytest.mark.parametrize(
    ("error", "n_processes", "is_survived"),
    [
        (StudyError("a"), 1, True),
        (torch.OutOfMemoryError("a"), 1, True),
        (MemoryError("a"), 1, True),
        (RuntimeError("a"), 1, True),
        (InputError("a"), 1, False),
        (ValueError("a"), 1, False),
        (NoSpace("a"), 1, False),
        (TrainingDiverged("a"), 2, True),
        (RuntimeError("a"), 2, False),
        (StudyError("a"), 2, False),
    ],
)
def test_what_one_model_may_die_of(
    error: Exception, n_processes: int, is_survived: bool, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(*_arguments: object) -> None:
        raise error

    study = opened(tmp_path, copied, depths=[0, 1])
    task = Task(study.selections[1], 0)
    monkeypatch.setattr(tasks, "train_and_rank", raising)
    monkeypatch.setattr(processes, "count", lambda: n_processes)
    monkeypatch.setattr(processes, "on_main", lambda work: work())
    monkeypatch.setattr(processes, "is_main", lambda: True)
    if is_survived:
        assert attempt(study, Step(task)) == f"{type(error).__name__}: a"
        assert task.state(study) == "failed"
    else:
        with pytest.raises(type(error)):
            attempt(study, Step(task))
        assert task.state(study) == "left"


def marked(study: Study, lost: dict[Task, str]) -> None:
    """Gives every model of the study a marker: `done.json`, or what `lost` says."""
    for task in [Task(study.full, study.spec.probe.seeds[0]), *tasks_of(study)]:
        record = {"epoch": 1, "valid_ndcg@10": 0.25, "cut_off": 0.5}
        write_json(task.folder(study) / f"{lost.get(task, 'done')}.json", record)


def lost_tasks(study: Study, found: list[tuple[int, int, str | None, str]]) -> dict[Task, str]:
    return {
        Task(next(each for each in study.selections if each.depth == depth), seed, control): state
        for depth, seed, control, state in found
    }


@pytest.mark.parametrize(
    ("lost", "seeds", "depths", "twins", "note"),
    [
        ([], (0, 1), [0, 1, 2, 4], [1, 2, 4], None),
        ([(1, 1, None, "failed")], (0, 1), [0, 2, 4], [2, 4], "first:1 is left out of the tests: its training failed"),
        ([(4, 1, None, "failed")], (0,), [0, 1, 2, 4], [1, 2, 4], "Seed 1 is left out for every selection"),
        ([(4, 1, None, "failed"), (1, 1, None, "failed")], (0,), [0, 1, 2, 4], [1, 2, 4], "Seed 1"),
        (
            [(2, 0, "random-init", "failed"), (2, 1, "random-init", "failed")], (0, 1), [0, 1, 2, 4], [1, 4],
            "first:2 is left out of that arm: the training of its random-init twin failed with seeds 0, 1.",
        ),
        (
            [(1, 0, None, "halted"), (1, 1, None, "halted")], (0, 1), [0, 2, 4], [2, 4],
            "first:1 is left out of the tests: stopped after 1 epoch by halving, with a validation NDCG@10 of 0.2500"
            "; the selections that continued have at least 0.5000.",
        ),
    ],
)  # fmt: skip
def test_what_did_not_end_is_left_out_and_said(
    lost: list, seeds: tuple, depths: list, twins: list, note: str | None, tmp_path: Path
) -> None:
    study = opened(tmp_path, tmp_path / "study", depths=[0, 1, 2], seeds=[0, 1], controls=["random-init"])
    marked(study, lost_tasks(study, lost))
    found = complete(study)
    assert found.seeds == seeds
    assert [each.depth for each in found.selections] == depths
    assert [each.depth for each in found.twins("random-init")] == twins
    assert (note is None and not found.notes) or any(line.startswith(note or "-") for line in found.notes)
    assert (failed_line(study) is None) == all(state != "failed" for *_, state in lost)


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ([(4, 0, None, "failed")], "nothing can be decided without the full model: 1 model failed"),
        ([(0, 0, None, "failed"), (1, 0, None, "failed")], "nothing can be decided without any smaller selection: 2"),
    ],
)
def test_nothing_is_decided_without_two_models(lost: list, message: str, tmp_path: Path) -> None:
    # Variants start from the teacher here, so the full model is one of them and may fail.
    study = opened(tmp_path, tmp_path / "study", depths=[0, 1], start="teacher")
    marked(study, lost_tasks(study, lost))
    with pytest.raises(StudyError, match=message):
        complete(study)


def test_what_failed_is_named_beside_another_error(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(monkeypatch, "variant first:1 seed 0", TrainingDiverged("loss became nan"))
    study = write_study(tmp_path, probe={"depths": [0, 1, 2]}, budget={"parameters": 1})
    assert main(["decide", str(study), "--out", str(copied)]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("layerprobe: error: no studied selection keeps the budget parameters=1;")
    # The command line shows beginning and end of a long message; this is the whole.
    whole = r"; and 1 model failed, the others are not affected: variant first:1 seed 0 \("
    with pytest.raises(InputError, match=whole):
        run_command(*build_parser().parse_known_args(["decide", str(study), "--out", str(copied)]))


def test_noise_of_training_that_must_be_covered_needs_two_finished_seeds(tmp_path: Path) -> None:
    path = write_study(tmp_path, probe={"depths": [0, 1], "seeds": [0, 1]}, decision={"cover": "training"})
    study = Study(load_spec(path, []), tmp_path / "study")
    marked(study, {})
    assert complete(study).seeds == (0, 1)
    marked(study, lost := lost_tasks(study, [(4, 1, None, "failed")]))
    for task in lost:
        (task.folder(study) / "done.json").unlink()
    with pytest.raises(StudyError, match="only seed 0 is finished: 1 model failed, the others are not affected"):
        complete(study)


def test_without_a_full_model_the_curve_is_drawn_and_nothing_is_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "study"
    study = write_study(tmp_path, probe={"depths": [0], "start": "teacher"}, distill={})
    real = tasks.train_and_rank

    def failing(job: ModelJob, *others: Any) -> None:
        if job.point.depth == 4:
            raise TrainingDiverged("loss became nan")
        real(job, *others)

    monkeypatch.setattr(tasks, "train_and_rank", failing)
    assert main(["run", str(study), "--out", str(folder)]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("layerprobe: error: nothing can be decided without the full model: 1 model failed")
    assert set(pd.read_csv(folder / "slices.csv").query("kind == 'variant'")["depth"]) == {0}
    assert not (folder / "slice_differences.csv").exists()


def test_the_time_left_follows_from_models_that_ended_here(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = opened(tmp_path, copied, depths=[0, 1, 2, 3])
    tasks = tasks_of(study)
    board = Board(study, tasks, left=tasks, slots=1)
    metrics = read_json(copied / "teacher" / "metrics.json")
    write_json(copied / "teacher" / "metrics.json", {**metrics, "train_seconds": 410})
    board.say_start()
    board.end(Ended(Step(tasks[0]), None, 10.0))  # 10 at depth 0 and the teacher's 410 at 4: 100 a layer
    board.end(Ended(Step(tasks[1]), None, 70.0))  # 10 at depth 0 and 70 at 1: the teacher does not count any more
    board.end(Ended(Step(tasks[2]), "MemoryError", 1.0))  # tells nothing of time
    board.end(Ended(Step(tasks[3]), None, 190.0))
    about = [10 + 100 + 10 + 200 + 10 + 300, 10 + 120 + 10 + 180, 10 + 180]
    assert capsys.readouterr().err.splitlines() == [
        "sweep: 0 of 4 done",
        f"sweep: 1 of 4 done, about {about[0] / 60:.0f} min left",
        f"sweep: 2 of 4 done, about {about[1] / 60:.0f} min left",
        f"sweep: 2 of 4 done, 1 failed, about {about[2] / 60:.0f} min left",
        "sweep: 3 of 4 done, 1 failed",
    ]
