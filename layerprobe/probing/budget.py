"""`BudgetPick`: which layers to keep where the cost of a model is limited.

Takes the content of `decision.json`, the table of costs and validation values, hands on what is written beside the
decision. The decided selection is picked if it keeps the budget. Else the pick is the one with the highest validation
value among the selections that keep it: the highest test value would be picked for its luck, and then read too high. It
need not be shown to be not worse; the sentence says, from test users, whether it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite, nan
from typing import Annotated

import pandas as pd

from layerprobe import columns, wording
from layerprobe.arguments import checked
from layerprobe.errors import BudgetNotMet, InputError
from layerprobe.kinds import label_of
from layerprobe.ranges import Range
from layerprobe.store.decision import USE_BASELINE, BudgetRow, DecisionRecord, SelectionRow


@dataclass(frozen=True)
@checked
class BudgetOptions:
    """Limits on the cost of a model.

    Raises:
        InputError: a limit is not above 0.
    """

    latency_ms: Annotated[float | None, Range(0, 10**9, above=True)] = None
    """Largest latency of a request of one user (p95) in milliseconds, on the machine of the cost stage; null sets no
    limit."""
    parameters: Annotated[int | None, Range(1, 10**15)] = None
    """Largest number of parameters, item table included; null sets no limit."""

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set, by name."""
        limits = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: limit for name, limit in limits.items() if limit is not None}

    @property
    def label(self) -> str:
        """The budget as the command line takes it."""
        return ",".join(f"{name}={limit:.15g}" for name, limit in self.limits.items())


@dataclass(frozen=True)
class BudgetPick:
    """The answer under a budget.

    Attributes:
        budget: the limits.
        selection, depth, layers: the picked selection; None where no studied one keeps the budget.
        is_decided: whether it is the decided selection, or the full model where none was decided.
        costs: its costs, by the name of the limit; where none keeps the budget, those of the nearest selection.
        sentence: the answer in words.
    """

    budget: BudgetOptions
    selection: str | None
    depth: int | None
    layers: tuple[int, ...] | None
    is_decided: bool
    costs: dict[str, float]
    sentence: str

    def record(self) -> BudgetRow:
        """Returns the entry `budget` of `decision.json`."""
        return BudgetRow(
            **asdict(self.budget),
            selection=self.selection,
            depth=self.depth,
            layers=self.layers,
            is_decided=self.is_decided,
            costs=self.costs,
            sentence=self.sentence,
        )

    def require_met(self) -> None:
        """Refuses a budget that no selection keeps.

        Raises:
            BudgetNotMet: no studied selection keeps it; the message names the nearest.
        """
        if self.selection is None:
            raise BudgetNotMet(self.sentence)


def pick_within(
    budget: BudgetOptions, decision: DecisionRecord, costs: pd.DataFrame, valid: Mapping[str, float]
) -> BudgetPick:
    """Picks a selection that keeps the budget; test values take no part in it.

    Args:
        budget: at least one limit.
        decision: what was decided.
        costs: `costs.csv`; a selection without a row cannot be picked.
        valid: per selection the decision's metric of validation users (full ranking, mean over seeds).

    Returns:
        The decided selection (the full model where none was decided) if it keeps the budget. Else the one with the
        highest validation value among those that do; of two equal ones the smaller. Where none does, a pick of None.

    Raises:
        InputError: no selection was measured, or one that was has no validation value.
    """
    known = _amounts(budget, costs)
    rows = sorted((row for row in decision.depths if row.selection in known), key=lambda row: row.depth)
    if not rows:
        raise InputError(
            f"a budget needs a measured selection; none is in costs.csv: run the cost stage for {budget.label}"
        )
    _require_valid(rows, valid)
    within = [row for row in rows if _excess(budget, known[row.selection]) <= 1]
    if not within:
        near = min(rows, key=lambda row: (_excess(budget, known[row.selection]), -valid[row.selection]))
        costs_near = known[near.selection]
        return BudgetPick(budget, None, None, None, False, costs_near, _not_met(budget, near, costs_near))
    decided = _decided(decision)
    picked = decided if decided in within else max(within, key=lambda row: valid[row.selection])
    return BudgetPick(
        budget=budget,
        selection=picked.selection,
        depth=picked.depth,
        layers=picked.layers,
        is_decided=picked is decided,
        costs=known[picked.selection],
        sentence=_sentence(budget, decision, picked, known, valid[picked.selection]),
    )


def _require_valid(rows: Sequence[SelectionRow], valid: Mapping[str, float]) -> None:
    missing = [row.selection for row in rows if not isfinite(valid.get(row.selection, nan))]
    if missing:
        raise InputError(
            f"a budget picks by validation values, and {', '.join(missing)} has none: its ranks need rows with split "
            "valid and protocol full; rank it again"
        )


def _amounts(budget: BudgetOptions, costs: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Returns the costs of each variant: by selection, then by the name of the limit."""
    variants = costs.loc[costs[columns.KIND] == "variant"].set_index(columns.SELECTION)
    by_limit = {name: variants[columns.LIMITED[name]].to_dict() for name in budget.limits}
    return {text: {name: amounts[text] for name, amounts in by_limit.items()} for text in variants.index}


def _excess(budget: BudgetOptions, amounts: Mapping[str, float]) -> float:
    """Returns the largest ratio of a cost to its limit; the budget is kept up to 1."""
    return max(amounts[name] / limit for name, limit in budget.limits.items())


def _decided(decision: DecisionRecord) -> SelectionRow:
    """Returns the decided selection, or the full model where none was decided."""
    return decision.chosen or decision.full


def _not_met(budget: BudgetOptions, near: SelectionRow, amounts: Mapping[str, float]) -> str:
    return (
        f"no studied selection keeps the budget {budget.label}; the nearest is {near.selection} with "
        f"{_takes(amounts)}: raise the budget to that, or study smaller selections"
    )


def _sentence(
    budget: BudgetOptions,
    decision: DecisionRecord,
    picked: SelectionRow,
    known: Mapping[str, Mapping[str, float]],
    valid: float,
) -> str:
    decided = _decided(decision)
    full = decision.full
    kept = f"{picked.selection} ({picked.depth} of {decision.full_depth} layers)"
    why = "the full model" if picked is full else "the decided selection"
    if picked is not decided:
        label = wording.metric_label(decision.metric, decision.k)
        by = f"picked by validation {label} ({wording.four_digits(valid)}, the highest within the budget)"
        why = f"{why}, {by}" if picked is full else by
    text = f"Within the budget {budget.label}: {kept}, {why}, takes {_takes(known[picked.selection])}"
    if picked is not decided:
        called = "the full model" if decided is full else f"the decided {decided.selection}"
        amounts = known.get(decided.selection)
        text += f"; {called} takes {_takes(amounts)}" if amounts else f"; {called} was not measured"
    instead = ""
    if decision.verdict == USE_BASELINE and decision.baseline is not None:
        instead = f" The verdict of the study is another: use the baseline {label_of(decision.baseline)}."
    return f"{text}. {_loss(decision, picked, full)}.{instead}"


def _loss(decision: DecisionRecord, picked: SelectionRow, full: SelectionRow) -> str:
    label = wording.metric_label(decision.metric, decision.k)
    if picked is full:
        return f"Its {label} is {wording.four_digits(full.value)}; nothing is lost"
    margin = f"more than the margin of {wording.level(decision.margin)}"
    verdict = {
        "better": "It is better than the full model",
        "not worse": f"It is not worse by {margin} (lower bound {wording.signed(picked.lower_bound)})",
        "worse": f"It is worse by {margin}",
        "undecided": f"It is undecided whether it is worse by {margin}",
        "untested": f"It was not tested whether it is worse by {margin}, since a deeper selection did not pass",
    }[picked.verdict]
    return (
        f"{picked.selection} has an {label} of {wording.four_digits(picked.value)}, compared with "
        f"{wording.four_digits(full.value)} for the full model: a difference of {wording.signed(picked.difference)} "
        f"[{wording.signed(picked.ci_low)}, {wording.signed(picked.ci_high)}] ({_sure(decision)}). "
        f"{verdict}"
    )


def _sure(decision: DecisionRecord) -> str:
    if decision.exploratory:
        return "for these trained models"
    level = decision.alpha if decision.level is None else decision.level
    return f"{wording.level(1 - level)} for all together"


def _takes(amounts: Mapping[str, float]) -> str:
    words = {
        "latency_ms": lambda amount: f"{amount:.4g} ms per request (p95)",
        "parameters": lambda amount: f"{wording.count(amount)} parameters",
    }
    return " and ".join(words[name](amount) for name, amount in amounts.items())
