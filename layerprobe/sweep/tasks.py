"""The models of a sweep: variants and their control twins, one training each, and how each ended.

Takes a study whose teacher is trained; each task writes its own model folder as soon as it ends. A failed one leaves
`failed.json` there, one that halving stopped `halted.json`; in a folder with `done.json` both are ignored.
"""

from __future__ import annotations

import traceback
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from layerprobe import processes
from layerprobe.backbone.selection import LayerSelection
from layerprobe.errors import NoSpace, StudyError, TrainingDiverged
from layerprobe.store.atomic import write_json
from layerprobe.store.layout import FAILED, HALTED
from layerprobe.store.run_folder import DONE
from layerprobe.study.jobs.recommenders import control_job, variant_job
from layerprobe.study.study import Study
from layerprobe.training.engine import release_memory
from layerprobe.training.log import say
from layerprobe.training.model_folder import ModelJob, train_and_rank, train_until

State = Literal["done", "failed", "halted", "left"]
SURVIVED = (StudyError, MemoryError, RuntimeError)
"""Errors of one model that do not affect the others; `torch.OutOfMemoryError` is a `RuntimeError`."""
SURVIVED_TOGETHER = (TrainingDiverged,)
"""The same in a launch of several processes: errors that all raise at the same step, since they share its losses."""


@dataclass(frozen=True)
class Task:
    """One model of the sweep.

    Attributes:
        selection: layers it keeps.
        seed: training seed.
        control: the control arm that the twin belongs to; None is the variant itself.
    """

    selection: LayerSelection
    seed: int
    control: str | None = None

    @property
    def label(self) -> str:
        """Its name in progress lines."""
        return f"{self.control or 'variant'} {self.selection} seed {self.seed}"

    def folder(self, study: Study) -> Path:
        """Returns its model folder."""
        if self.control is None:
            return study.variant_folder(self.selection, self.seed)
        return study.control_folder(self.control, self.selection, self.seed)

    def job(self, study: Study) -> ModelJob:
        """Describes its training."""
        if self.control is None:
            return variant_job(study, self.selection, self.seed)
        return control_job(study, self.control, self.selection, self.seed)

    def state(self, study: Study) -> State:
        """Returns how it ended, read from its folder."""
        folder = self.folder(study)
        if (folder / DONE).exists():
            return "done"
        if (folder / FAILED).exists():
            return "failed"
        return "halted" if (folder / HALTED).exists() else "left"


@dataclass(frozen=True)
class Step:
    """A task, and the epoch it is trained to; None trains to the end and ranks."""

    task: Task
    until: int | None = None


@dataclass(frozen=True)
class Ended:
    """A step that has ended: its error if it failed, and the seconds it took."""

    step: Step
    error: str | None
    seconds: float


@dataclass(frozen=True)
class Failure:
    """Content of `failed.json`.

    Attributes:
        what: the model.
        error: kind and text of the error, one line.
        traceback: where it was raised.
        when: UTC, ISO 8601.
    """

    what: str
    error: str
    traceback: str
    when: str

    @staticmethod
    def of(what: str, error: BaseException) -> Failure:
        """Describes an error that has just been caught."""
        text = " ".join(f"{type(error).__name__}: {error}".split())
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return Failure(what, text, "".join(traceback.format_exception(error)), now)

    def write(self, folder: Path) -> None:
        """Writes `failed.json` and prints a line."""
        write_json(folder / FAILED, asdict(self))
        say(f"{self.what}: failed, {self.error}; see {folder / FAILED}")


def sweep_tasks(study: Study) -> list[Task]:
    """Returns every model of the sweep once, in the order of training; without the teacher, which is trained before."""
    spec = study.spec.probe
    tasks = [Task(selection, seed) for seed in spec.seeds for selection in study.selections]
    tasks = [task for task in tasks if task.folder(study) != study.layout.teacher]
    for control in spec.controls:
        tasks += [Task(selection, seed, control) for seed in spec.seeds for selection in study.control_selections]
    return tasks


def attempt(study: Study, step: Step) -> str | None:
    """Trains a task to its end or to an epoch. Every process must call it.

    Returns:
        None, or the error that `failed.json` holds now.

    Raises:
        InputError: the user's input is wrong, so the others would fail as well.
        NoSpace: the disk is full, so the others could not be written either.
    """
    job = step.task.job(study)
    survived = SURVIVED if processes.count() == 1 else SURVIVED_TOGETHER
    try:
        if step.until is None:
            train_and_rank(job, study.ranking, study.tracking)
        else:
            train_until(job, step.until, study.ranking, study.tracking)
    except NoSpace:
        raise
    except survived as error:
        failure = Failure.of(step.task.label, error)
    else:
        processes.on_main(lambda: (job.folder / FAILED).unlink(missing_ok=True))
        return None
    processes.on_main(lambda: failure.write(job.folder))  # first: a broken device also fails at the next line
    release_memory()
    return failure.error


def failed_line(study: Study) -> str | None:
    """Names the failed models of the sweep and the files of their errors; None where none failed."""
    failed = [task for task in sweep_tasks(study) if task.state(study) == "failed"]
    if not failed:
        return None
    names = ", ".join(f"{task.label} ({task.folder(study) / FAILED})" for task in failed)
    models = "model" if len(failed) == 1 else "models"
    return f"{len(failed)} {models} failed, the others are not affected: {names}; run the same command to try again"
