"""Training options and the learning-rate schedule, which is a pure function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from layerprobe.arguments import checked
from layerprobe.data.sampled_items import ItemSampler
from layerprobe.data.splits import Split
from layerprobe.data.train_batches import TrainBatches
from layerprobe.errors import InputError
from layerprobe.ranges import SHARE, Range
from layerprobe.recommender.losses import LossOptions


@dataclass(frozen=True)
@checked
class TrainingOptions:
    """How one model is trained."""

    epochs: Annotated[int, Range(1, 100_000)] = 20
    """Passes over the training users; the cosine schedule ends with the last."""
    batch_size: Annotated[int, Range(1, 1_000_000)] = 256
    """Users per optimiser step, on average: steps hold about equal numbers of targets."""
    learning_rate: Annotated[float, SHARE] = 1e-3
    """Peak learning rate of AdamW."""
    warmup_steps: Annotated[int, Range(0, 10**9)] = 50
    """Steps over which the rate rises linearly from 0."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """What the rate does after the warm-up."""
    final_rate: Annotated[float, Range(0, 1)] = 0.0
    """Where the cosine ends, as a share of the peak, in [0, 1]."""
    weight_decay: Annotated[float, Range(0, 1000)] = 0.01
    """AdamW weight decay of matrices; vectors (norms, biases) and embeddings are not decayed."""
    betas: Annotated[tuple[float, float], Range(0, 1, below=True)] = (0.9, 0.98)
    """AdamW betas."""
    max_grad_norm: Annotated[float, Range(0, 10**12, above=True)] = 1.0
    """The gradient is scaled down to this norm."""
    patience: Annotated[int | None, Range(1, 100_000)] = 5
    """Epochs without a better valid NDCG@10 before training stops; null never stops early."""
    supervision: Literal["all", "last"] = "all"
    """Targets: every next item (`all`), or the last training item only (`last`, the paper's)."""
    loss: LossOptions = field(default_factory=LossOptions)
    """What a target's score is compared with: all items, or a draw of them for very large catalogues."""
    stride: Annotated[int | None, Range(1, 100_000)] = None
    """Null trains on a user's newest `max_len` items only; a number slides windows back over older ones by that many
    items. With `all` every item is a target once; with `last` and 1 every prefix is an example of its own."""
    max_tokens: Annotated[int | None, Range(1, 10**9)] = None
    """Most positions, padding and repeated prompt included, that one forward pass holds. A step that holds more is cut
    into several passes whose gradients are added up: same loss, less memory. Null: a step is one pass."""
    compile: bool = False
    """Whether layers go through torch.compile, which costs a minute at first and needs a compiler."""

    def __post_init__(self) -> None:
        if self.schedule == "constant" and self.final_rate != 0:
            raise InputError(f"final_rate needs schedule cosine; got {self.final_rate} with constant")


def learning_rate_at(step: int, total_steps: int, options: TrainingOptions) -> float:
    """Returns the learning rate of optimiser step `step` (0-based) out of `total_steps`."""
    if step < options.warmup_steps:
        return options.learning_rate * (step + 1) / options.warmup_steps  # + 1: the first step has a rate above 0
    if options.schedule == "constant":
        return options.learning_rate
    progress = (step - options.warmup_steps) / max(1, total_steps - options.warmup_steps)
    falling = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return options.learning_rate * (options.final_rate + (1 - options.final_rate) * falling)


def train_batches(split: Split, max_len: int, options: TrainingOptions, seed: int, extra: int = 0) -> TrainBatches:
    """Returns the training batches that the options ask for.

    Args:
        split: the sequences.
        max_len: newest items the model reads.
        options: batch size, targets, windows and passes.
        seed: seed of the order.
        extra: positions that every row carries beside its items.

    Raises:
        InputError: `max_tokens` cannot hold the longest sequence, `stride` exceeds `max_len`, or the catalogue has
            fewer items than the loss draws.
    """
    return TrainBatches(
        split,
        max_len,
        options.batch_size,
        options.supervision,
        seed,
        stride=options.stride,
        max_tokens=options.max_tokens,
        extra=extra,
        sampler=_sampler(split, options.loss, seed),
    )


def _sampler(split: Split, loss: LossOptions, seed: int) -> ItemSampler | None:
    n_items = split.sequences.n_items
    loss.check_catalogue(n_items)
    if loss.negatives is None:
        return None
    counts = split.train_counts() if loss.sampling == "popularity" else None
    return ItemSampler(n_items, loss.negatives, loss.sampling, counts, seed)
