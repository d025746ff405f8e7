"""Makes decisions of made-up numbers, for tests of what is drawn and said about them."""

from __future__ import annotations

from typing import Any

from layerprobe.store.decision import BaselineRow, DecisionRecord, FloorRow, PowerRow, SelectionRow

NUMBERS: dict[str, Any] = {
    "difference": 0.0,
    "relative": 0.0,
    "ci_low": 0.0,
    "ci_high": 0.0,
    "lower_bound": 0.0,
    "not_worse": True,
    "verdict": "not worse",
}
POWER = PowerRow(minimal_detectable_relative_difference=0.01, n_users=400, users_needed_for_margin=100, n_seeds=3)


def selection_row(depth: int, selection: str = "", value: float = 0.2, **numbers: Any) -> SelectionRow:
    """One selection; what is not given equals the full model."""
    return SelectionRow(depth=depth, selection=selection, value=value, **(NUMBERS | numbers))


def floor_row(name: str, value: float = 0.1, **numbers: Any) -> FloorRow:
    """One floor; what is not given equals the full model."""
    return FloorRow(name=name, value=value, **(NUMBERS | numbers))


def against(selection: str, baseline: str, verdict: str = "undecided", **numbers: Any) -> BaselineRow:
    """One selection against one floor; what is not given is no difference."""
    none: dict[str, Any] = {"difference": 0.0, "relative": 0.0, "ci_low": -0.01, "ci_high": 0.01}
    depth = int(selection.split(":")[1])
    return BaselineRow(selection=selection, depth=depth, baseline=baseline, verdict=verdict, **(none | numbers))


def decision_of(rows: list[SelectionRow], floors: tuple[FloorRow, ...] = (), **changes: Any) -> DecisionRecord:
    """A decision of three seeds whose full model is the last of its rows."""
    content: dict[str, Any] = {
        "metric": "ndcg",
        "k": 10,
        "margin": 0.02,
        "alpha": 0.05,
        "n_boot": 100,
        "seed": 0,
        "depth": None,
        "full_depth": rows[-1].depth,
        "sentence": "made up",
        "depths": tuple(rows),
        "baselines": floors,
        "power": POWER,
        "notes": (),
    }
    return DecisionRecord(**(content | changes))
