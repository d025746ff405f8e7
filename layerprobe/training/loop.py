"""One training loop for every model: SASRec, teachers, variants and students.

Takes a `SequenceModel`, training batches and an objective; hands on the best parameters by valid NDCG@10 as
`checkpoint/model.safetensors` with `log.jsonl` beside it. Killed at any moment, it goes on to the same result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState

from layerprobe.data.batches import SequenceBatch
from layerprobe.data.train_batches import TrainBatches
from layerprobe.errors import InputError, TrainingDiverged
from layerprobe.recommender.losses import next_item_objective
from layerprobe.recommender.sequence_model import SequenceModel
from layerprobe.training.checkpoint import BEST, MODEL, load_model, load_resume, save_best, save_resume
from layerprobe.training.log import TrainingLog, say, shown
from layerprobe.training.options import TrainingOptions, learning_rate_at

Objective = Callable[[SequenceModel, SequenceBatch], dict[str, torch.Tensor]]
Validate = Callable[[SequenceModel], float]
SAVE_SECONDS = 60.0
LOG_EVERY = 20


@dataclass(frozen=True)
class FitResult:
    """What a training came to. `best_valid` is NDCG@10 (full ranking) of validation users at `best_epoch`."""

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
        label: how progress lines call this training.
        key: hash of everything the result depends on; a half-trained model of another key is never gone on with.
    """

    model: SequenceModel
    batches: TrainBatches
    options: TrainingOptions
    validate: Validate
    folder: Path
    objective: Objective = next_item_objective
    label: str = "training"
    key: str = ""

    def __post_init__(self) -> None:
        self.accelerator = Accelerator(mixed_precision=_precision())
        if self.accelerator.num_processes > 1:
            raise InputError(
                f"training runs in one process for now; {self.accelerator.num_processes} were launched: "
                "start it without a launcher"
            )
        self.model.to(self.accelerator.device)
        self.optimizer = torch.optim.AdamW(
            _decay_groups(self.model, self.options.weight_decay),
            lr=self.options.learning_rate,
            betas=self.options.betas,
        )
        self.steps_per_epoch = len(self.batches.plan(0))

    def run(self) -> FitResult:
        """Trains to the end or to the early stop, from the last saved point if there is one."""
        checkpoint = self.folder / "checkpoint"
        self.progress = load_resume(checkpoint, self.model, self.optimizer, self.key)
        self.log = TrainingLog(self.folder, self.progress.log_rows)
        if self.progress.log_rows:
            say(f"{self.label}: goes on at step {self.progress.step}")
        else:
            self._after_epoch(checkpoint)  # untrained: the pipeline works, and a best model exists from the start
        while self.progress.epoch < self.options.epochs and not self.progress.stopped:
            self._epoch(checkpoint)
            self._after_epoch(checkpoint)
        return self._finish(checkpoint)

    def _epoch(self, checkpoint: Path) -> None:
        self.model.train()
        plan = self.batches.plan(self.progress.epoch)
        done = self.progress.step - self.progress.epoch * self.steps_per_epoch
        label = f"{self.label}, epoch {self.progress.epoch + 1} of {self.options.epochs}"
        started = saved = time.monotonic()
        for users in shown(plan[done:], len(plan), label, done):
            self._step(self.batches.build(users))
            now = time.monotonic()
            self.progress.train_seconds += now - started
            started = now
            if now - saved > SAVE_SECONDS:
                self._save(checkpoint)
                saved = started = time.monotonic()
        self.progress.epoch += 1

    def _step(self, batch: SequenceBatch) -> None:
        step = self.progress.step
        torch.manual_seed(self.batches.seed * 1_000_003 + step)
        rate = learning_rate_at(step, self.options.epochs * self.steps_per_epoch, self.options)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self.accelerator.autocast():
            terms = self.objective(self.model, batch.to(self.accelerator.device))
        self.accelerator.backward(terms["loss"])
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.max_grad_norm)
        values = {name: term.item() for name, term in terms.items()}
        self._check(values | {"grad_norm": norm.item()}, rate)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        if step % LOG_EVERY == 0:
            row = {"step": step, "epoch": self.progress.epoch + 1, **values, "lr": rate, "grad_norm": norm.item()}
            self.log.write(row | {"seconds": self.progress.train_seconds})

    def _check(self, values: dict[str, float], rate: float) -> None:
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            raise TrainingDiverged(
                f"{self.label}: {', '.join(bad)} became {values[bad[0]]} at step {self.progress.step}, learning rate "
                f"{rate:.3g}; try a learning rate of {rate / 3:.1g}, more warm-up steps or a smaller max_grad_norm"
            )

    def _after_epoch(self, checkpoint: Path) -> None:
        valid = self.validate(self.model)
        if valid > self.progress.best_valid:
            self.progress.best_valid, self.progress.best_epoch = valid, self.progress.epoch
            save_best(checkpoint, self.model)
        waited = self.progress.epoch - self.progress.best_epoch
        self.progress.stopped = self.options.patience is not None and waited >= self.options.patience
        seconds = self.progress.train_seconds
        self.log.write({"epoch": self.progress.epoch, "valid_ndcg@10": valid, "seconds": seconds})
        say(f"{self.label}: epoch {self.progress.epoch}, valid NDCG@10 {valid:.4f}, {seconds:.0f} s")
        self._save(checkpoint)

    def _save(self, checkpoint: Path) -> None:
        self.progress.log_rows = self.log.rows
        save_resume(checkpoint, self.model, self.optimizer, self.progress, self.key)

    def _finish(self, checkpoint: Path) -> FitResult:
        if (checkpoint / BEST).exists():
            (checkpoint / BEST).replace(checkpoint / MODEL)
        load_model(checkpoint / MODEL, self.model)
        self.model.eval()
        progress = self.progress
        return FitResult(
            progress.best_epoch, progress.best_valid, progress.epoch, progress.step, round(progress.train_seconds, 3)
        )


def _decay_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Splits the trained parameters: matrices of linear maps decay; norms, biases and embeddings do not."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    trained = [value for value in model.parameters() if value.requires_grad]
    decayed = [value for value in trained if value.ndim >= 2 and id(value) not in embeddings]
    kept = [value for value in trained if value.ndim < 2 or id(value) in embeddings]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


def _precision() -> str:
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"


def available_device() -> torch.device:
    """Returns the device that trained models are used on: Accelerate's choice, the GPU where there is one."""
    return torch.device(str(PartialState().device))
