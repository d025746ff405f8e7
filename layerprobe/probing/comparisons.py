"""`Comparison`: one depth or floor against the full model, the evidence under a decision.

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

from layerprobe.errors import InputError
from layerprobe.evaluation.uncertainty import SimultaneousBounds
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.per_user import PerUser

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
        differing: users whose metric differs from the full model's in any training. Where few do, the bounds are wider
            (`evaluation.few.LEAST_DIFFERING`).
        proven_margin: smallest margin that is proven, as a share of the full model's value, whatever margin is chosen
            after looking: from bounds that hold for all selections together.
        proven_alone: the same for one margin that was fixed beforehand: in a sequence from the bounds of single depths,
            the largest of this depth and those above it; else equal to `proven_margin`.
        could_be_best: whether no other selection is shown to be better (Hsu 1996, multiple comparisons with the best);
            None for floors.
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
    differing: int
    proven_margin: float
    proven_alone: float
    could_be_best: bool | None = None


def comparisons_of(
    models: Mapping[Key, PerUser], full: PerUser, bounds: SimultaneousBounds, options: DecisionOptions
) -> dict[Key, Comparison]:
    """Returns the comparison of each model with the full one.

    Args:
        models: what was compared, in the order of the bounds' columns.
        full: the full model; its metric must be above 0.
        bounds: of the differences from the full model.
        options: the margin.
    """
    threshold = -options.margin * full.value
    comparisons: dict[Key, Comparison] = {}
    for column, (key, model) in enumerate(models.items()):
        low, high = float(bounds.low[column]), float(bounds.high[column])
        lower, mean = float(bounds.lower[column]), float(bounds.mean[column])
        verdict = verdict_of(low, high, lower > threshold, threshold)
        proven = proven_margin(lower, full.value)
        comparisons[key] = Comparison(
            value=model.value,
            difference=mean,
            relative=mean / full.value,
            ci_low=low,
            ci_high=high,
            lower_bound=lower,
            not_worse=verdict in ("better", "not worse"),
            verdict=verdict,
            seeds=model.seeds,
            training_noise=training_noise(model, full.value),
            differing=int(bounds.differing[column]),
            proven_margin=proven,
            proven_alone=proven,
        )
    return comparisons


def verdict_of(low: float, high: float, passes: bool, threshold: float) -> Verdict:
    """Returns the verdict of interval and one-sided test; `threshold` is minus the margin, in units of the metric."""
    if low > 0:
        return "better"
    if passes:
        return "not worse"
    return "worse" if high < threshold else "undecided"


def proven_margin(lower: float, reference: float) -> float:
    """Returns the largest loss that a lower bound leaves possible, as a share of `reference`; at least 0."""
    return max(0.0, -lower / reference)


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
