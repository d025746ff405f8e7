"""`TrainBatches`: which stretches of the sequences are trained on, in which order, and how a step is cut to fit.

Takes a split, hands on `SequenceBatch`es. Steps hold about equal numbers of targets and little padding; the order
depends on seed and epoch alone. A step may be cut into several forward passes and shared by several processes: the
passes' losses, each times its weight, add up to the loss of the whole step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from layerprobe.data.batches import SequenceBatch, windows
from layerprobe.data.sampled_items import ItemSampler, SampledItems
from layerprobe.data.splits import Split
from layerprobe.errors import InputError

Supervision = Literal["all", "last"]
POOL_BATCHES = 50
"""Batches whose examples are sorted by length together: little padding, still random."""


@dataclass(frozen=True, eq=False)
class Examples:
    """What is trained on: one stretch of a user's items each, all arrays of shape (n_examples,).

    Attributes:
        starts, ends: the inputs are `Sequences.items[starts : ends]`, at most `max_len` of them; the target of an input
            is the item after it.
        supervised: how many of the newest inputs have a target that is trained on; the others are context only.
    """

    starts: np.ndarray
    ends: np.ndarray
    supervised: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> np.ndarray:
        """Inputs per example."""
        return self.ends - self.starts


def training_examples(split: Split, max_len: int, supervision: Supervision, stride: int | None) -> Examples:
    """Lists the examples of one epoch, by user, a user's newest first.

    Args:
        split: where the training items lie.
        max_len: newest inputs an example reads.
        supervision: `all`: every position predicts the next item; `last`: the newest position alone.
        stride: None takes one example per user, its newest. A number slides a window of `max_len` inputs back by that
            many items until, with `all`, every training transition is a target once (all but a user's oldest window
            have at least `max_len - stride` inputs before a target), or, with `last`, every `stride`-th transition is.
            `last` with stride 1 makes an example of every prefix, as RecBole does.
    """
    offsets = split.sequences.offsets[:-1]
    transitions = split.train_ends - offsets - 1  # pairs of neighbouring training items, [users]
    users = np.flatnonzero(transitions >= 1)
    n_windows = _windows_per_user(transitions[users], max_len, supervision, stride)
    user = np.repeat(users, n_windows)  # [examples]
    # The number of each window inside its user, 0 for the newest: it slides back by `stride` each time.
    back = np.arange(len(user)) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    ends = offsets[user] + transitions[user] - back * (stride or 0)
    starts = np.maximum(ends - max_len, offsets[user])
    if supervision == "last":
        return Examples(starts, ends, np.ones(len(user), dtype=np.int64))
    oldest = back == np.repeat(n_windows, n_windows) - 1
    # Newer windows overlap the next older one: they train on their newest `stride` inputs, so no target comes twice.
    return Examples(starts, ends, np.where(oldest, ends - starts, stride or max_len))


def _windows_per_user(
    transitions: np.ndarray, max_len: int, supervision: Supervision, stride: int | None
) -> np.ndarray:
    if stride is None:
        return np.ones(len(transitions), dtype=np.int64)
    if supervision == "last":
        return -(-transitions // stride)  # rounded up
    return 1 + -(-np.maximum(transitions - max_len, 0) // stride)


@dataclass(frozen=True, eq=False)
class Portion:
    """One forward pass of a step.

    Attributes:
        batch: what is read.
        weight: its targets over those of the whole step; the mean losses of all portions times their weights add up to
            the mean loss of the step. 0 for a pass that is only there so that all processes run as many.
    """

    batch: SequenceBatch
    weight: float


@dataclass(frozen=True, eq=False)
class TrainBatches:
    """Length-bucketed training batches of about equal numbers of targets, in a seeded order.

    Attributes:
        split: the sequences.
        max_len: newest items an example reads.
        batch_size: examples per optimiser step, on average.
        supervision: which positions are targets, see `training_examples`.
        seed: seed of the order.
        stride: how far windows slide over long users; None reads the newest `max_len` items alone.
        max_tokens: most positions, padding included, that one forward pass holds; None sets no bound.
        extra: positions that every row has in addition to its items, such as a prompt that is repeated.
        sampler: draws the items of a sampled loss, once per step; None where the loss takes the whole catalogue.
    """

    split: Split
    max_len: int
    batch_size: int
    supervision: Supervision
    seed: int
    stride: int | None = None
    max_tokens: int | None = None
    extra: int = 0
    sampler: ItemSampler | None = None

    def __post_init__(self) -> None:
        if self.max_len < 1 or self.batch_size < 1:
            raise InputError(f"max_len and batch_size must be at least 1; got {self.max_len} and {self.batch_size}")
        if self.stride is not None and not 1 <= self.stride <= self.max_len:
            raise InputError(f"stride must lie in 1..{self.max_len}, the items a window reads; got {self.stride}")
        if not len(self.examples):
            raise InputError("training needs a user with at least 2 training items; no user has them")
        longest = int(self.examples.lengths.max()) + self.extra
        if self.max_tokens is not None and self.max_tokens < longest:
            raise InputError(
                f"max_tokens must hold the longest sequence, {longest} positions; got {self.max_tokens}: "
                "raise it or lower max_len"
            )

    @cached_property
    def examples(self) -> Examples:
        """The examples of one epoch."""
        return training_examples(self.split, self.max_len, self.supervision, self.stride)

    def plan(self, epoch: int) -> list[np.ndarray]:
        """Returns the examples of each step of `epoch`; the number of steps is the same in every epoch.

        Examples are shuffled, sorted by length inside pools of 50 steps and cut where the targets add up to one step's
        share, so a step of short histories holds more users than one of long ones. With the same number of users in
        each, a target of a short history would weigh many times as much as one of a long history. The steps are
        shuffled. All of it depends on seed and epoch alone.
        """
        generator = np.random.default_rng([self.seed, epoch])
        shuffled = generator.permutation(len(self.examples))
        pool = np.arange(len(shuffled)) // (POOL_BATCHES * self.batch_size)
        order = shuffled[np.lexsort((self.examples.lengths[shuffled], pool))]  # by pool, then by length
        cuts = equal_cuts(self.examples.supervised[order], -(-len(order) // self.batch_size))
        steps = np.split(order, cuts)
        return [steps[i] for i in generator.permutation(len(steps))]

    def build(self, chosen: np.ndarray, sampled: SampledItems | None = None) -> SequenceBatch:
        """Builds one batch of these examples, with the step's draw of items where the loss needs one."""
        starts, ends = self.examples.starts[chosen], self.examples.ends[chosen]
        matrix, lengths = windows(self.split.sequences.items, starts, ends, self.max_len)  # [batch, pos], [batch]
        row, pos = _read_positions(lengths, self.examples.supervised[chosen])  # [read] each
        flat = starts[row] + pos
        return SequenceBatch(
            items=torch.from_numpy(matrix),
            lengths=torch.from_numpy(lengths),
            row=torch.from_numpy(row),
            pos=torch.from_numpy(pos),
            targets=torch.from_numpy(self.split.sequences.items[flat + 1]),
            flat=torch.from_numpy(flat),
            sampled=sampled,
        )

    def portions(self, chosen: np.ndarray, share: int = 0, shares: int = 1, step: int = 0) -> list[Portion]:
        """Cuts a step into forward passes of at most `max_tokens` positions and returns those of one process.

        Every process gets the same number of passes: where it has too few, the others have weight 0.

        Args:
            chosen: the step's examples, one entry of `plan`.
            share: number of the process, from 0.
            shares: how many processes share the step.
            step: optimiser step, which decides what `sampler` draws.
        """
        sampled = None if self.sampler is None else self.sampler.draw(step)
        # Every process cuts the shares of all of them, so they agree on the number of passes without a message. A step
        # is mostly sorted by length, so every `shares`-th example gives each process about the same work.
        passes = [self._passes(chosen[part::shares]) for part in range(shares)]
        own_passes = passes[share] or [chosen[:0]]
        supervised = self.examples.supervised
        total = int(supervised[chosen].sum())
        portions = [  # a process without examples reads one with weight 0, since it needs a batch to run on
            Portion(self.build(part if len(part) else chosen[:1], sampled), int(supervised[part].sum()) / total)
            for part in own_passes
        ]
        idle = max(map(len, passes)) - len(portions)
        return portions + [Portion(portions[0].batch, 0.0)] * idle

    def _passes(self, chosen: np.ndarray) -> list[np.ndarray]:
        """Cuts examples, shortest first, where one more would make rows x longest exceed `max_tokens`."""
        if self.max_tokens is None or not len(chosen):
            return [chosen] if len(chosen) else []
        lengths = self.examples.lengths[chosen] + self.extra
        order = np.argsort(lengths, kind="stable")
        chosen, lengths = chosen[order], lengths[order]
        cuts, start = [], 0
        while start < len(chosen):
            # Positions of a pass of the next 1, 2, ... examples; it rises, so a binary search finds the last that fits.
            area = np.arange(1, len(chosen) - start + 1) * lengths[start:]
            start += max(1, int(np.searchsorted(area, self.max_tokens, side="right")))
            cuts.append(start)
        return np.split(chosen, cuts[:-1])

    def epoch(self, epoch: int) -> Iterator[SequenceBatch]:
        """Yields the steps of one epoch, each as one batch."""
        for chosen in self.plan(epoch):
            yield self.build(chosen)


def equal_cuts(weights: np.ndarray, n_parts: int) -> np.ndarray:
    """Returns where to cut a row of weights into `n_parts` parts of about equal sum, none of them empty.

    Args:
        weights: positive, shape (rows,).
        n_parts: 1 to rows.

    Returns:
        The first row of each part but the first, ascending, shape (n_parts - 1,).
    """
    total = np.cumsum(weights)
    step = np.arange(1, n_parts)
    cuts = np.searchsorted(total, total[-1] * step / n_parts) + 1  # [n_parts - 1]
    # A heavy row can draw several cuts to one place: push them apart, with a row left for every part on either side.
    cuts = np.maximum.accumulate(np.minimum(cuts, len(weights) - n_parts + step) - step) + step
    return np.maximum(cuts, step)


def _read_positions(lengths: np.ndarray, supervised: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns row and position of the newest `supervised` inputs of each example."""
    row = np.repeat(np.arange(len(lengths)), supervised)  # [read]
    within = np.arange(len(row)) - np.repeat(np.cumsum(supervised) - supervised, supervised)
    return row, (lengths - supervised)[row] + within
