"""Tests of the selections against the full model, by the rule of the decision.

Rule `sequence`: one selection represents each depth, the one written `first:k`, or else the first that was named. These
are tested from the deepest down, each at the full error level, and the test stops at the first that fails. So the
probability of any false "not worse" in the sequence is at most that level (Maurer, Hothorn and Lehmacher 1995). The
bounds of the other selections hold for all selections together.

Rule `simultaneous`: the bounds hold for all selections together. So the smallest depth that passes may be picked
without an order, and at that depth the selection with the highest metric. Deeper ones need not pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import takewhile

from layerprobe import wording
from layerprobe.backbone.selection import LayerSelection
from layerprobe.evaluation.few import LEAST_DIFFERING
from layerprobe.evaluation.uncertainty import SimultaneousBounds
from layerprobe.probing.comparisons import Comparison, comparisons_of, proven_margin, training_noise, verdict_of
from layerprobe.probing.power import Power, Tested, power_of
from layerprobe.probing.verdicts.evidence import Evidence


@dataclass(frozen=True)
class Judged:
    """The selections, compared with the full model and tested.

    Attributes:
        comparisons: the comparison of each, the full model (difference 0) last.
        sequence: those that represent their depths, in the order of testing; empty by the rule `simultaneous`.
        chosen: the smallest that passed, at equal depth the one with the highest metric; None where none did.
        power: what these users and seeds can show for the selection that stopped the test.
    """

    comparisons: dict[LayerSelection, Comparison]
    sequence: tuple[LayerSelection, ...]
    chosen: LayerSelection | None
    power: Power


def judge(evidence: Evidence) -> Judged:
    """Compares all selections with the full model and tests them by the rule."""
    options, full, key = evidence.options, evidence.full, evidence.full_key
    bounds = evidence.bounds([(selection, key) for selection in evidence.smaller])
    tested = comparisons_of(evidence.smaller, full, bounds, options)
    order = sequence_of(evidence.smaller) if options.rule == "sequence" else ()
    alone = dict(zip(evidence.smaller, map(float, bounds.alone), strict=True))
    tested |= _in_sequence(order, tested, alone, evidence)
    # In a sequence a selection behind the first failure cannot be chosen, even if it is better.
    passing = takewhile if order else filter
    passed = tuple(passing(lambda selection: tested[selection].not_worse, order or tested))
    chosen = min(passed, key=lambda selection: (selection.depth, -tested[selection].value), default=None)
    own = training_noise(full, full.value)
    whole = Comparison(full.value, 0.0, 0.0, 0.0, 0.0, 0.0, True, "not worse", full.seeds, own, 0, 0.0, 0.0)
    power = _power(tested, order, chosen, bounds, evidence)
    return Judged({**tested, key: whole}, order, chosen, power)


def sequence_of(smaller: Mapping[LayerSelection, object]) -> tuple[LayerSelection, ...]:
    """Returns the selection that represents each depth, the deepest first."""
    by_depth: dict[int, LayerSelection] = {}
    for selection in smaller:
        if selection.depth not in by_depth or _goes_before(selection, by_depth[selection.depth]):
            by_depth[selection.depth] = selection
    return tuple(by_depth[depth] for depth in sorted(by_depth, reverse=True))


def _goes_before(selection: LayerSelection, other: LayerSelection) -> bool:
    return wording.keeps_first(selection.text) and not wording.keeps_first(other.text)


def _in_sequence(
    order: tuple[LayerSelection, ...],
    comparisons: Mapping[LayerSelection, Comparison],
    alone: Mapping[LayerSelection, float],
    evidence: Evidence,
) -> dict[LayerSelection, Comparison]:
    """Returns the comparisons of the sequence with its verdicts: what comes after the first failure is untested.

    "Better" and "worse" come from the simultaneous intervals, which need no order. A selection that is better behind
    the first failure is reported as such but not chosen: the depths between it and the full model are not all shown to
    be good enough.

    Args:
        order: the selections that represent their depths, the deepest first.
        comparisons: the simultaneous comparisons of all selections.
        alone: lower bound of each selection alone, not simultaneous; valid as long as nothing before it failed.
        evidence: the full model and the margin.
    """
    full, allowed = evidence.full.value, evidence.options.margin * evidence.full.value
    tested: dict[LayerSelection, Comparison] = {}
    is_open, proven = True, 0.0
    for selection in order:
        comparison = comparisons[selection]
        bound = alone[selection] if is_open else comparison.lower_bound
        passes = is_open and bound > -allowed
        verdict = verdict_of(comparison.ci_low, comparison.ci_high, passes, -allowed)
        if verdict == "undecided" and not is_open:
            verdict = "untested"
        is_open = passes
        proven = max(proven, proven_margin(alone[selection], full))
        not_worse = verdict in ("better", "not worse")
        tested[selection] = replace(
            comparison, lower_bound=bound, not_worse=not_worse, verdict=verdict, proven_alone=proven
        )
    return tested


def _power(
    comparisons: Mapping[LayerSelection, Comparison],
    order: tuple[LayerSelection, ...],
    chosen: LayerSelection | None,
    bounds: SimultaneousBounds,
    evidence: Evidence,
) -> Power:
    """Returns the power for the selection that stopped the test, or for the smallest where all passed.

    By the rule `simultaneous` none stops the others; the largest undecided one below the answer stands for them.
    """
    candidates = order or tuple(sorted(comparisons, key=lambda each: (-each.depth, -comparisons[each].value)))
    below = [selection for selection in candidates if chosen is None or selection.depth < chosen.depth]
    failed = [selection for selection in below if not comparisons[selection].not_worse]
    undecided = [selection for selection in failed if comparisons[selection].verdict == "undecided"]
    stopped = (failed if order else undecided or failed) or [candidates[-1] if chosen is None else chosen]
    column = list(comparisons).index(stopped[0])
    critical = float(bounds.critical_alone[column]) if order else bounds.critical_lower
    # The spread of a handful of users is no variance: what more users would show cannot be told from it.
    is_known = not evidence.is_exploratory and int(bounds.differing[column]) >= LEAST_DIFFERING
    tested = Tested(stopped[0].text, column, critical, evidence.full.seeds, is_known)
    return power_of(bounds.error, tested, evidence.full.value, evidence.options.margin)
