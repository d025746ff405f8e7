"""The board of a sweep: how many models are done, how many failed, and about how long the rest takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from layerprobe import wording
from layerprobe.store.layout import CHECKPOINT
from layerprobe.store.model_record import read_model_record
from layerprobe.study.study import Study
from layerprobe.sweep.halving import candidates, rungs
from layerprobe.sweep.tasks import Ended, Task
from layerprobe.training.checkpoint import saved_progress
from layerprobe.training.log import say


class Board:
    """Counts finished models and prints the progress and the time that is left.

    A whole training is assumed to take a + b * depth seconds, fitted to the models that ended in this run. Until two
    depths have ended, the teacher's training is used for the second. Models of earlier runs do not count: they may have
    been trained at another speed.

    Args:
        study: the study of the sweep.
        tasks: all models of the sweep.
        left: the models that are not done.
        slots: number of models that are trained at once.
    """

    def __init__(self, study: Study, tasks: Sequence[Task], left: Sequence[Task], slots: int) -> None:
        self.study, self.slots = study, slots
        self.total, self.done, self.n_stopped = len(tasks), len(tasks) - len(left), 0
        self.failed: list[Task] = []
        self.epochs = study.spec.training.epochs
        self.at = {task: saved_progress(task.folder(study) / CHECKPOINT).epoch for task in left}
        self.samples: list[tuple[int, float]] = []
        self.halving = study.spec.probe.halving
        self.candidates = candidates(study)

    def say_start(self) -> None:
        """Prints how many models are done at the start."""
        say(f"sweep: {self.done} of {self.total} done")

    def stop(self, tasks: Sequence[Task]) -> None:
        """Removes tasks that halving has stopped."""
        self.n_stopped += len(tasks)
        for task in tasks:
            self.at.pop(task, None)

    def end(self, ended: Ended, beside: str = "") -> None:
        """Counts a step that has ended and prints the progress."""
        task, until = ended.step.task, ended.step.until
        share = ((until or self.epochs) - self.at[task]) / self.epochs
        if ended.error is not None:
            self.failed.append(task)
        elif share > 0:
            self.samples.append((task.selection.depth, ended.seconds / share))
        if ended.error is None and until is not None:
            self.at[task] = until
        else:
            del self.at[task]
            self.done += ended.error is None
        say(self._line(beside))

    def _line(self, beside: str) -> str:
        failed = f", {len(self.failed)} failed" if self.failed else ""
        stopped = f", {self.n_stopped} stopped by halving" if self.n_stopped else ""
        left = f", about {wording.about(self.seconds_left())} left" if self.at and self.samples else ""
        return f"sweep: {self.done} of {self.total} done{failed}{stopped}{beside}{left}"

    def seconds_left(self) -> float:
        """Returns about how many seconds the rest takes; at least one step must have ended."""
        samples = list(self.samples)
        if len({depth for depth, _ in samples}) < 2:
            samples.append((self.study.n_layers, read_model_record(self.study.layout.teacher).train_seconds))
        fixed, per_layer = fitted_line(samples)
        whole = sum(self._share(task) * (fixed + per_layer * task.selection.depth) for task in self.at)
        return whole / max(1, min(self.slots, len(self.at)))

    def _share(self, task: Task) -> float:
        """Returns the expected share of a training, given that halving may stop it."""
        halving = self.halving if task.control is None and task.selection in self.candidates else None
        keep = 1.0 if halving is None else halving.keep
        return expected_share(self.at[task], rungs(halving, self.epochs), keep, self.epochs)


def fitted_line(samples: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Returns a and b of seconds = a + b * depth, neither negative, by least squares.

    >>> [round(value, 6) for value in fitted_line([(0, 3.0), (2, 7.0), (4, 11.0)])]
    [3.0, 2.0]
    """
    depths = np.array([[1.0, depth] for depth, _ in samples])
    (fixed, per_layer), _ = nnls(depths, np.array([seconds for _, seconds in samples]))
    return float(fixed), float(per_layer)


def expected_share(at: int, choices: Sequence[int], keep: float, epochs: int) -> float:
    """Returns the share of a whole training that a model will still take, each choice passed with probability `keep`.

    >>> expected_share(0, [], 1.0, 8), expected_share(6, [], 1.0, 8), expected_share(0, [1, 2, 4], 0.5, 8)
    (1.0, 0.25, 0.3125)
    """
    share, chance = 0.0, 1.0
    for epoch in [*(choice for choice in choices if choice > at), epochs]:
        share += chance * (epoch - at) / epochs
        at, chance = epoch, chance * keep
    return share
