"""Paired comparisons with the full model: the evidence under a decision.

Takes ranks tables, hands on one `Comparison` per depth or floor and the power of the study.

Differences are paired: per user and seed the metric minus that of the full model. Their bounds cover the choice of
users and, where there are several seeds, training noise (`evaluation.uncertainty`). Two kinds are computed:
simultaneous for all models of one set of comparisons, and for each model alone.

A model is *better* if its two-sided interval lies above 0. It is *not worse* if its one-sided lower bound lies above
minus the margin, which is a share of the full model's value. It is *worse* if its two-sided interval lies below that;
else it is *undecided*.

The full model's value in the threshold is treated as known. For two similar models Cov(difference, full) =
-Var(difference) / 2, which makes the rule slightly conservative, unless the two models agree on nearly every user:
Var(full) > 50 Var(difference) at 2 %.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from layerprobe.errors import InputError
from layerprobe.evaluation.seeds import SeedNoise, shared_noise
from layerprobe.evaluation.uncertainty import SimultaneousBounds, simultaneous_bounds
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.per_user import PerUser, paired

Verdict = Literal["better", "not worse", "worse", "undecided", "untested"]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Comparison:
    """One depth or floor compared with the full model.

    Attributes:
        value: mean of the metric.
        difference: `value` minus the full model's.
        relative: `difference` as a share of the full model's value.
        ci_low, ci_high: two-sided bounds of the difference, simultaneous for the set of comparisons.
        lower_bound: one-sided lower bound of the difference, by which it is "not worse": simultaneous for the set of
            comparisons, but in a sequence the bound of this depth alone.
        not_worse: whether the verdict is "not worse" or "better".
        verdict: "better" (`ci_low` > 0), "not worse" (`lower_bound` > -margin * the full model's value), "worse"
            (`ci_high` below that), "undecided", or "untested" if a sequence stopped before it.
        seeds: trainings that the metric was averaged over per user.
        training_noise: standard deviation of the mean over training seeds, as a share of the full model's value; None
            with one seed.
    """

    value: float
    difference: float
    relative: float
    ci_low: float
    ci_high: float
    lower_bound: float
    not_worse: bool
    verdict: Verdict
    seeds: int
    training_noise: float | None


def compare(
    others: Mapping[Key, PerUser], full: PerUser, options: DecisionOptions, noise: SeedNoise | None = None
) -> tuple[dict[Key, Comparison], SimultaneousBounds, SeedNoise]:
    """Compares a set of models with the full model; the bounds hold for all of them together.

    Args:
        others: at least one depth or floor.
        full: the full model; its metric must be above 0.
        options: margin, error level and resamples.
        noise: seed noise of the study's differences; None estimates it from these models.

    Returns:
        A comparison per key, in the order given; the bounds behind them, a column per key; and the seed noise in them.

    Raises:
        InputError: users or targets differ from the full model's, or numbers of seeds do not pair.
    """
    differences = [paired(other, full) for other in others.values()]  # each [seeds, users]; seeds may be 1
    noise = shared_noise(differences) if noise is None else noise
    n_seeds, n_users = max(len(rows) for rows in differences), len(full.users)
    # [seeds, users, models]; a floor that was trained once is compared with every seed of the full model.
    stacked = np.stack([np.broadcast_to(rows, (n_seeds, n_users)) for rows in differences], axis=-1)
    if options.cover == "users":
        stacked = stacked.mean(axis=0, keepdims=True)  # [1, users, models]: without the seeds, bounds cover users alone
    # How many of the two models of a difference bring training noise: 0, 1 or 2.
    trained = np.array([sum(model.seeds > 1 for model in (other, full)) for other in others.values()])
    bounds = simultaneous_bounds(stacked, options.alpha, options.n_boot, options.seed, noise, trained)
    reference = full.value
    threshold = -options.margin * reference
    comparisons: dict[Key, Comparison] = {}
    for column, (key, other) in enumerate(others.items()):
        low, high = float(bounds.low[column]), float(bounds.high[column])
        lower = float(bounds.lower[column])
        verdict = verdict_of(low, high, lower > threshold, threshold)
        comparisons[key] = Comparison(
            value=other.value,
            difference=float(bounds.mean[column]),
            relative=float(bounds.mean[column]) / reference,
            ci_low=low,
            ci_high=high,
            lower_bound=lower,
            not_worse=verdict in ("better", "not worse"),
            verdict=verdict,
            seeds=other.seeds,
            training_noise=training_noise(other, reference),
        )
    return comparisons, bounds, noise


def verdict_of(low: float, high: float, passes: bool, threshold: float) -> Verdict:
    """Returns the verdict of interval and one-sided test; `threshold` is minus the margin, in units of the metric."""
    if low > 0:
        return "better"
    if passes:
        return "not worse"
    return "worse" if high < threshold else "undecided"


def training_noise(model: PerUser, reference: float) -> float | None:
    """Returns the standard deviation over seeds of a model's mean, as a share of `reference`; None with one seed."""
    return None if model.seeds == 1 else float(model.metric.mean(axis=1).std(ddof=1)) / reference


def require_covered(models: list[PerUser], options: DecisionOptions) -> None:
    """Makes sure that there are enough seeds for what intervals must cover.

    Raises:
        InputError: models have different numbers of seeds, or one seed where training noise must be covered.
    """
    numbers = {model.name: model.seeds for model in models}
    if len(set(numbers.values())) > 1:
        fewest, most = min(numbers, key=numbers.__getitem__), max(numbers, key=numbers.__getitem__)
        raise InputError(
            f"every model must be trained with the same number of seeds; {fewest} has {numbers[fewest]} and {most} "
            f"{numbers[most]}: train the missing ones"
        )
    once = [model.name for model in models if model.seeds == 1]
    if options.cover == "training" and once:
        raise InputError(
            f"decision.cover training needs at least 2 training seeds of every model; {once[0]} has 1: give "
            "probe.seeds two or more, or set decision.cover users"
        )
