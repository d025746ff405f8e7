"""How many users and seeds a margin needs, before anything is trained.

Takes the noise of a difference from the full model, hands on the power of the test and the smallest margins. No model
and no data are needed.

With variance parts u by users, j by users and seeds together and s by seeds, the mean difference at U users and S seeds
has the variance V = A + B with A = (u + j / S) / U and B = s / S. The test estimates B from the spread of the S means
as `evaluation.seeds.mean_error` does from one difference alone: max(0, (B + J) * chi2(S - 1) / (S - 1) - J) with
J = j / (S * U). It uses Student's t with Satterthwaite's degrees of freedom of that estimate. A is taken as known,
since there are many users. The power is then one integral over the chi-squared variable: given the estimate, the mean
difference is normal and independent of it. All selections of a study share their estimate, so a study can do better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Annotated

import numpy as np
import pandas as pd
from scipy.special import gammaincinv, ndtr, stdtrit

from layerprobe.arguments import checked, require_kind, require_whole
from layerprobe.errors import InputError
from layerprobe.ranges import LEVEL, SHARE, Range

SEEDS = (2, 3, 4, 5, 6, 8, 10)
"""Rows of the table."""
POINTS = 300
"""Equally likely values of the chi-squared variable; more change a power by less than .001."""
MOST_NOISE = 10**6
VARIANCE = Range(0, 2 * MOST_NOISE**2)
MOST_USERS, MOST_SEEDS = 10**9, 1000
"""Where a search for enough of them ends."""


@dataclass(frozen=True)
@checked
class DifferenceNoise:
    """Variances of the difference of two models, as shares of the full model's metric squared.

    Attributes:
        users: of a user's difference over users, without the joint part; above 0, unless the joint part is.
        joint: of what users and seeds have together.
        seeds: of the difference's mean over seeds, for all users at once.

    Raises:
        InputError: one is negative or not finite, or no difference varies over users.
    """

    users: Annotated[float, VARIANCE]
    joint: Annotated[float, VARIANCE]
    seeds: Annotated[float, VARIANCE]

    def __post_init__(self) -> None:
        parts = (self.users, self.joint, self.seeds)
        if self.users + self.joint == 0:
            raise InputError(f"variances of users must be above 0; got {parts}")

    @classmethod
    def stated(cls, user_noise: float, training_noise: float) -> DifferenceNoise:
        """Returns the noise that two standard deviations state.

        Args:
            user_noise: standard deviation over users of a difference, as a multiple of the full model's metric.
            training_noise: standard deviation of a training's mean metric, as a share of the metric; a difference of
                two trainings has twice its variance.

        Raises:
            InputError: they are not positive numbers; `training_noise` may be 0.
        """
        for name, value in (("user_noise", user_noise), ("training_noise", training_noise)):
            require_kind(name, value, int, float)
            if not 0 <= value <= MOST_NOISE or (value == 0 and name == "user_noise"):
                least = "above 0" if name == "user_noise" else "of at least 0"
                raise InputError(
                    f"{name} must be a number {least}, at most {MOST_NOISE:,} (a share: .01 means 1 %); got {value}"
                )
        return cls(float(user_noise) ** 2, 0.0, 2 * float(training_noise) ** 2)


@dataclass(frozen=True)
@checked
class Aim:
    """What a study should show.

    Attributes:
        alpha: error level of the one-sided test, in (0, 1).
        power: probability of "not worse" that is wanted, in (alpha, 1).
        difference: true difference from the full model, as a share of its metric; 0 for an equal model.

    Raises:
        InputError: a value is outside its range.
    """

    alpha: Annotated[float, LEVEL] = 0.05
    power: Annotated[float, SHARE] = 0.8
    difference: Annotated[float, Range(-1, 1, above=True, below=True)] = 0.0

    def __post_init__(self) -> None:
        if not self.alpha < self.power < 1:
            raise InputError(f"power must lie between alpha, {self.alpha}, and 1, usually .8; got {self.power}")


def planned_margins(
    users: int,
    user_noise: float,
    training_noise: float,
    alpha: float = 0.05,
    power: float = 0.8,
    difference: float = 0.0,
) -> pd.DataFrame:
    """Returns the smallest margin that a study of so many users and seeds shows, from stated noise.

    Args:
        users: test users.
        user_noise: standard deviation over users of a difference, as a multiple of the full model's metric.
        training_noise: standard deviation of a training's mean metric, as a share of the metric.
        alpha: error level of the one-sided test.
        power: probability with which a depth of that `difference` is shown to be not worse.
        difference: true difference from the full model, as a share of its metric.

    Returns:
        Margins as shares of the full model's metric; a row per number of seeds, a column per number of users: half of
        them, these, and two and four times as many.

    Raises:
        InputError: an argument is outside its range.

    >>> planned_margins(20_000, 1.2, 0).round(4).loc[3].tolist()  # 2.49 * 1.2 / sqrt(users)
    [0.0298, 0.0211, 0.0149, 0.0105]
    """
    return margin_table(DifferenceNoise.stated(user_noise, training_noise), users, Aim(alpha, power, difference))


def margin_table(noise: DifferenceNoise, users: int, aim: Aim) -> pd.DataFrame:
    """Returns the table of `planned_margins` for noise of three parts.

    Raises:
        InputError: `users` is not a whole number of at least 1.
    """
    require_whole("users", users, 1)
    columns = list(dict.fromkeys((ceil(users / 2), users, 2 * users, 4 * users)))
    rows = [[smallest_margin(noise, n_users, n_seeds, aim) for n_users in columns] for n_seeds in SEEDS]
    return pd.DataFrame(rows, index=pd.Index(SEEDS, name="seeds"), columns=pd.Index(columns, name="users"))


def power_at(noise: DifferenceNoise, users: int, seeds: int, margin: float, aim: Aim) -> float:
    """Returns the probability that the test shows "not worse" by `margin`, a share of the full model's metric.

    Args:
        noise: of the difference.
        users: test users.
        seeds: trainings of each model, at least 2: one seed shows nothing about training noise.
        margin: above 0.
        aim: error level and true difference; its power is not used.
    """
    bounds, error = _bounds(noise, users, seeds, aim.alpha)
    return float(ndtr((margin + aim.difference - bounds) / error).mean())


def smallest_margin(noise: DifferenceNoise, users: int, seeds: int, aim: Aim) -> float:
    """Returns the smallest margin that is shown with the power of `aim`; 0 where any is."""
    bounds, error = _bounds(noise, users, seeds, aim.alpha)
    low, high = 0.0, float(bounds.max()) + 10 * error + 1.0
    for _ in range(60):  # halves the range each time, down to the last digits
        middle = (low + high) / 2
        enough = float(ndtr((middle + aim.difference - bounds) / error).mean()) >= aim.power
        low, high = (low, middle) if enough else (middle, high)
    return high if high > 1e-9 else 0.0


def users_needed(noise: DifferenceNoise, seeds: int, margin: float, aim: Aim) -> int | None:
    """Returns the smallest number of users at which `margin` is shown; None where no number is enough."""
    return _first(lambda users: power_at(noise, users, seeds, margin, aim) >= aim.power, MOST_USERS)


def seeds_needed(noise: DifferenceNoise, users: int, margin: float, aim: Aim) -> int | None:
    """Returns the smallest number of seeds, at least 2, at which `margin` is shown; None where no number is enough."""
    return _first(lambda seeds: power_at(noise, users, seeds, margin, aim) >= aim.power, MOST_SEEDS)


def _first(is_enough: Callable[[int], bool], most: int) -> int | None:
    """Returns the first whole number from 2 that is enough; None where none up to `most` is.

    Goes up by tenths and then halves the last step. Larger numbers need not be enough: with two seeds, more users shift
    the error to the seeds, of which the test knows less.
    """
    below, number = 1, 2
    while not is_enough(number):
        below, number = number, max(number + 1, round(number * 1.1))
        if number > most:
            return None
    while number - below > 1:
        middle = (below + number) // 2
        below, number = (below, middle) if is_enough(middle) else (middle, number)
    return number


def _bounds(noise: DifferenceNoise, users: int, seeds: int, alpha: float) -> tuple[np.ndarray, float]:
    """Returns how far the bound lies below the mean, for equally likely estimates, and the mean's standard error."""
    by_users = (noise.users + noise.joint / seeds) / users
    joint, by_seeds = noise.joint / seeds / users, noise.seeds / seeds
    chances = (np.arange(POINTS) + 0.5) / POINTS
    spread = (by_seeds + joint) * 2 * gammaincinv((seeds - 1) / 2, chances) / (seeds - 1)  # [points]
    estimate = np.maximum(spread - joint, 0.0)
    doubt = (estimate + joint) ** 2 / (seeds - 1) + by_users**2 / max(users - 1, 1)
    variance = by_users + estimate
    return stdtrit(variance**2 / doubt, 1 - alpha) * np.sqrt(variance), (by_users + by_seeds) ** 0.5
