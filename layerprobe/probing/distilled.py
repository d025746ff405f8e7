"""The distilled student against plain fine-tuning of the same layers: was the distillation worth it?

Takes ranks of both, hands on `distilled.json`: student minus plain model, user by user and seed by seed, on the
decision's metric, with an interval of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from layerprobe import wording
from layerprobe.backbone.selection import LayerSelection
from layerprobe.errors import InputError
from layerprobe.evaluation.seeds import seeded_intervals
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.per_user import PerUser, RankTables, paired
from layerprobe.probing.wording import confidence

GainVerdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class Gain:
    """What distillation made of some layers.

    Attributes:
        value: mean metric of the distilled student, over seeds and users.
        plain_value: that of the same layers without a teacher.
        difference: `value` minus `plain_value`.
        relative: `difference` as a share of `plain_value`; None where that is 0.
        ci_low, ci_high: two-sided interval of the difference; it covers the choice of users and, with several seeds and
            unless `cover` is `users`, the noise of training.
        verdict: of the student: "better" (`ci_low` above 0), "worse" (`ci_high` below 0) or "undecided", which it is
            in any case where `cover` asks for the noise of training and there is one seed.
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

    @property
    def has_difference(self) -> bool:
        """Whether any user's value differs; none does where both are one model, neither improved by its training."""
        return self.difference != 0 or self.ci_low != self.ci_high


@dataclass(frozen=True)
class DistilledComparison:
    """The comparison, in numbers and in words.

    Attributes:
        options: what was asked; metric, alpha and cover count here.
        selection: the student's layers.
        gain: the numbers.
        sentence: what they say.
        notes: what limits it.
    """

    options: DecisionOptions
    selection: LayerSelection
    gain: Gain
    sentence: str
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of `distilled.json`."""
        return {
            "metric": self.options.metric,
            "k": self.options.k,
            "alpha": self.options.alpha,
            "selection": self.selection.text,
            "depth": self.selection.depth,
            "layers": list(self.selection.layers),
            **asdict(self.gain),
            "sentence": self.sentence,
            "notes": list(self.notes),
        }


def compare_distilled(
    selection: LayerSelection,
    distilled: RankTables,
    plain: RankTables,
    options: DecisionOptions,
    unlike: Sequence[str] = (),
) -> DistilledComparison:
    """Compares the student with plain fine-tuning of its layers.

    Args:
        selection: the layers of both.
        distilled: ranks of the student, one table or one per training seed.
        plain: ranks of the plain models, of the same seeds in the same order.
        options: metric and error.
        unlike: what beside the teacher told the two trainings apart, one clause each; none means one recipe.

    Raises:
        InputError: other numbers of seeds, users that differ, or ranks without the protocol `full` or the split `test`.
    """
    student = PerUser.read(f"the distilled {selection}", distilled, options)
    other = PerUser.read(f"the plain {selection}", plain, options)
    if student.seeds != other.seeds:
        raise InputError(
            f"{student.name} and {other.name} must be trained with the same seeds; got {student.seeds} and "
            f"{other.seeds}: leave out the seeds that only one of them has"
        )
    gain = _gain(student, other, options)
    return DistilledComparison(
        options, selection, gain, gain_sentence(gain, selection, options, unlike), _notes(gain.seeds, options)
    )


def _gain(student: PerUser, plain: PerUser, options: DecisionOptions) -> Gain:
    differences = paired(student, plain)
    if options.cover == "users":
        differences = differences.mean(axis=0, keepdims=True)
    (low,), (high,) = seeded_intervals(differences[:, :, None], options.alpha)
    difference = float(differences.mean())
    is_covered = student.seeds > 1 or options.cover != "training"
    return Gain(
        value=student.value,
        plain_value=plain.value,
        difference=difference,
        relative=difference / plain.value if plain.value else None,
        ci_low=float(low),
        ci_high=float(high),
        verdict="undecided" if not is_covered else "better" if low > 0 else "worse" if high < 0 else "undecided",
        seeds=student.seeds,
        n_users=differences.shape[1],
    )


def gain_sentence(gain: Gain, selection: LayerSelection, options: DecisionOptions, unlike: Sequence[str] = ()) -> str:
    """Says whether the student is better than its layers fine-tuned plainly, and whether their budgets were equal.

    Args:
        gain: the numbers.
        selection: the layers of both.
        options: metric and error.
        unlike: what beside the teacher told the two trainings apart.
    """
    layers = "the one layer" if selection.depth == 1 else f"the {selection.depth} layers"
    trained = "users" if gain.seeds == 1 else f"users, {gain.seeds} seeds each"
    share = "" if gain.relative is None else f" ({wording.signed_percent(gain.relative)})"
    text = (
        f"Distilled, {layers} of {selection} {'has' if selection.depth == 1 else 'have'} an {options.label} of "
        f"{wording.four_digits(gain.value)}, and {wording.four_digits(gain.plain_value)} fine-tuned without a teacher: "
        f"{_said(gain)}, a difference of "
        f"{wording.signed(gain.difference)}{share} with a {confidence(options)} interval of "
        f"{wording.signed(gain.ci_low)} to {wording.signed(gain.ci_high)} ({wording.count(gain.n_users)} {trained})."
    )
    if not unlike:
        return f"{text} Both had one budget: the same recipe, the same examples, at most as many epochs."
    return f"{text} The trainings differ in more than the teacher: {'; '.join(unlike)}."


def _said(gain: Gain) -> str:
    if not gain.has_difference:
        return "undecided, since every user has the same value with both"
    if gain.verdict == "undecided" and not gain.ci_low <= 0 <= gain.ci_high:
        return "undecided, since one seed shows nothing of the noise of training, which decision.cover asks for"
    if gain.verdict == "undecided":
        return "undecided, since the interval holds 0"
    return f"{gain.verdict} for certain"


def _notes(seeds: int, options: DecisionOptions) -> tuple[str, ...]:
    users_alone = "The interval covers the choice of users, not the noise of training"
    if seeds == 1:
        limit = f"{users_alone}: each was trained once. Several probe.seeds with distill.every_seed show that noise."
    elif options.cover == "users":
        limit = f"{users_alone}, as decision.cover users asks: it is about these very models."
    else:
        limit = (
            "The interval covers the choice of users and the noise of training, given the one item table and the one "
            "teacher that all share."
        )
    return (limit, "The student's budget leaves out the training of its teacher.")
