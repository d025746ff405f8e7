"""`DecisionRecord`: the content of `decision.json`, for the code that writes it and the code that reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from layerprobe import html
from layerprobe.errors import InputError
from layerprobe.kinds import label_of
from layerprobe.store.layout import StudyLayout
from layerprobe.store.records import plain_of, read_record, write_record
from layerprobe.wording import four_digits, interval, keeps_first, metric_label, signed_percent

AGAIN = "run the decide stage again"
USE_BASELINE, KEEP, UNDECIDED, FULL_NEEDED = (
    "use the baseline",
    "keep k layers",
    "undecided",
    "the full model is needed",
)
VERDICTS = (USE_BASELINE, KEEP, UNDECIDED, FULL_NEEDED)
"""What a decision can say, in the order in which it is asked."""


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
    differing: int | None = None
    proven_margin: float | None = None
    proven_alone: float | None = None
    could_be_best: bool | None = None

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
    differing: int | None = None
    proven_margin: float | None = None
    proven_alone: float | None = None
    could_be_best: bool | None = None


@dataclass(frozen=True, kw_only=True)
class BaselineRow:
    """One selection against one floor; explained in `probing.verdicts.baselines.AgainstBaseline`."""

    selection: str
    depth: int
    baseline: str
    difference: float
    relative: float | None
    ci_low: float
    ci_high: float
    verdict: str


@dataclass(frozen=True, kw_only=True)
class VarianceRow:
    """Where the error of a difference comes from; explained in `probing.power.VarianceParts`."""

    users: float
    joint: float
    seeds: float
    value: float


@dataclass(frozen=True, kw_only=True)
class LookRow:
    """Which look at these test users the decision is; explained in `probing.looks.Look`."""

    number: int
    of: int
    level: float
    spent: float


@dataclass(frozen=True, kw_only=True)
class PowerRow:
    """What these users and seeds can show; explained in `probing.power.Power`."""

    selection: str = ""
    """Empty in studies of older versions, which told the power of the loosest selection."""
    minimal_detectable_relative_difference: float | None
    n_users: int
    n_seeds: int = 1
    covers_training: bool = False
    users_needed_for_margin: int | None
    seeds_needed_for_margin: int | None = None
    observed: float | None = None
    users_needed_at_observed: int | None = None
    seeds_needed_at_observed: int | None = None
    variance: VarianceRow | None = None


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
    prior_noise: float = 0.0
    planned_seeds: int | None = None
    level: float | None = None
    """Error level of this look; None in studies of older versions, whose looks all had `alpha`."""
    n_boot: int
    seed: int
    verdict: str = ""
    """One of `VERDICTS`; empty in studies of older versions."""
    exploratory: bool = False
    baseline: str | None = None
    """The floor to use, by the verdict that says so."""
    depth: int | None
    selection: str | None = None
    layers: tuple[int, ...] | None = None
    full_depth: int
    sentence: str
    depths: tuple[SelectionRow, ...]
    baselines: tuple[FloorRow, ...]
    against_baselines: tuple[BaselineRow, ...] = ()
    sequence: tuple[str, ...] = ()
    power: PowerRow
    notes: tuple[str, ...]
    merged: tuple[tuple[str, str], ...] = ()
    """Selections that keep the layers of an earlier one, as (text, earlier text)."""
    look: LookRow | None = None
    budget: BudgetRow | None = None

    def to_frame(self) -> pd.DataFrame:
        """Returns the studied selections, one row each, the full model last."""
        return pd.DataFrame([plain_of(row) for row in self.depths])

    def _repr_html_(self) -> str:
        rows = [_cells(row.text, row, row.verdict if row.depth < self.full_depth else "full") for row in self.depths]
        rows += [_cells(label_of(row.name), row, row.verdict) for row in self.baselines]
        headers = ["model", metric_label(self.metric, self.k), "against full", "interval", "verdict"]
        notes = "".join(html.paragraph(note) for note in self.notes)
        advised, models = self.advised, [*self.depths, *self.baselines]
        marked = None if advised is None else models.index(advised)
        verdict = html.paragraph(f"Verdict: {self.told}") if self.verdict else ""
        return verdict + html.paragraph(self.sentence, strong=True) + html.table(headers, rows, marked=marked) + notes

    @property
    def told(self) -> str:
        """The verdict in a few words, such as `use the baseline SASRec` or `keep 2 of 4 layers`; older ones have none.

        With one training seed it says that it is exploratory.
        """
        text = self.verdict
        if self.verdict == USE_BASELINE:
            text = f"use the baseline {label_of(self.baseline or '')}"
        elif self.verdict == KEEP and self.chosen is not None:
            chosen = self.chosen
            text = f"keep {chosen.depth} of {self.full_depth} layers"
            text += "" if keeps_first(chosen.text) else f" ({chosen.text})"
        return f"{text} (exploratory, one training seed)" if self.exploratory else text

    @property
    def advised(self) -> SelectionRow | FloorRow | None:
        """What the verdict says to use: a baseline, the kept selection or the full model; None where undecided."""
        if self.verdict == USE_BASELINE:
            return next(row for row in self.baselines if row.name == self.baseline)
        return self.full if self.verdict == FULL_NEEDED else self.chosen

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


def _cells(name: str, row: SelectionRow | FloorRow, verdict: str) -> list[str]:
    bounds = interval(row.ci_low, row.ci_high)
    return [name, four_digits(row.value), signed_percent(row.relative), bounds, verdict]


def read_decision(study: Path) -> DecisionRecord:
    """Reads the decision of a study's folder.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = StudyLayout(study).decision
    decision = read_record(path, DecisionRecord, AGAIN)
    texts = [row.text for row in decision.depths]
    chosen = decision.selection or f"first:{decision.depth}"
    if all(row.depth != decision.full_depth for row in decision.depths):
        raise InputError(f"{path} is damaged: it has no row of the full depth, {decision.full_depth}; {AGAIN}")
    if decision.depth is not None and chosen not in texts:
        raise InputError(f"{path} is damaged: it has no row of the selection it chose, {chosen}; {AGAIN}")
    return decision


def write_decision(study: Path, decision: DecisionRecord) -> None:
    """Writes the decision of a study's folder."""
    write_record(StudyLayout(study).decision, decision)
