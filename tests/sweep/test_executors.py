"""Executors: what is refused before anything runs, and what Ray's executor does with the answers of its workers.

Ray itself is not needed here: a stand-in does the tasks in this process. `test_ray.py` takes the real one.
"""

from __future__ import annotations

import dataclasses
import socket
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_study import write_study

from layerprobe import processes
from layerprobe.cli.main import main
from layerprobe.errors import InputError, StudyError
from layerprobe.store.atomic import read_json
from layerprobe.study.parser import load_spec, spec_of
from layerprobe.study.spec import to_plain
from layerprobe.study.study import Study
from layerprobe.sweep import ray_executor
from layerprobe.sweep.ray_executor import Place, RayExecutor, Reply, alone, train_on_worker
from layerprobe.sweep.tasks import Step, Task


class RayError(Exception):
    """Stands for each of Ray's own errors."""


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """A task that was handed in."""

    function: Any
    arguments: tuple


class FakeRay:
    """Does a task when its answer is asked for."""

    exceptions = types.SimpleNamespace(
        WorkerCrashedError=type("WorkerCrashedError", (RayError,), {}),
        OutOfMemoryError=type("OutOfMemoryError", (RayError,), {}),
        NodeDiedError=type("NodeDiedError", (RayError,), {}),
        LocalRayletDiedError=type("LocalRayletDiedError", (RayError,), {}),
        RaySystemError=type("RaySystemError", (RayError,), {}),
        RayError=RayError,
    )

    def __init__(self, resources: dict[str, float] | None = None) -> None:
        self.resources = resources or {"CPU": 3.0}
        self.cancelled: list[object] = []
        self.options: dict[str, object] = {}
        self.order: list[str] = []

    def init(self, address: str, **_options: object) -> None:
        assert address == "auto"

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def remote(self, function: Any) -> Any:
        def options(**told: object) -> Any:
            self.options = told
            return types.SimpleNamespace(remote=lambda *arguments: Reference(function, arguments))

        return types.SimpleNamespace(options=options)

    def wait(self, references: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        return references[:num_returns], references[num_returns:]

    def get(self, reference: Any) -> Reply:
        self.order.append(reference.arguments[1])
        return reference.function(*reference.arguments)

    def cancel(self, reference: object, force: bool) -> None:
        assert force
        self.cancelled.append(reference)

    def shutdown(self) -> None:
        pass


@pytest.fixture
def study(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The finished study with a depth more to train; what a worker changes in its process is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "set_num_threads", lambda _n: None)
    monkeypatch.setattr(ray_executor, "SEES_SECONDS", 0.0)
    return Study(load_spec(write_study(tmp_path, probe={"depths": [0, 1, 2]}), []), copied)


def step_of(study: Study, depth: int) -> Step:
    return Step(Task(next(each for each in study.selections if each.depth == depth), 0))


def connected(ray: FakeRay, monkeypatch: pytest.MonkeyPatch, address: str = "") -> RayExecutor:
    monkeypatch.setattr(ray_executor, "find_spec", lambda _name: object())
    monkeypatch.setattr(ray_executor, "import_module", lambda _name: ray)
    monkeypatch.setenv("RAY_ADDRESS", address)
    return RayExecutor.connect()


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    out = tmp_path / "study"
    assert main(["run", str(write_study(tmp_path)), "--out", str(out), "--executor", "ray", *more]) == 2
    assert not out.exists()
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_ray_that_is_absent_is_said_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ray_executor, "find_spec", lambda _name: None)
    line = "--executor ray needs Ray, which is not installed; run `pip install 'layerprobe[ray]'`"
    assert line in refused(tmp_path, capsys)


def test_a_cluster_that_is_not_there_is_said_with_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Alone(FakeRay):
        def init(self, **_options: object) -> None:
            raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(ray_executor, "find_spec", lambda _name: object())
    monkeypatch.setattr(ray_executor, "import_module", lambda _name: Alone())
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert "found no Ray cluster: start a cluster by `ray start --head`" in refused(tmp_path, capsys)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert f"reaches no Ray cluster at {address}" in refused(tmp_path, capsys)


def test_options_that_do_not_go_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--dry-run measures only this machine: leave --executor ray out" in refused(tmp_path, capsys, "--dry-run")
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "join", lambda: None)
    monkeypatch.setattr(processes, "is_main", lambda: True)
    assert "trains each model in one process, and 2 were launched" in refused(tmp_path, capsys)


def test_other_stages_know_no_executor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["teach", str(write_study(tmp_path)), "--out", str(tmp_path / "s"), "--executor", "ray"]) == 2
    assert "executor" in capsys.readouterr().err


@pytest.mark.parametrize(("resources", "slots", "gpus"), [({"CPU": 3.0}, 3, 0), ({"CPU": 16.0, "GPU": 2.0}, 2, 1)])
def test_a_model_takes_a_gpu_where_there_are_any_else_a_processor(
    resources: dict, slots: int, gpus: int, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = FakeRay(resources)
    executor = connected(ray, monkeypatch)
    assert executor.slots == slots
    list(executor.run(study, []))
    assert {name: ray.options[name] for name in ("num_cpus", "num_gpus")} == {"num_cpus": 1, "num_gpus": gpus}


def test_tasks_write_what_a_local_training_writes(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    assert spec_of(to_plain(study.spec)) == study.spec
    ray = FakeRay()
    steps = [step_of(study, 1), step_of(study, 2)]
    ended = list(connected(ray, monkeypatch).run(study, steps))
    assert ray.order == ["first:2", "first:1"]  # the deepest first
    assert {(each.step, each.error) for each in ended} == {(step, None) for step in steps}
    assert all(step.task.state(study) == "done" for step in steps)
    assert not list(study.folder.rglob("*.tmp"))


def test_a_worker_that_dies_again_and_again_is_a_failed_model(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay()
    monkeypatch.setattr(ray, "get", lambda _reference: (_ for _ in ()).throw(ray.exceptions.NodeDiedError("gone")))
    (ended,) = connected(ray, monkeypatch).run(study, [step_of(study, 1)])
    assert ended.error == "its worker died 4 times: gone"
    assert read_json(step_of(study, 1).task.folder(study) / "failed.json")["error"] == ended.error


@pytest.mark.parametrize(
    ("reply", "kind", "message"),
    [
        (Reply(None, "take another", 0.0), InputError, "variant first:2 seed 0, on a Ray worker: take another"),
        (Reply(None, None, 0.0), StudyError, "was trained by a Ray worker but is not in"),
        (FakeRay.exceptions.LocalRayletDiedError(), StudyError, "the Ray cluster is gone"),
        (RayError("a\nb"), StudyError, "first:2 seed 0, on the Ray cluster: RayError: a b; finished models are kept"),
    ],
)
def test_what_stops_the_others_cancels_them(
    reply: Reply | RayError, kind: type, message: str, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = FakeRay()

    def get(_reference: object) -> Reply:
        if isinstance(reply, RayError):
            raise reply
        return reply

    (step_of(study, 2).task.folder(study) / "done.json").unlink()
    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(ray_executor, "APPEARS_SECONDS", 0.0)
    with pytest.raises(kind, match=message):
        list(connected(ray, monkeypatch).run(study, [step_of(study, 1), step_of(study, 2)]))
    assert len(ray.cancelled) == 1
    assert not list(study.folder.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token": "another"}, "does not see the study's folder"),
        ({"folder": "/nowhere/study"}, "does not see the study's folder /nowhere/study; put --out on storage"),
        ({"versions": ("0", "1")}, "and the study runs on layerprobe 0 with torch 1; install the same on every node"),
        ({"precision": "bf16"}, "would train with mixed precision no and the study with bf16"),
        ({"working": "/nowhere"}, "has no folder /nowhere, from which the study was started"),
        ({"content": {"sha256": "0"}}, "has other weights"),
    ],
)
def test_a_node_that_would_compute_something_else_is_refused(change: dict, message: str, study: Study) -> None:
    place = dataclasses.replace(Place.of(study), **change)
    reply = train_on_worker(place, "first:1", 0, None, None)
    assert reply.error is None
    assert message in (reply.refused or "")
    assert not step_of(study, 1).task.folder(study).exists()


def test_no_two_processes_write_one_folder(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    task = step_of(study, 1).task
    with alone(study, task) as first:
        assert first
        with alone(study, task, patience=0) as second:
            assert not second
        monkeypatch.setattr(alone.__wrapped__, "__defaults__", (0.0,))
        reply = train_on_worker(Place.of(study), "first:1", 0, None, None)
        assert reply.error == f"StudyError: another process still writes {task.folder(study)}"
        assert not (task.folder(study) / "log.jsonl").exists()
    with alone(study, task, patience=0) as third:
        assert third
