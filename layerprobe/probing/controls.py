"""Variants compared with their twins of a control arm: do the pretrained weights matter, or only the layers?

Takes ranks of both, hands on `controls.json`: per selection the variant's metric minus its twin's, paired by user, with
bounds that hold for all selections together. The metric is always NDCG@10 on test targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np

from layerprobe import wording
from layerprobe.backbone.selection import LayerSelection
from layerprobe.errors import InputError
from layerprobe.evaluation.seeds import TrainingNoise, shared_noise
from layerprobe.evaluation.uncertainty import SimultaneousBounds, simultaneous_bounds
from layerprobe.probing.comparisons import require_covered
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.per_user import PerUser, RankTables, paired
from layerprobe.probing.wording import are, confidence, is_exploratory, noun, short, significantly
from layerprobe.store.controls import ControlArmRow, TwinRow

TwinVerdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class TwinDifference:
    """One variant compared with its twin.

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
        options: metric (NDCG@10), error level and resamples; the margin is not used.
        n_users: users compared.
        twins: the difference per selection, in the order given.
        sentence: the result in words.
    """

    control: str
    options: DecisionOptions
    n_users: int
    twins: dict[LayerSelection, TwinDifference]
    sentence: str

    def record(self) -> ControlArmRow:
        """Returns one entry of `controls.json`."""
        return ControlArmRow(
            control=self.control,
            metric=self.options.metric,
            k=self.options.k,
            alpha=self.options.alpha,
            n_boot=self.options.n_boot,
            seed=self.options.seed,
            n_users=self.n_users,
            sentence=self.sentence,
            selections=tuple(
                TwinRow(selection=kept.text, depth=kept.depth, layers=kept.layers, **asdict(twin))
                for kept, twin in self.twins.items()
            ),
        )


def compare_control(
    control: str, pairs: Mapping[LayerSelection, tuple[RankTables, RankTables]], options: DecisionOptions
) -> ControlArm:
    """Compares variants with their twins; the bounds hold for all selections together.

    Args:
        control: name of the arm.
        pairs: per selection the ranks of the variant and of its twin, one table or one per seed; at least one pair.
        options: error level, stated noise and resamples; metric, cut-off and margin are not used. A stated noise is a
            share of the deepest variant's value.

    Raises:
        InputError: no pair, ranks that lack the protocol `full` or the split `test`, or users that differ.
    """
    if not pairs:
        raise InputError(f"the control {control} needs at least one selection with layers; got none")
    options = replace(options, metric="ndcg", k=10)
    models = {
        selection: (
            PerUser.read(f"{selection}", variant, options),
            PerUser.read(f"{selection} of {control}", twin, options),
        )
        for selection, (variant, twin) in pairs.items()
    }
    reference = next(iter(models.values()))[0]
    for variant, twin in models.values():
        reference.check_same_users(variant)
        reference.check_same_users(twin)
    require_covered([model for pair in models.values() for model in pair], options)
    differences = [paired(variant, twin) for variant, twin in models.values()]
    stacked = np.stack(differences, axis=-1)  # [seeds, users, selections]
    if options.cover == "users":
        stacked = stacked.mean(axis=0)  # [users, selections]: without the seeds, bounds cover users alone
    noise, deepest = shared_noise(differences), max(models, key=lambda selection: selection.depth)
    prior = options.prior_noise * models[deepest][0].value
    known = TrainingNoise(noise, prior=prior)
    bounds = simultaneous_bounds(stacked, options.alpha, options.n_boot, options.seed, known)
    twins = {selection: _difference(*pair, bounds, column) for column, (selection, pair) in enumerate(models.items())}
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
    """Says at how many selections pretrained weights are better, at which they are worse, and what is undecided.

    With one seed and no stated noise it is said of these trained models, without a word of significance.
    """
    better, worse, undecided = (
        [selection for selection, difference in twins.items() if difference.verdict == verdict]
        for verdict in ("better", "worse", "undecided")
    )
    exploratory = is_exploratory(max(twin.seeds for twin in twins.values()), options)
    which = f" ({wording.listed([short(selection, twins) for selection in better])})" if better else ""
    compared = noun(twins) if len(twins) == 1 else f"{noun(twins)}s"
    sure = f"{confidence(options)} {'intervals for these trained models' if exploratory else 'confidence'}"
    text = (
        f"Pretrained weights give a {significantly(exploratory)}higher {options.label} than random weights at "
        f"{len(better) or 'none'} of {len(twins)} {compared}{which}, with {sure} for all together "
        f"({wording.count(n_users)} users{', one seed' if exploratory else ''})."
    )
    if worse:
        text += f" {are(worse, twins)} {significantly(exploratory)}worse with pretrained weights."
    if len(undecided) == len(twins) > 1:
        text += " All are undecided: their intervals contain 0."
    elif undecided:
        text += f" {are(undecided, twins)} undecided: the interval contains 0."
    return text
