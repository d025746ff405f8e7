"""Selections against the baselines: does any depth beat the best cheap model? Asked before any depth is chosen.

Every selection is compared with every floor, paired by user and seed; the bounds hold for all these pairs together, so
that the best floor and the kept depth may be picked after looking.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from layerprobe.backbone.selection import LayerSelection
from layerprobe.probing.comparisons import Comparison, comparisons_of
from layerprobe.probing.verdicts.evidence import Evidence

Outcome = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class AgainstBaseline:
    """One selection compared with one floor.

    Attributes:
        difference: the selection's metric minus the floor's.
        relative: `difference` as a share of the floor's value; None where that is 0.
        ci_low, ci_high: two-sided bounds of the difference, simultaneous for all pairs of selection and floor.
        verdict: of the selection: "better" (`ci_low` > 0), "worse" (`ci_high` < 0) or "undecided".
    """

    difference: float
    relative: float | None
    ci_low: float
    ci_high: float
    verdict: Outcome


@dataclass(frozen=True)
class Baselines:
    """The floors of a decision.

    Attributes:
        against_full: each floor compared with the full model, as the selections are; a set of comparisons of its own.
        pairs: every selection against every floor.
        best: the floor with the highest metric; None where there is no floor.
        winner: the floor that is better than every selection, at several the one with the highest metric; None where
            there is none.
    """

    against_full: dict[str, Comparison]
    pairs: dict[tuple[LayerSelection, str], AgainstBaseline]
    best: str | None
    winner: str | None


def weigh_baselines(evidence: Evidence) -> Baselines:
    """Compares all selections with all floors."""
    floors, models, key = evidence.floors, evidence.models, evidence.full_key
    if not floors:
        return Baselines({}, {}, None, None)
    bounds = evidence.bounds([(name, key) for name in floors])
    against_full = comparisons_of(floors, evidence.full, bounds, evidence.options)
    pairs = _pairs(evidence, [(selection, name) for selection in models for name in floors])
    by_value = sorted(floors, key=lambda name: -floors[name].value)
    beating = [name for name in by_value if all(pairs[selection, name].verdict == "worse" for selection in models)]
    return Baselines(against_full, pairs, by_value[0], beating[0] if beating else None)


def _pairs(
    evidence: Evidence, asked: list[tuple[LayerSelection, str]]
) -> dict[tuple[LayerSelection, str], AgainstBaseline]:
    bounds = evidence.bounds(asked)
    pairs: dict[tuple[LayerSelection, str], AgainstBaseline] = {}
    for column, (selection, name) in enumerate(asked):
        low, high, mean = (float(part[column]) for part in (bounds.low, bounds.high, bounds.mean))
        floor = evidence.floors[name].value
        verdict: Outcome = "better" if low > 0 else "worse" if high < 0 else "undecided"
        pairs[selection, name] = AgainstBaseline(mean, mean / floor if floor else None, low, high, verdict)
    return pairs
