"""Training options and the learning-rate schedule, which is a pure function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from layerprobe.errors import InputError


@dataclass(frozen=True)
class TrainingOptions:
    """How one model is trained."""

    epochs: int = 20
    """Passes over the training users; the cosine schedule ends with the last."""
    batch_size: int = 256
    """Users per optimiser step, on average: steps hold about equal numbers of targets."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""
    warmup_steps: int = 50
    """Steps over which the rate rises linearly from 0."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """What the rate does after the warm-up."""
    final_rate: float = 0.0
    """Where the cosine ends, as a share of the peak, in [0, 1]."""
    weight_decay: float = 0.01
    """AdamW weight decay of matrices; vectors (norms, biases) and embeddings are not decayed."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW betas."""
    max_grad_norm: float = 1.0
    """The gradient is scaled down to this norm."""
    patience: int | None = 5
    """Epochs without a better valid NDCG@10 before training stops; null never stops early."""
    supervision: Literal["all", "last"] = "all"
    """Targets: every next item (`all`), or the last training item only (`last`, the paper's)."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1; got {getattr(self, name)}")
        if self.warmup_steps < 0 or self.weight_decay < 0:
            raise InputError(
                f"warmup_steps and weight_decay must not be negative; got {self.warmup_steps} and {self.weight_decay}"
            )
        if not 0 < self.learning_rate < 1:
            raise InputError(f"learning_rate must lie in (0, 1); got {self.learning_rate}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(f"betas must lie in [0, 1); got {self.betas}")
        if self.schedule == "constant" and self.final_rate != 0:
            raise InputError(f"final_rate needs schedule cosine; got {self.final_rate} with constant")
        if not 0 <= self.final_rate <= 1:
            raise InputError(f"final_rate must lie in [0, 1]; got {self.final_rate}")
        if self.max_grad_norm <= 0:
            raise InputError(f"max_grad_norm must be above 0; got {self.max_grad_norm}")
        if self.patience is not None and self.patience < 1:
            raise InputError(f"patience must be at least 1 or null; got {self.patience}")


def learning_rate_at(step: int, total_steps: int, options: TrainingOptions) -> float:
    """Returns the learning rate of optimiser step `step` (0-based) out of `total_steps`."""
    if step < options.warmup_steps:
        return options.learning_rate * (step + 1) / options.warmup_steps
    if options.schedule == "constant":
        return options.learning_rate
    progress = (step - options.warmup_steps) / max(1, total_steps - options.warmup_steps)
    falling = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return options.learning_rate * (options.final_rate + (1 - options.final_rate) * falling)
