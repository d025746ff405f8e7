"""The sweep: trains every variant and control twin that is left, by an executor, and prints the progress.

A model that fails does not stop the others. Takes a study whose teacher is trained, writes model folders.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

from layerprobe import processes
from layerprobe.backbone.selection import LayerSelection
from layerprobe.store.layout import FAILED, HALTED
from layerprobe.study.study import Study
from layerprobe.sweep.board import Board
from layerprobe.sweep.halving import Choice, candidates, rungs
from layerprobe.sweep.tasks import Ended, Step, Task, attempt, sweep_tasks
from layerprobe.training.model_folder import has_reached, is_finished


class Executor(Protocol):
    """Carries out the steps of a sweep, here or elsewhere."""

    @property
    def slots(self) -> int:
        """How many models are trained at once."""
        ...

    def run(self, study: Study, steps: Sequence[Step]) -> Iterator[Ended]:
        """Carries out the steps in any order and yields each when it has ended.

        Raises:
            InputError: the user's input is wrong.
        """
        ...


class LocalExecutor:
    """Trains one model after the other in this process, or in all processes of a launch together."""

    slots = 1

    def run(self, study: Study, steps: Sequence[Step]) -> Iterator[Ended]:
        """Carries out the steps in the order given."""
        for step in steps:
            started = time.monotonic()
            error = attempt(study, step)
            yield Ended(step, error, time.monotonic() - started)


def run_sweep(study: Study, executor: Executor) -> None:
    """Trains every model of the sweep to its end, or until it fails or halving stops it.

    Every process must call it. Finished models are checked and skipped; models that failed before are tried again.

    Raises:
        InputError: the user's input is wrong; a finished model was changed, or has another specification.
    """
    _Sweep(study, executor).run()


class _Sweep:
    """One run of the sweep: the tasks that are left, and the board they are counted on."""

    def __init__(self, study: Study, executor: Executor) -> None:
        self.study, self.executor = study, executor
        self.tasks = sweep_tasks(study)
        done = processes.agreed(lambda: [is_finished(task.job(study)) for task in self.tasks])
        self.left = [task for task, finished in zip(self.tasks, done, strict=True) if not finished]
        processes.on_main(lambda: self._forget([task for task in self.tasks if task not in self.left], FAILED, HALTED))
        self.board = Board(study, self.tasks, self.left, executor.slots)

    def run(self) -> None:
        if not self.left:
            return
        self.board.say_start()
        for selection in self._halved():
            self._leave_out(selection)
        processes.on_main(lambda: self._forget(self.left, HALTED))
        self._do([Step(task) for task in self.left])

    def _halved(self) -> list[LayerSelection]:
        """Trains the candidates from choice to choice and returns the selections that were stopped."""
        options, seeds = self.study.spec.probe.halving, self.study.spec.probe.seeds
        going, stopped = candidates(self.study), []
        for epoch in rungs(options, self.study.spec.training.epochs):
            assert options is not None
            tasks = [Task(selection, seed) for seed in seeds for selection in going]
            self._do(self._short_of(tasks, epoch), f"at epoch {epoch}")
            # A selection with a failed seed cannot be compared, and its other seeds are trained to the end.
            going = [
                selection
                for selection in going
                if not any(Task(selection, seed) in self.board.failed for seed in seeds)
            ]
            choice = processes.agreed(partial(Choice.of, self.study, going, epoch, options.keep))
            # Models that were finished before are kept.
            halted = [
                selection for selection in choice.stopped if any(Task(selection, seed) in self.left for seed in seeds)
            ]
            processes.on_main(partial(choice.record, self.study, halted))
            stopped += halted
            going = [selection for selection in going if selection in choice.kept]
        return stopped

    def _short_of(self, tasks: list[Task], epoch: int) -> list[Step]:
        """Returns the steps that train tasks to an epoch, without those that have reached it."""
        left = [task for task in tasks if task in self.left]
        there = processes.agreed(lambda: [has_reached(task.job(self.study), epoch) for task in left])
        return [Step(task, epoch) for task, reached in zip(left, there, strict=True) if not reached]

    def _leave_out(self, selection: LayerSelection) -> None:
        """Removes the variants and twins of a stopped selection from the tasks that are left."""
        gone = [task for task in self.left if task.selection == selection]
        self.board.stop(gone)
        processes.on_main(lambda: self._forget(gone, FAILED))
        self.left = [task for task in self.left if task not in gone]

    def _do(self, steps: list[Step], where: str = "") -> None:
        waiting = [step for step in steps if step.task not in self.board.failed]
        for count, ended in enumerate(self.executor.run(self.study, waiting), 1):
            self.board.end(ended, f", {count} of {len(waiting)} {where}" if where else "")

    def _forget(self, tasks: list[Task], *names: str) -> None:
        """Removes records of failed or stopped tasks that are out of date."""
        for task in tasks:
            for name in names:
                (task.folder(self.study) / name).unlink(missing_ok=True)
