"""Decision records with made-up numbers, for tests of what reads them."""

from __future__ import annotations

from typing import Any

from layerprobe.store.decision import DecisionRecord, FloorRow, PowerRow, SelectionRow

NUMBERS = {
    "value": 0.2,
    "difference": 0.0,
    "relative": 0.0,
    "ci_low": 0.0,
    "ci_high": 0.0,
    "lower_bound": 0.0,
    "not_worse": False,
    "verdict": "worse",
}


def made_row(selection: str, depth: int, **numbers: Any) -> SelectionRow:
    """One selection of the first layers."""
    return SelectionRow(**{**NUMBERS, "layers": tuple(range(depth)), **numbers, "depth": depth, "selection": selection})


def made_floor(name: str, **numbers: Any) -> FloorRow:
    """One floor."""
    return FloorRow(**{**NUMBERS, **numbers, "name": name})


def made_decision(**parts: Any) -> DecisionRecord:
    """A decision on NDCG@10 with a margin of 2 % that keeps nothing below four layers, but for the parts given."""
    power = PowerRow(minimal_detectable_relative_difference=0.01, n_users=100, users_needed_for_margin=50)
    whole = {
        "metric": "ndcg",
        "k": 10,
        "margin": 0.02,
        "alpha": 0.05,
        "n_boot": 200,
        "seed": 0,
        "depth": None,
        "full_depth": 4,
        "sentence": "Keep all layers.",
        "depths": (),
        "baselines": (),
        "power": power,
        "notes": (),
    }
    return DecisionRecord(**{**whole, **parts})
