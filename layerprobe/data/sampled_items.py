"""`SampledItems`: the items that a training step scores in place of the whole catalogue.

Takes the size of the catalogue and, for draws by popularity, the training counts of a split; hands on one draw per
optimiser step, which all positions of the step share (see `recommender.losses`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from layerprobe.errors import InputError

Sampling = Literal["uniform", "popularity"]
STREAM = 2_308_719
"""Keeps these draws independent of the batch order and the ranking negatives, whose seeds come from the same number.
Part of the definition: another value gives other draws."""


@dataclass(frozen=True, eq=False)
class SampledItems:
    """One draw.

    Attributes:
        items: int64 [n], catalogue indices 1..n_items; an item stands twice where it was drawn twice.
        log_expected: float32 [n], log of the expected number of times that the item stands in a draw; at most 0 for
            uniform draws, which hold an item once at most.
    """

    items: torch.Tensor
    log_expected: torch.Tensor

    def __len__(self) -> int:
        return len(self.items)

    def to(self, device: torch.device) -> SampledItems:
        """Returns the draw on `device`."""
        return SampledItems(self.items.to(device), self.log_expected.to(device))


@dataclass(frozen=True, eq=False)
class ItemSampler:
    """Draws `n` items of a catalogue per optimiser step.

    `uniform`: without replacement, every item with probability n / n_items. `popularity`: with replacement, an item
    with probability q = (training count + 1) / sum over items of (training count + 1), so it is expected n q times.
    Negatives by popularity are hard ones; the + 1 lets items be drawn that training never saw.

    Attributes:
        n_items: size of the catalogue, padding not counted.
        n: number of draws per step, 1..n_items.
        sampling: how items are drawn.
        counts: training occurrences by catalogue index, shape (n_items + 1,), entry 0 being 0, as
            `Split.train_counts` returns them; None for `uniform`, which uses none.
        seed: any non-negative integer.

    Raises:
        InputError: an argument is out of its range, or `counts` does not fit the others.
    """

    n_items: int
    n: int
    sampling: Sampling
    counts: np.ndarray | None
    seed: int

    def __post_init__(self) -> None:
        if self.sampling not in ("uniform", "popularity"):
            raise InputError(f"sampling must be uniform or popularity; got {self.sampling!r}")
        if not 1 <= self.n <= self.n_items:
            raise InputError(
                f"the number of items drawn per step must lie in 1..{self.n_items}, the size of the catalogue; "
                f"got {self.n}"
            )
        if self.seed < 0:
            raise InputError(f"seed must not be negative; got {self.seed}")
        if (self.counts is None) != (self.sampling == "uniform"):
            raise InputError(
                f"counts are for sampling popularity, and needed there; got {self.sampling} with "
                f"{'no counts' if self.counts is None else 'counts'}"
            )
        if self.counts is not None:
            _check_counts(self.counts, self.n_items)

    def draw(self, step: int) -> SampledItems:
        """Returns the draw of optimiser step `step` (0-based).

        A function of (seed, step) and nothing else: every micro-batch and every process of a step gets the same items,
        so neither gradient accumulation nor data parallelism changes a number, and a resumed training goes on with the
        same draws. A step costs O(n) for `uniform` (O(n_items) only where n is above n_items / 20) and
        O(n log n_items) for `popularity`.
        """
        generator = np.random.default_rng([self.seed, STREAM, step])
        if self.sampling == "uniform":
            # The order inside a draw has no meaning, so it need not be shuffled.
            drawn = generator.choice(self.n_items, self.n, replace=False, shuffle=False)
            expected = np.full(self.n, self.n / self.n_items)
        else:
            cumulated = self._cumulated
            # Whole numbers: each item gets exactly count + 1 of the equally likely values, without rounding.
            drawn = np.searchsorted(cumulated, generator.integers(0, cumulated[-1], self.n), side="right")
            weights = cumulated[drawn] - np.where(drawn > 0, cumulated[drawn - 1], 0)
            expected = self.n * weights / cumulated[-1]
        # + 1: catalogue indices start at 1. The log is taken in float64 and rounded once.
        return SampledItems(torch.from_numpy(drawn + 1), torch.from_numpy(np.log(expected).astype(np.float32)))

    @cached_property
    def _cumulated(self) -> np.ndarray:
        assert self.counts is not None
        return np.cumsum(self.counts[1:].astype(np.int64) + 1)


def _check_counts(counts: np.ndarray, n_items: int) -> None:
    if counts.shape != (n_items + 1,) or not np.issubdtype(counts.dtype, np.integer):
        raise InputError(
            f"counts must be {n_items + 1} integers, one per catalogue index with padding first; "
            f"got shape {counts.shape}, {counts.dtype}"
        )
    if counts[0] != 0 or counts.min() < 0:
        raise InputError(
            f"counts must not be negative, and 0 for padding; got {counts.min()} as the smallest and {counts[0]} for "
            "padding"
        )
