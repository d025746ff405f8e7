"""`read_range`: which learning rate a range test suggests, and how a study's own rate compares with it.

Takes the table of a `RangeTest`, hands on a `RateAdvice` and sentences for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from layerprobe import columns
from layerprobe.training.range_test import RangeTest, start_loss

Verdict = Literal["too large", "risky", "safe", "slow", "untested"]
MARGIN = 3.0
"""Rates up to the turn divided by this number are safe: a whole training has more bad batches than a test, and the
smoothed loss turns some steps late."""
SLOW = 10.0
"""A rate this many times below the suggested one is called slow."""
FLAT = 0.05
"""The loss turns where all but this share of its fall is made. The smallest loss itself may be at a rate ten times as
high, on a flat and noisy floor, or where a diverged model came down once more by chance."""
CLEAR = 6.0
"""A fall counts if it is at least this many standard deviations of the smoothed loss: it is measured at the lowest of
many values, and the start it is compared with is as noisy."""


@dataclass(frozen=True)
class RateAdvice:
    """Peak learning rates that a test supports."""

    steepest: float
    """Where the smoothed loss falls fastest over the logarithm of the rate."""
    turn: float | None
    """Where the smoothed loss has made nearly all of its fall, see `FLAT`; None: it fell up to the last rate."""
    largest_safe: float
    """A third of the turn, or the last rate where there is no turn."""
    suggested: float | None
    """`steepest`, or `largest_safe` where that is smaller; None where no turn was seen: higher rates may be better."""
    from_edge: bool
    """Whether the loss fell fastest at the first rates, so that smaller ones may be as good."""

    def verdict(self, rate: float) -> Verdict:
        """Says how a learning rate compares with the test."""
        if self.turn is None or self.suggested is None:
            return "untested" if rate > self.largest_safe else "safe"
        if rate > self.turn:
            return "too large"
        if rate > self.largest_safe:
            return "risky"
        return "slow" if rate < self.suggested / SLOW else "safe"


def read_range(test: RangeTest) -> RateAdvice | None:
    """Returns what the test suggests; None where the smoothed loss never falls clearly below its start.

    The slope at a rate is that of a straight line through the smoothed losses around it, as far each way as the loss is
    smoothed. Only rates up to the turn are used.
    """
    # The last row of a diverged test is not finite.
    finite = test.table[np.isfinite(test.table[[columns.LOSS, columns.GRAD_NORM]]).all(axis=1)]
    loss, smoothed, rates = (
        finite[name].to_numpy() for name in (columns.LOSS, columns.SMOOTHED, columns.LEARNING_RATE)
    )
    window = test.tried.window
    if len(loss) <= 2 * window:  # too short for a start and a fall
        return None
    clear = CLEAR * _noise(loss, window)
    lowest = window + int(smoothed[window:].argmin())
    fall = start_loss(loss, window) - smoothed[lowest]
    if fall <= clear:
        return None
    turned = test.ending != "end" or smoothed[-1] - smoothed[lowest] > clear
    # The first rate that is nearly at the bottom: the minimum itself moves with the noise of a flat floor.
    last = int(np.flatnonzero(smoothed <= smoothed[lowest] + FLAT * fall)[0]) if turned else lowest
    steepest = int(_slopes(smoothed[: last + 1], np.log(rates[: last + 1]), window).argmin())
    turn = float(rates[last]) if turned else None
    largest_safe = float(rates[-1]) if turn is None else turn / MARGIN
    steepest_rate = float(rates[steepest])
    suggested = None if turn is None else min(steepest_rate, largest_safe)
    return RateAdvice(steepest_rate, turn, largest_safe, suggested, steepest <= window)


def _noise(loss: np.ndarray, window: int) -> float:
    """Returns the standard deviation that chance gives the smoothed loss, from the steps' differences."""
    # Differences of neighbouring steps: the slow fall of the loss cancels in them, its noise does not.
    differences = np.abs(np.diff(loss))
    single = 1.4826 * np.median(differences) / np.sqrt(2)  # of a normal variable; the median ignores a divergence
    keep = 1 - 1 / window
    # How much an exponential average of independent values lowers their deviation.
    return float(single * np.sqrt((1 - keep) / (1 + keep)))


def _slopes(values: np.ndarray, places: np.ndarray, reach: int) -> np.ndarray:
    """Returns the slope of the least-squares line through the values up to `reach` entries away, for each entry."""
    spans = [slice(max(0, i - reach), i + reach + 1) for i in range(len(values))]
    return np.array([np.polyfit(places[span], values[span], 1)[0] for span in spans])


def sentence(test: RangeTest, advice: RateAdvice | None) -> str:
    """Says what the test found."""
    if advice is None:
        return _no_advice(test)
    fastest = f"the loss falls fastest at a learning rate of {advice.steepest:.2g}"
    if advice.from_edge:
        fastest += ", among the first rates tried: a smaller low may show more"
    if advice.turn is None:
        return (
            f"no suggestion yet: {fastest}, and still falls at {advice.largest_safe:.2g}, the largest tried: a larger "
            "high, or more steps, will show where it turns"
        )
    safe = f"use at most a third of that, {advice.largest_safe:.2g}; suggested: {advice.suggested:.2g}"
    return f"{fastest} and turns at {advice.turn:.2g}; {safe}"


def _no_advice(test: RangeTest) -> str:
    rate = test.diverged_at
    if len(test.table) == 1:
        return "no suggestion: loss or gradient was not finite before any rate was tried, so the rate is not the reason"
    if rate is None:
        return (
            f"no suggestion: the loss does not fall at any rate from {test.tried.low:.2g} to {test.tried.high:.2g}; "
            "try a larger high, or check whether there is anything to learn"
        )
    how = "was no longer finite" if test.ending == "not finite" else "had risen far above its start"
    return f"no suggestion: the loss never fell, and at {rate:.2g} it {how}; try a smaller low or more steps"


def verdict_sentence(advice: RateAdvice, key: str, rate: float) -> str:
    """Says how the study's own rate, `key`, compares with the test."""
    suggested = "a smaller one" if advice.suggested is None else f"{advice.suggested:.2g}"
    words = {
        "too large": f"is above the turn: the training is likely to fail; use {suggested}",
        "risky": f"is above the safe range, which ends at {advice.largest_safe:.2g}: the training may fail",
        "safe": f"is in the safe range, which ends at {advice.largest_safe:.2g}",
        "untested": f"is above every rate tried, up to {advice.largest_safe:.2g}: it was not tested",
        "slow": f"is safe, but more than {SLOW:g} times below the suggestion: the training will be slow",
    }
    return f"{key}, {rate:g}, {words[advice.verdict(rate)]}"
