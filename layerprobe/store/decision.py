"""`DecisionRecord`: the content of `decision.json`, for the code that writes it and the code that reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from layerprobe.store.layout import StudyLayout
from layerprobe.store.records import read_record, write_record

AGAIN = "run the decide stage again"


@dataclass(frozen=True, kw_only=True)
class SelectionRow:
    """One studied selection against the full model; the numbers are explained in `probing.comparisons.Comparison`."""

    depth: int
    selection: str = ""
    """Empty in studies that knew `first:k` alone; read `text`."""
    layers: tuple[int, ...] | None = None
    value: float
    difference: float
    relative: float
    ci_low: float
    ci_high: float
    lower_bound: float
    not_worse: bool
    verdict: str
    seeds: int = 1
    training_noise: float | None = None

    @property
    def text(self) -> str:
        """The selection; a row that names a depth alone means `first:k`."""
        return self.selection or f"first:{self.depth}"


@dataclass(frozen=True, kw_only=True)
class FloorRow:
    """One floor against the full model."""

    name: str
    value: float
    difference: float
    relative: float
    ci_low: float
    ci_high: float
    lower_bound: float
    not_worse: bool
    verdict: str
    seeds: int = 1
    training_noise: float | None = None


@dataclass(frozen=True, kw_only=True)
class PowerRow:
    """What these users and seeds can show; explained in `probing.power.Power`."""

    minimal_detectable_relative_difference: float
    n_users: int
    n_seeds: int = 1
    covers_training: bool = False
    users_needed_for_margin: int | None
    seeds_needed_for_margin: int | None = None


@dataclass(frozen=True, kw_only=True)
class BudgetRow:
    """The pick within a budget; explained in `probing.budget.BudgetPick`."""

    latency_ms: float | None
    parameters: int | None
    selection: str | None
    depth: int | None
    layers: tuple[int, ...] | None
    is_decided: bool
    costs: dict[str, float]
    sentence: str


@dataclass(frozen=True, kw_only=True)
class DecisionRecord:
    """The answer, its evidence and its limits; explained in `probing.decide.Decision`."""

    metric: str
    k: int
    margin: float
    alpha: float
    rule: str = "simultaneous"
    cover: str = "users"
    n_boot: int
    seed: int
    depth: int | None
    selection: str | None = None
    layers: tuple[int, ...] | None = None
    full_depth: int
    sentence: str
    depths: tuple[SelectionRow, ...]
    baselines: tuple[FloorRow, ...]
    sequence: tuple[str, ...] = ()
    power: PowerRow
    notes: tuple[str, ...]
    merged: tuple[tuple[str, str], ...] = ()
    """Selections that keep the layers of an earlier one, as (text, earlier text)."""
    budget: BudgetRow | None = None

    @property
    def full(self) -> SelectionRow:
        """The full model."""
        return next(row for row in self.depths if row.depth == self.full_depth)

    @property
    def chosen(self) -> SelectionRow | None:
        """The decided selection; None where none below the full model passed."""
        if self.depth is None:
            return None
        text = self.selection or f"first:{self.depth}"
        return next(row for row in self.depths if row.text == text)


def read_decision(study: Path) -> DecisionRecord:
    """Reads the decision of a study's folder.

    Raises:
        InputError: there is none, or it is damaged.
    """
    return read_record(StudyLayout(study).decision, DecisionRecord, AGAIN)


def write_decision(study: Path, decision: DecisionRecord) -> None:
    """Writes the decision of a study's folder."""
    write_record(StudyLayout(study).decision, decision)
