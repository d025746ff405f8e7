"""One training loop for every model: SASRec, teachers, variants and students.

Takes a `SequenceModel`, training batches and an objective; hands on the best parameters by valid NDCG@10 as
`checkpoint/model.safetensors` with `log.jsonl` beside it. A training that was killed at any moment can be resumed and
ends with the same result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from layerprobe import processes
from layerprobe.data.train_batches import TrainBatches
from layerprobe.errors import TrainingDiverged
from layerprobe.recommender.losses import next_item_objective
from layerprobe.recommender.sequence_model import SequenceModel
from layerprobe.store.layout import CHECKPOINT, MODEL
from layerprobe.training.checkpoint import keep_best, load_model, load_resume, save_best, save_resume
from layerprobe.training.engine import Engine, Objective
from layerprobe.training.log import VALID, TrainingLog, say, shown
from layerprobe.training.options import TrainingOptions, learning_rate_at
from layerprobe.training.tracking import UNTRACKED, Tracking

Validate = Callable[[SequenceModel], float]
SAVE_SECONDS = 60.0
LOG_EVERY = 20


@dataclass(frozen=True)
class FitResult:
    """Result of a training. `best_valid` is NDCG@10 (full ranking) of validation users at `best_epoch`."""

    best_epoch: int
    best_valid: float
    epochs: int
    steps: int
    train_seconds: float


@dataclass
class Trainer:
    """Trains `model` in place; `run` leaves it with its best parameters, in evaluation mode.

    Attributes:
        model: what is trained; only parameters that require gradients change.
        batches: training batches, seeded.
        options: rates, epochs, early stop.
        validate: returns the valid NDCG@10 that picks the best epoch; called once before training too.
        folder: where `checkpoint/` and `log.jsonl` are written.
        objective: returns the loss terms of a batch, `loss` among them; all are logged.
        label: name of this training in progress lines.
        spec: everything the result depends on, as plain values; a half-trained model of another one is never resumed.
        defaults: defaults of the options in `spec`, for a half-trained model of an older version.
        tracking: trackers that get the rows of the log too.
    """

    model: SequenceModel
    batches: TrainBatches
    options: TrainingOptions
    validate: Validate
    folder: Path
    objective: Objective = next_item_objective
    label: str = "training"
    spec: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    tracking: Tracking = UNTRACKED

    def __post_init__(self) -> None:
        self.engine = Engine(self.model, self.objective, self.options)
        self.steps_per_epoch = len(self.batches.plan(0))

    def run(self) -> FitResult:
        """Trains to the end or to the early stop, from the last saved point if there is one."""
        self._train(self.options.epochs)
        return self._finish(self.folder / CHECKPOINT)

    def pause_after(self, epochs: int) -> None:
        """Trains like `run` until `epochs` epochs are done, and leaves the saved point from which `run` resumes.

        Rates and batches are those of the whole training, so a paused model ends with the same bits as any other.
        """
        self._train(min(epochs, self.options.epochs))
        self.engine.close()

    def _train(self, epochs: int) -> None:
        checkpoint = self.folder / CHECKPOINT
        processes.wait()  # nobody reads the saved point while another process still writes it
        self.progress = load_resume(checkpoint, self.model, self.engine.optimizer, self.spec, self.defaults)
        self.log = TrainingLog(self.folder, self.progress.log_rows)
        with closing(self.tracking.start(self.label, self.spec)) as self.tracked:
            if self.progress.log_rows:
                say(f"{self.label}: resumed at step {self.progress.step}")
            else:
                self._after_epoch(checkpoint)  # untrained: the pipeline works, and a best model exists from the start
            while self.progress.epoch < epochs and not self.progress.stopped:
                self._epoch(checkpoint)
                self._after_epoch(checkpoint)

    def _epoch(self, checkpoint: Path) -> None:
        self.model.train()
        plan = self.batches.plan(self.progress.epoch)
        done = self.progress.step - self.progress.epoch * self.steps_per_epoch  # steps of this epoch before a resume
        label = f"{self.label}, epoch {self.progress.epoch + 1} of {self.options.epochs}"
        started = saved = time.monotonic()
        for examples in shown(plan[done:], len(plan), label, done):
            self._step(examples)
            now = time.monotonic()
            self.progress.train_seconds += now - started
            started = now
            if self._is_time(now - saved):
                self._save(checkpoint)
                saved = started = time.monotonic()  # the time of saving is no time of training
        self.progress.epoch += 1

    def _is_time(self, since: float) -> bool:
        """Tells whether to save; all processes must save a sharded model together, so they agree on the moment."""
        return processes.agreed(lambda: since > SAVE_SECONDS) if self.engine.sharded else since > SAVE_SECONDS

    def _step(self, examples: np.ndarray) -> None:
        step = self.progress.step
        rate = learning_rate_at(step, self.options.epochs * self.steps_per_epoch, self.options)
        portions = self.batches.portions(examples, processes.index(), processes.count(), step)
        # The seed is a function of the step, so a resumed training draws the same dropout masks.
        values = self.engine.backward(portions, self.batches.seed * 1_000_003 + step)
        self._check(values, rate)  # before the update: parameters that are not finite are never saved
        self.engine.update(rate)
        self.progress.step += 1
        if step % LOG_EVERY == 0:
            row = {"step": step, "epoch": self.progress.epoch + 1, **values, "lr": rate}
            self._log(row)

    def _check(self, values: dict[str, float], rate: float) -> None:
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            raise TrainingDiverged(
                f"{self.label}: {', '.join(bad)} became {values[bad[0]]} at step {self.progress.step}, learning rate "
                f"{rate:.3g}; try a learning rate of {rate / 3:.1g}, more warm-up steps or a smaller max_grad_norm"
            )

    def _after_epoch(self, checkpoint: Path) -> None:
        score = self.validate(self.engine.readable())
        valid = processes.agreed(lambda: score)  # one decision for all, even if a last bit differs
        if valid > self.progress.best_valid:
            self.progress.best_valid, self.progress.best_epoch = valid, self.progress.epoch
            # Before the resume file that names it, which is written at the end of this function.
            save_best(checkpoint, self.model, self.progress.epoch)
        waited = self.progress.epoch - self.progress.best_epoch
        self.progress.stopped = self.options.patience is not None and waited >= self.options.patience
        self._log({"epoch": self.progress.epoch, VALID: valid})
        seconds = self.progress.train_seconds
        say(f"{self.label}: epoch {self.progress.epoch}, valid NDCG@10 {valid:.4f}, {seconds:.0f} s")
        self._save(checkpoint)

    def _log(self, row: dict[str, Any]) -> None:
        row = row | {"seconds": self.progress.train_seconds}
        self.log.write(row)
        self.tracked.log(row, row.get("step", self.progress.step))

    def _save(self, checkpoint: Path) -> None:
        self.progress.log_rows = self.log.rows
        save_resume(checkpoint, self.model, self.engine.optimizer, self.progress, self.spec)

    def _finish(self, checkpoint: Path) -> FitResult:
        processes.on_main(lambda: keep_best(checkpoint, self.progress.best_epoch))
        load_model(checkpoint / MODEL, self.model)
        self.model.eval()
        self.engine.close()
        progress = self.progress
        return FitResult(
            progress.best_epoch, progress.best_valid, progress.epoch, progress.step, round(progress.train_seconds, 3)
        )
