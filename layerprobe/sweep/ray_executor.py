"""The models of a sweep on an existing Ray cluster: one task each, started again when its worker dies.

A task gets the study's spec as plain values and its absolute folder, which every node must see, and writes the same
model folder that a local training would. Ray is loaded only here and only when it is asked for.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import torch

from layerprobe import __version__
from layerprobe.errors import InputError, StudyError
from layerprobe.store.atomic import remove_rests, write_text
from layerprobe.store.run_folder import DONE
from layerprobe.study.parser import spec_of
from layerprobe.study.spec import to_plain
from layerprobe.study.study import Study
from layerprobe.sweep.tasks import Ended, Failure, Step, Task, attempt
from layerprobe.training.engine import mixed_precision
from layerprobe.training.log import quiet_libraries

RESTARTS = 3
"""How often a model is started again after its worker died; it resumes from its last saved state."""
REACHED_SECONDS = 5.0
LOCK_SECONDS = 120.0
APPEARS_SECONDS = 90.0
SEES_SECONDS = 15.0
LOCKS = ".locks"
START = "start a cluster by `ray start --head` on this machine, or name one in RAY_ADDRESS"


@dataclass(frozen=True)
class Place:
    """What all nodes must share to run a task of the study.

    Attributes:
        spec: the study's spec as plain values.
        folder: the study's absolute folder.
        working: folder that relative paths of the spec start from.
        token: name of a file in the study's folder that no other folder has.
        versions: versions of layerprobe and torch.
        precision: mixed precision of this study.
        content: identifies the checkpoint's weights: hashes, or the commit on the hub.
    """

    spec: dict[str, Any]
    folder: str
    working: str
    token: str
    versions: tuple[str, str]
    precision: str
    content: dict[str, str]

    @staticmethod
    def of(study: Study) -> Place:
        """Describes a study of this process and writes its token."""
        token = f".ray-{secrets.token_hex(16)}.tmp"
        write_text(study.folder / token, "")
        return Place(
            to_plain(study.spec),
            str(study.folder.resolve()),
            os.getcwd(),
            token,
            _versions(),
            mixed_precision(),
            study.content,
        )


@dataclass(frozen=True)
class Reply:
    """What a task sends back: the model's error, or what the user has to change, or neither; and its seconds."""

    error: str | None
    refused: str | None
    seconds: float


@dataclass
class RayExecutor:
    """Hands steps to a cluster, each to a GPU where it has any, else to one CPU.

    Attributes:
        ray: the package, connected.
        on_gpu: whether the cluster has GPUs.
        slots: how many of them, or of CPUs, there are now; nodes may come and go.
    """

    ray: Any
    on_gpu: bool
    slots: int

    @staticmethod
    def connect() -> RayExecutor:
        """Connects to the cluster of RAY_ADDRESS, or to the one that this machine belongs to.

        Raises:
            InputError: Ray is not installed, or there is no cluster.
        """
        if find_spec("ray") is None:
            raise InputError("--executor ray needs Ray, which is not installed; run `pip install 'layerprobe[ray]'`")
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # else lines of two models that are alike count as one
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")  # else each line has colour codes, in a file too
        ray: Any = import_module("ray")
        _require_listener(os.environ.get("RAY_ADDRESS", ""))
        try:
            ray.init(address="auto", logging_level=logging.ERROR)
        except ConnectionError as error:
            raise InputError(f"--executor ray found no Ray cluster: {START}") from error
        there = ray.cluster_resources()
        gpus = int(there.get("GPU", 0))
        return RayExecutor(ray, gpus > 0, gpus or max(1, int(there.get("CPU", 1))))

    def run(self, study: Study, steps: Sequence[Step]) -> Iterator[Ended]:
        """Does the steps in the cluster, the deepest models first, and yields each when it is over.

        Raises:
            InputError: a node cannot do its part, or the user's input is at fault; the others are cancelled.
            StudyError: the cluster is gone, or a task ended with an error that the sweep does not survive.
        """
        place = Place.of(study)
        remote = self.ray.remote(train_on_worker).options(
            num_cpus=1, num_gpus=int(self.on_gpu), max_retries=RESTARTS, name="layerprobe"
        )
        ordered = sorted(steps, key=lambda step: -step.task.selection.depth)
        waiting = {remote.remote(place, *_plain(step)): step for step in ordered}
        try:
            while waiting:
                (ready,), _ = self.ray.wait(list(waiting), num_returns=1)
                yield self._ended(study, waiting.pop(ready), ready)
        finally:
            for task in waiting:
                self.ray.cancel(task, force=True)
            (study.folder / place.token).unlink(missing_ok=True)

    def _ended(self, study: Study, step: Step, reference: object) -> Ended:
        errors = self.ray.exceptions
        try:
            reply: Reply = self.ray.get(reference)
        except (errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError) as error:
            failure = replace(
                Failure.of(step.task.label, error), error=f"its worker died {RESTARTS + 1} times: {error}"
            )
            failure.write(step.task.folder(study))
            return Ended(step, failure.error, 0.0)
        except (errors.LocalRayletDiedError, errors.RaySystemError) as error:
            raise StudyError(
                f"the Ray cluster is gone ({error}); finished models are kept: run the same command"
            ) from error
        except errors.RayError as error:
            cause = getattr(error, "cause", None) or error
            said = " ".join(f"{type(cause).__name__}: {cause}".split())
            raise StudyError(f"{step.task.label}, on the Ray cluster: {said}; finished models are kept") from error
        if reply.refused is not None:
            raise InputError(f"{step.task.label}, on a Ray worker: {reply.refused}")
        if reply.error is None and step.until is None and not _appears(step.task.folder(study) / DONE, APPEARS_SECONDS):
            raise StudyError(f"{step.task.label} was trained by a Ray worker but is not in {study.folder}")
        return Ended(step, reply.error, reply.seconds)

    def close(self) -> None:
        """Disconnects from the cluster, once the workers' last lines have arrived."""
        time.sleep(0.5)  # they come by way of their node's log files, which are read a few times a second
        self.ray.shutdown()


def _require_listener(address: str) -> None:
    """Makes sure that something listens at RAY_ADDRESS: Ray itself tries for minutes.

    Raises:
        InputError: nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), REACHED_SECONDS).close()
    except OSError as error:
        raise InputError(f"--executor ray reaches no Ray cluster at {address} ({error}): {START}") from error


def _appears(path: Path, patience: float) -> bool:
    """Waits for a file that another node has written: network storage may show it with a delay."""
    end = time.monotonic() + patience
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.5)
    return path.exists()


def _plain(step: Step) -> tuple[str, int, str | None, int | None]:
    return step.task.selection.text, step.task.seed, step.task.control, step.until


def _versions() -> tuple[str, str]:
    return __version__, torch.__version__


def train_on_worker(place: Place, selection: str, seed: int, control: str | None, until: int | None) -> Reply:
    """Does one step of the sweep; this runs in a worker of the cluster.

    Args:
        place: where the study lies and what must be equal everywhere.
        selection: text of the selection.
        seed: training seed.
        control: the arm, or None.
        until: epoch to train to, or None.
    """
    started = time.monotonic()
    error = refused = None
    try:
        study = _open(place)
        chosen = next(kept for kept in study.selections if kept.text == selection)
        error = _attempt_alone(study, Step(Task(chosen, seed, control), until))
    except InputError as refusal:
        refused = str(refusal)
    sys.stderr.flush()
    return Reply(error, refused, time.monotonic() - started)


def _attempt_alone(study: Study, step: Step) -> str | None:
    """Does a step where no other process does; returns its error."""
    folder = step.task.folder(study)
    with alone(study, step.task) as is_alone:
        if is_alone:
            remove_rests(folder)
            return attempt(study, step)
    failure = Failure.of(step.task.label, StudyError(f"another process still writes {folder}"))
    failure.write(folder)
    return failure.error


def _open(place: Place) -> Study:
    """Returns the study, after checking that this node sees the same folder and has the same software.

    Raises:
        InputError: it does not.
    """
    here, folder = socket.gethostname(), Path(place.folder)
    if not _appears(folder / place.token, SEES_SECONDS):
        raise InputError(
            f"the node {here} does not see the study's folder {folder}; put --out on storage that every node mounts at "
            "the same place"
        )
    if _versions() != place.versions:
        theirs, ours = (f"layerprobe {own} with torch {torch_}" for own, torch_ in (_versions(), place.versions))
        raise InputError(f"the node {here} has {theirs}, and the study runs on {ours}; install the same on every node")
    if mixed_precision() != place.precision:
        raise InputError(
            f"the node {here} would train with mixed precision {mixed_precision()} and the study with "
            f"{place.precision}, and models would not compare; set ACCELERATE_MIXED_PRECISION no everywhere"
        )
    _enter(place.working, here)
    quiet_libraries()
    torch.set_num_threads(1)  # as many as the task was given
    study = Study(spec_of(place.spec), folder)
    if study.content != place.content:
        raise InputError(f"the node {here} has other weights in {study.spec.backbone.checkpoint}; copy them there")
    return study


def _enter(working: str, here: str) -> None:
    if not Path(working).is_dir():
        raise InputError(
            f"the node {here} has no folder {working}, from which the study was started; start it from one that every "
            "node has"
        )
    os.chdir(working)


@contextmanager
def alone(study: Study, task: Task, patience: float = LOCK_SECONDS) -> Iterator[bool]:
    """Holds a lock on a model's folder, so that two attempts never write into it at once.

    The lock ends with the process that holds it, however that ends; on NFS once the server notices that the client is
    gone. Yields whether the lock was taken: false where another process has held it for `patience` seconds.

    Raises:
        InputError: the storage has no locks.
    """
    path = study.folder / LOCKS / str(task.folder(study).relative_to(study.folder)).replace("/", "-")
    path.parent.mkdir(exist_ok=True)
    end = time.monotonic() + patience
    with path.open("a") as held:
        while not (got := _locked(held, study.folder)) and time.monotonic() < end:
            time.sleep(0.2)
        yield got


def _locked(held: IO[str], folder: Path) -> bool:
    import fcntl  # not on Windows

    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise InputError(f"the storage of {folder} has no file locks ({error}); choose another --out") from error
    return True
