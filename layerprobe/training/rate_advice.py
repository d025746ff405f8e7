"""`read_range`: which learning rate a range test advises, and how a study's own rate stands to it.

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
"""A rate is safe up to so small a part of the rate at which the loss turns: a whole training meets more bad batches
than a test, and the smoothed loss turns some steps late."""
SLOW = 10.0
"""A rate so many times below the suggested one is called slow."""
FLAT = 0.05
"""The loss turns where all but this share of its fall is made. The smallest loss itself may lie a decade further on, on
a flat and noisy floor, or where a broken model came down once more by chance."""
CLEAR = 6.0
"""A fall counts from so many standard deviations of the smoothed loss on: the lowest of many values is looked at, and
the start it is compared with is as noisy."""


@dataclass(frozen=True)
class RateAdvice:
    """Peak learning rates that a test speaks for."""

    steepest: float
    """Where the smoothed loss falls fastest over the logarithm of the rate."""
    turn: float | None
    """Where the smoothed loss has fallen as good as all the way, see `FLAT`; None: it fell up to the last rate."""
    largest_safe: float
    """A third of the turn, or the last rate where there is no turn."""
    suggested: float | None
    """`steepest`, or `largest_safe` where that is smaller; None where no turn was seen, since more may be to come."""
    from_edge: bool
    """Whether the loss fell fastest at the first rates, so that smaller ones may do as well."""

    def verdict(self, rate: float) -> Verdict:
        """Says how a learning rate stands to the test."""
        if self.turn is None or self.suggested is None:
            return "untested" if rate > self.largest_safe else "safe"
        if rate > self.turn:
            return "too large"
        if rate > self.largest_safe:
            return "risky"
        return "slow" if rate < self.suggested / SLOW else "safe"


def read_range(test: RangeTest) -> RateAdvice | None:
    """Returns what the test advises; None where the smoothed loss never falls clearly below its start.

    The slope at a rate is that of a straight line through the smoothed losses around it, as far each way as the loss is
    smoothed. Only rates up to the turn are looked at.
    """
    finite = test.table[np.isfinite(test.table[[columns.LOSS, columns.GRAD_NORM]]).all(axis=1)]
    loss, smoothed, rates = (
        finite[name].to_numpy() for name in (columns.LOSS, columns.SMOOTHED, columns.LEARNING_RATE)
    )
    window = test.tried.window
    if len(loss) <= 2 * window:
        return None
    clear = CLEAR * _noise(loss, window)
    lowest = window + int(smoothed[window:].argmin())
    fall = start_loss(loss, window) - smoothed[lowest]
    if fall <= clear:
        return None
    turned = test.ending != "end" or smoothed[-1] - smoothed[lowest] > clear
    last = int(np.flatnonzero(smoothed <= smoothed[lowest] + FLAT * fall)[0]) if turned else lowest
    steepest = int(_slopes(smoothed[: last + 1], np.log(rates[: last + 1]), window).argmin())
    turn = float(rates[last]) if turned else None
    largest_safe = float(rates[-1]) if turn is None else turn / MARGIN
    found = float(rates[steepest])
    suggested = None if turn is None else min(found, largest_safe)
    return RateAdvice(found, turn, largest_safe, suggested, steepest <= window)


def _noise(loss: np.ndarray, window: int) -> float:
    """Returns the standard deviation that chance gives the smoothed loss, from the steps' differences."""
    differences = np.abs(np.diff(loss))
    single = 1.4826 * np.median(differences) / np.sqrt(2)  # of a normal variable; the median forgets a divergence
    keep = 1 - 1 / window
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
        fastest += ", among the first tried: a lower low may show more"
    if advice.turn is None:
        return (
            f"no suggestion yet: {fastest}, and still falls at {advice.largest_safe:.2g}, the largest tried: a higher "
            "high, or more steps, will show where it turns"
        )
    safe = f"a third of that, {advice.largest_safe:.2g}, is the most to choose; suggested: {advice.suggested:.2g}"
    return f"{fastest} and turns at {advice.turn:.2g}; {safe}"


def _no_advice(test: RangeTest) -> str:
    rate = test.diverged_at
    if len(test.table) == 1:
        return "no suggestion: loss or gradient was not finite before any rate was tried, so the rate is not the reason"
    if rate is None:
        return (
            f"no suggestion: the loss does not fall at any rate from {test.tried.low:.2g} to {test.tried.high:.2g}; "
            "try a higher high, or look whether there is anything to learn"
        )
    how = "was no longer finite" if test.ending == "not finite" else "had risen far above its start"
    return f"no suggestion: the loss never fell, and at {rate:.2g} it {how}; try a lower low or more steps"


def verdict_sentence(advice: RateAdvice, key: str, rate: float) -> str:
    """Says how the study's own rate, `key`, stands to the test."""
    suggested = "a smaller one" if advice.suggested is None else f"{advice.suggested:.2g}"
    words = {
        "too large": f"lies above the turn: the training is likely to fail; take {suggested}",
        "risky": f"lies above the safe range, which ends at {advice.largest_safe:.2g}: the training may fail",
        "safe": f"lies in the safe range, which ends at {advice.largest_safe:.2g}",
        "untested": f"lies above every rate tried, up to {advice.largest_safe:.2g}: nothing is known of it",
        "slow": f"is safe, but more than {SLOW:g} times below the suggestion: the training will be slow",
    }
    return f"{key}, {rate:g}, {words[advice.verdict(rate)]}"
