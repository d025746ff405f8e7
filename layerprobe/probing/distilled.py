"""The distilled student compared with plain fine-tuning of the same layers: does distillation help?

Takes ranks of both, hands on `distilled.json`: student minus plain model, paired by user and seed, on the decision's
metric, with an interval of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from layerprobe import wording
from layerprobe.backbone.selection import LayerSelection
from layerprobe.errors import InputError
from layerprobe.evaluation.seeds import TrainingNoise, seeded_intervals
from layerprobe.evaluation.uncertainty import simultaneous_bounds
from layerprobe.kinds import SASREC
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.per_user import PerUser, RankTables, paired
from layerprobe.probing.verdicts.student import against_baselines, baselines_sentence
from layerprobe.probing.wording import confidence, is_exploratory, significantly
from layerprobe.store.decision import BaselineRow
from layerprobe.store.distilled import DistilledRecord

GainVerdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class Gain:
    """What distillation gains over plain fine-tuning of the same layers.

    Attributes:
        value: mean metric of the distilled student, over seeds and users.
        plain_value: that of the same layers without a teacher.
        difference: `value` minus `plain_value`.
        relative: `difference` as a share of `plain_value`; None where that is 0.
        ci_low, ci_high: two-sided interval of the difference; it covers the choice of users and, with several seeds and
            unless `cover` is `users`, training noise.
        verdict: of the student: "better" (`ci_low` above 0), "worse" (`ci_high` below 0) or "undecided". With one seed
            and `cover` `training` it is always "undecided".
        seeds: trainings of each.
        n_users: users compared.
    """

    value: float
    plain_value: float
    difference: float
    relative: float | None
    ci_low: float
    ci_high: float
    verdict: GainVerdict
    seeds: int
    n_users: int


@dataclass(frozen=True)
class DistilledComparison:
    """The comparison, in numbers and in words.

    Attributes:
        options: metric, alpha and cover are used.
        selection: the student's layers.
        gain: the numbers.
        against_baselines: the student against every baseline.
        sentence: the result in words.
        notes: what limits it.
    """

    options: DecisionOptions
    selection: LayerSelection
    gain: Gain
    against_baselines: tuple[BaselineRow, ...]
    sentence: str
    notes: tuple[str, ...]

    def record(self, student: str, plain: str, notes: Sequence[str] = ()) -> DistilledRecord:
        """Returns the content of `distilled.json`.

        Args:
            student: folder name of the student.
            plain: selection of the plain models, as the study writes it.
            notes: what limits the comparison besides.
        """
        return DistilledRecord(
            student=student,
            plain=plain,
            metric=self.options.metric,
            k=self.options.k,
            alpha=self.options.alpha,
            selection=self.selection.text,
            depth=self.selection.depth,
            layers=self.selection.layers,
            **asdict(self.gain),
            sentence=self.sentence,
            notes=(*self.notes, *notes),
            against_baselines=self.against_baselines,
        )


def compare_distilled(
    selection: LayerSelection,
    distilled: RankTables,
    plain: RankTables,
    options: DecisionOptions,
    unlike: Sequence[str] = (),
    baselines: Mapping[str, RankTables] | None = None,
) -> DistilledComparison:
    """Compares the student with plain fine-tuning of its layers, and with the baselines.

    Args:
        selection: the layers of both.
        distilled: ranks of the student, one table or one per training seed.
        plain: ranks of the plain models, of the same seeds in the same order.
        options: metric and error level.
        unlike: what differs between the two trainings besides the teacher, one clause each; empty means one recipe.
        baselines: ranks of the floors, by name; a trained one has the same seeds, or one.

    Raises:
        InputError: numbers of seeds or users that differ, or ranks without the protocol `full` or the split `test`.
    """
    student = PerUser.read(f"the distilled {selection}", distilled, options)
    other = PerUser.read(f"the plain {selection}", plain, options)
    if student.seeds != other.seeds:
        raise InputError(
            f"{student.name} and {other.name} must be trained with the same seeds; got {student.seeds} and "
            f"{other.seeds}: leave out the seeds that only one of them has"
        )
    gain = _gain(student, other, options)
    floors = {name: PerUser.read(name, tables, options) for name, tables in (baselines or {}).items()}
    rows = against_baselines(student, other, floors, selection, options)
    sentence = gain_sentence(gain, selection, options, unlike)
    if rows:
        sentence += f" {baselines_sentence(rows, gain.value, gain.seeds, options)}"
    notes = _notes(gain.seeds, options)
    if gain.seeds > 1 and options.cover != "users" and SASREC in floors and floors[SASREC].seeds == 1:
        notes += ("SASRec was trained once: the interval against it does not cover its own training noise.",)
    return DistilledComparison(options, selection, gain, rows, sentence, notes)


def _gain(student: PerUser, plain: PerUser, options: DecisionOptions) -> Gain:
    differences = paired(student, plain)  # [seeds, users]
    if options.cover == "users":
        differences = differences.mean(axis=0, keepdims=True)  # [1, users]: the interval covers users alone
    low, high = _interval(differences[:, :, None], options, options.prior_noise * plain.value)
    difference = float(differences.mean())
    is_covered = student.seeds > 1 or options.cover != "training"
    return Gain(
        value=student.value,
        plain_value=plain.value,
        difference=difference,
        relative=difference / plain.value if plain.value else None,
        ci_low=low,
        ci_high=high,
        verdict="undecided" if not is_covered else "better" if low > 0 else "worse" if high < 0 else "undecided",
        seeds=student.seeds,
        n_users=differences.shape[1],
    )


def _interval(differences: np.ndarray, options: DecisionOptions, prior: float) -> tuple[float, float]:
    """Returns the interval of one difference [seeds, users, 1]; a stated noise, `prior`, may widen it."""
    (low,), (high,) = seeded_intervals(differences, options.alpha)
    if prior:
        known = TrainingNoise(prior=prior)
        stated = simultaneous_bounds(differences, options.alpha, options.n_boot, options.seed, known)
        low, high = min(low, stated.low[0]), max(high, stated.high[0])
    return float(low), float(high)


def gain_sentence(gain: Gain, selection: LayerSelection, options: DecisionOptions, unlike: Sequence[str] = ()) -> str:
    """Says whether the student is better than the same layers without a teacher, and whether their budgets were equal.

    Args:
        gain: the numbers.
        selection: the layers of both.
        options: metric and error level.
        unlike: what differs between the two trainings besides the teacher.
    """
    layers = wording.layer_count(selection.depth)
    trained = "users, one seed" if gain.seeds == 1 else f"users, {gain.seeds} seeds each"
    share = "" if gain.relative is None else f" ({wording.signed_percent(gain.relative)})"
    text = (
        f"The distilled student ({selection}, {layers}) has an {options.label} of {wording.four_digits(gain.value)}; "
        f"the same layers fine-tuned without a teacher have {wording.four_digits(gain.plain_value)}. The difference "
        f"is {wording.signed(gain.difference)}{share}, with a {confidence(options)} interval of "
        f"{wording.signed(gain.ci_low)} to {wording.signed(gain.ci_high)} ({wording.count(gain.n_users)} {trained}). "
        f"{_verdict(gain, options)}."
    )
    if not unlike:
        return f"{text} Both had the same training budget: the same recipe and examples, at most as many epochs."
    return f"{text} The trainings differ in more than the teacher: {'; '.join(unlike)}."


def _verdict(gain: Gain, options: DecisionOptions) -> str:
    if gain.verdict == "undecided" and not gain.ci_low <= 0 <= gain.ci_high:
        reason = "one seed does not show training noise (decision.cover training)"
        return f"It is undecided which of the two is better: {reason}"
    if gain.verdict == "undecided":
        return "It is undecided which of the two is better: the interval contains 0"
    exploratory = is_exploratory(gain.seeds, options)
    these = ", for these trained models" if exploratory else ""
    return f"The student is {significantly(exploratory)}{gain.verdict}{these}"


def _notes(seeds: int, options: DecisionOptions) -> tuple[str, ...]:
    users_alone = "The interval covers the choice of users, not training noise"
    if seeds == 1 and options.prior_noise:
        limit = (
            "Each was trained once. Training noise was not measured: a standard deviation of "
            f"{wording.level(options.prior_noise)} of the plain model's value was stated (decision.prior_noise)."
        )
    elif seeds == 1:
        limit = f"{users_alone}: each was trained once. Use several probe.seeds and distill.every_seed to measure it."
    elif options.cover == "users":
        limit = f"{users_alone} (decision.cover users): it holds for these trained models."
    else:
        limit = (
            "The interval covers the choice of users and training noise, but not the noise of the item table and the "
            "teacher, which all models share."
        )
    return (limit, "The training budget does not include the training of the teacher.")
