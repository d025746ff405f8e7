"""`range_test`: what the loss does while the learning rate rises from far too small to far too large.

Takes a new model and its training batches, hands on a `RangeTest`: the table of steps and why it ended. `rate_advice`
derives the choice of a rate from the table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Annotated, Literal

import numpy as np
import pandas as pd

from layerprobe import columns, processes
from layerprobe.arguments import checked
from layerprobe.data.train_batches import TrainBatches
from layerprobe.errors import InputError
from layerprobe.ranges import Range
from layerprobe.recommender.sequence_model import SequenceModel
from layerprobe.training.engine import GRAD_NORM, Engine, Objective
from layerprobe.training.log import shown
from layerprobe.training.options import TrainingOptions

Ending = Literal["end", "rose", "not finite"]
FEWEST_STEPS = 10
WINDOWS = 20
"""The smoothed loss averages over about the steps divided by this number, a constant share of the range."""
RISE = 1.25
"""The test ends when the smoothed loss is this many times its value at the start. The loss of next items starts near
ln(n_items), the loss of a random guess: a model clearly worse than that has diverged, and larger rates show nothing
more. It is not 1, so that the noise of the first steps does not end the test. It is not 4 or more, as for losses that
fall to near 0, since a diverged model may stay below twice its start for a long time."""


@dataclass(frozen=True)
@checked
class RateRange:
    """Which learning rates are tried.

    Raises:
        InputError: the range is empty or reaches 0, or there are too few steps.
    """

    low: Annotated[float, Range(0, 1_000_000, above=True)] = 1e-6
    """The first rate."""
    high: Annotated[float, Range(0, 1_000_000, above=True)] = 1.0
    """The last rate."""
    steps: Annotated[int, Range(FEWEST_STEPS, 1_000_000)] = 200
    """Optimiser steps; the rate grows by the same factor from each to the next."""

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise InputError(f"low must be below high; got {self.low:g} and {self.high:g}")

    @property
    def rates(self) -> np.ndarray:
        """The rate of each step, ascending, shape (steps,): low (high / low)^(i / (steps - 1))."""
        return self.low * (self.high / self.low) ** (np.arange(self.steps) / (self.steps - 1))

    @property
    def window(self) -> int:
        """Number of steps that the smoothed loss averages over, about."""
        return max(1, self.steps // WINDOWS)


@dataclass(frozen=True, eq=False)
class RangeTest:
    """Result of a range test.

    Attributes:
        table: `columns.RATE_RANGE`, one row per step until it ended. `loss` is that of the step's batch before the
            update with the step's rate, so it shows the effect of earlier rates. Only the last row may not be finite.
        ending: `end`: all rates were tried; `rose`: the smoothed loss exceeded `RISE` times that of the start;
            `not finite`: loss or gradient was NaN or infinite.
        tried: the rates of the test.
    """

    table: pd.DataFrame
    ending: Ending
    tried: RateRange

    @property
    def diverged_at(self) -> float | None:
        """The rate of the last step where the test was stopped by the loss; None where it reached its end."""
        return None if self.ending == "end" else float(self.table[columns.LEARNING_RATE].iloc[-1])


def range_test(
    model: SequenceModel,
    batches: TrainBatches,
    objective: Objective,
    options: TrainingOptions,
    tried: RateRange,
    label: str = "learning-rate test",
) -> RangeTest:
    """Trains `model` with a rate that grows by the same factor each step, and records its loss.

    A loss or gradient that is not finite ends the test and is not an error: the test exists to find it. Batches,
    dropout masks and optimiser are those of the training with the same seed, whose first step is the test's first.

    Args:
        model: a new one; it cannot be used afterwards.
        batches: training batches, seeded; where one epoch is too short the test continues with the next.
        objective: returns the loss terms of a batch, `loss` among them.
        options: optimiser and gradient bound; its own rate, warm-up, schedule and epochs are not used.
        tried: the rates.
        label: its name in progress lines.

    Source: Smith, Cyclical learning rates for training neural networks, arXiv 1506.01186, section 3.3. We differ: the
    rate rises geometrically, since useful rates span decades, and the loss is recorded, not the accuracy.
    """
    engine = Engine(model, objective, options)
    model.train()
    rows: list[dict[str, float]] = []
    ending: Ending = "end"
    average = Average(1 - 1 / tried.window)
    steps = enumerate(zip(tried.rates.tolist(), _steps(batches), strict=False))
    for step, (rate, examples) in shown(steps, tried.steps, label):
        portions = batches.portions(examples, processes.index(), processes.count(), step)
        values = engine.backward(portions, batches.seed * 1_000_003 + step)  # the seed of the training's own step
        loss, norm = values["loss"], values[GRAD_NORM]
        row = (step, rate, loss, average.add(loss), norm)
        rows.append(dict(zip(columns.RATE_RANGE, row, strict=True)))
        if not (math.isfinite(loss) and math.isfinite(norm)):  # checked first: NaN is not greater than anything
            ending = "not finite"
            break
        if _has_risen(rows, tried.window):
            ending = "rose"
            break
        engine.update(rate)
    engine.close()
    return RangeTest(pd.DataFrame(rows, columns=list(columns.RATE_RANGE)), ending, tried)


class Average:
    """An exponential moving average that starts without bias: sum of keep^(n - i) x_i over the sum of the weights."""

    def __init__(self, keep: float) -> None:
        self.keep, self.total, self.weight = keep, 0.0, 0.0

    def add(self, value: float) -> float:
        """Returns the average with `value` in it."""
        # Divided by the weights so far: a plain moving average starts at 0 and would look like a rising loss.
        self.total = self.keep * self.total + (1 - self.keep) * value
        self.weight = self.keep * self.weight + (1 - self.keep)
        return self.total / self.weight


def _steps(batches: TrainBatches) -> Iterator[np.ndarray]:
    """Yields the steps of one epoch after another, without end."""
    for epoch in count():
        yield from batches.plan(epoch)


def start_loss(losses: np.ndarray, window: int) -> float:
    """Returns the mean loss of the first `window` steps, whose rates are too small to have changed much."""
    return float(np.mean(losses[:window]))


def _has_risen(rows: list[dict[str, float]], window: int) -> bool:
    if len(rows) <= window:
        return False
    start = start_loss(np.array([row[columns.LOSS] for row in islice(rows, window)]), window)
    return rows[-1][columns.SMOOTHED] > RISE * start
