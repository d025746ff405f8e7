"""Variants against their twins of a control arm: is it the pretrained weights, or the layers alone?

Takes ranks of both, hands on `controls.json`: per selection the variant's metric minus its twin's, user by user, with
bounds that hold for all selections at once. Whatever the decision's metric, NDCG@10 on test targets is compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from layerprobe import wording
from layerprobe.backbone.selection import LayerSelection
from layerprobe.errors import InputError
from layerprobe.evaluation.seeds import shared_noise
from layerprobe.evaluation.uncertainty import SimultaneousBounds, simultaneous_bounds
from layerprobe.probing.comparisons import require_covered
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.per_user import PerUser, RankTables, paired
from layerprobe.probing.wording import are, confidence, noun, short

TwinVerdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class TwinDifference:
    """One variant against its twin.

    Attributes:
        value: mean metric of the variant, averaged over seeds.
        control_value: that of the twin.
        difference: `value` minus `control_value`.
        ci_low, ci_high: two-sided bounds of the difference, simultaneous over all selections.
        verdict: "better" (`ci_low` above 0), "worse" (`ci_high` below 0) or "undecided".
        seeds: trainings of the variant that the metric was averaged over per user.
    """

    value: float
    control_value: float
    difference: float
    ci_low: float
    ci_high: float
    verdict: TwinVerdict
    seeds: int


@dataclass(frozen=True)
class ControlArm:
    """One control arm.

    Attributes:
        control: name of the arm.
        options: metric (NDCG@10), error and resamples; the margin has no part in it.
        n_users: users compared.
        twins: the difference per selection, in the order given.
        sentence: what it says, in words.
    """

    control: str
    options: DecisionOptions
    n_users: int
    twins: dict[LayerSelection, TwinDifference]
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Returns one entry of `controls.json`."""
        options = asdict(self.options)
        return {
            "control": self.control,
            **{name: options[name] for name in ("metric", "k", "alpha", "n_boot", "seed")},
            "n_users": self.n_users,
            "sentence": self.sentence,
            "selections": [
                {"selection": each.text, "depth": each.depth, "layers": list(each.layers), **asdict(found)}
                for each, found in self.twins.items()
            ],
        }


def compare_control(
    control: str, pairs: Mapping[LayerSelection, tuple[RankTables, RankTables]], options: DecisionOptions
) -> ControlArm:
    """Compares variants with their twins under one family-wise error.

    Args:
        control: name of the arm.
        pairs: per selection the ranks of the variant and of its twin, one table or one per seed; at least one pair.
        options: error and resamples; metric, cut-off and margin are not used.

    Raises:
        InputError: no pair, ranks that lack the protocol `full` or the split `test`, or users that differ.
    """
    if not pairs:
        raise InputError(f"the control {control} needs at least one selection with layers; got none")
    options = replace(options, metric="ndcg", k=10)
    read = {
        each: (
            PerUser.read(f"{each}", variant, options),
            PerUser.read(f"{each} of {control}", twin, options),
        )
        for each, (variant, twin) in pairs.items()
    }
    reference = next(iter(read.values()))[0]
    for variant, twin in read.values():
        reference.check_same_users(variant)
        reference.check_same_users(twin)
    require_covered([model for pair in read.values() for model in pair], options)
    differences = [paired(variant, twin) for variant, twin in read.values()]
    stacked = np.stack(differences, axis=-1)
    if options.cover == "users":
        stacked = stacked.mean(axis=0)
    noise = shared_noise(differences)
    bounds = simultaneous_bounds(stacked, options.alpha, options.n_boot, options.seed, noise)
    twins = {each: _difference(*read[each], bounds, column) for column, each in enumerate(read)}
    n_users = len(reference.users)
    return ControlArm(control, options, n_users, twins, control_sentence(twins, options, n_users))


def _difference(variant: PerUser, twin: PerUser, bounds: SimultaneousBounds, column: int) -> TwinDifference:
    low, high = float(bounds.low[column]), float(bounds.high[column])
    return TwinDifference(
        value=variant.value,
        control_value=twin.value,
        difference=float(bounds.mean[column]),
        ci_low=low,
        ci_high=high,
        verdict="better" if low > 0 else "worse" if high < 0 else "undecided",
        seeds=variant.seeds,
    )


def control_sentence(twins: Mapping[LayerSelection, TwinDifference], options: DecisionOptions, n_users: int) -> str:
    """Says for how many selections pretraining is better for certain, for which it is worse, and what is open."""
    better, worse, undecided = (
        [each for each, found in twins.items() if found.verdict == verdict]
        for verdict in ("better", "worse", "undecided")
    )
    which = f" ({wording.listed([short(each, twins) for each in better])})" if better else ""
    family = noun(twins) if len(twins) == 1 else f"{noun(twins)}s"
    text = (
        f"Pretrained weights give a higher {options.label} than random ones for certain at {len(better) or 'none'} of "
        f"{len(twins)} {family}{which}, with {confidence(options)} confidence for all together ({n_users:,} users)."
    )
    if worse:
        text += f" {are(worse, twins)} worse with them for certain."
    if len(undecided) == len(twins) > 1:
        text += " All are undecided: their intervals hold 0."
    elif undecided:
        text += f" {are(undecided, twins)} undecided: the interval holds 0."
    return text
