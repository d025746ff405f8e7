"""The results of a study, computed again from its ranks and compared with what lies in its folder.

Takes a folder that `publish` or `run` wrote, calls the functions of the stages, writes nothing and needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from layerprobe import columns
from layerprobe.data.prepare import load_prepared
from layerprobe.data.recency import Recency, read_recency
from layerprobe.evaluation.metrics import metric_table
from layerprobe.probing.budget import BudgetOptions, pick_within
from layerprobe.probing.decide import decide
from layerprobe.probing.looks import Look, next_look
from layerprobe.probing.pareto import front_rows
from layerprobe.probing.removal.cut_store import read_cuts
from layerprobe.probing.verdicts.robustness import robustness
from layerprobe.publishing.comparing import (
    NOTHING,
    Checked,
    Difference,
    cells_of,
    compare_plain,
    compare_tables,
    read_cells,
    read_plain,
)
from layerprobe.publishing.packing import packed_recency
from layerprobe.stages.tables.compared import Compared, compared
from layerprobe.stages.tables.cost_fronts import whole_numbers
from layerprobe.stages.tables.distillation_gain import distillation_gain
from layerprobe.stages.tables.points import curve_table, ranked_files
from layerprobe.stages.tables.predictiveness import CheapScores, predictiveness_tables
from layerprobe.stages.tables.slices import (
    POINT,
    RankedPoint,
    SlicedModels,
    difference_table,
    slice_table,
    sliced_models,
)
from layerprobe.stages.tables.validation import valid_value
from layerprobe.store.controls import ControlsRecord
from layerprobe.store.decision import BudgetRow, DecisionRecord, read_decision
from layerprobe.store.layout import METRICS
from layerprobe.store.ledger import Ledger, read_ledger
from layerprobe.store.ledger_lines import Asked
from layerprobe.store.model_record import read_model_record
from layerprobe.store.packed_ranks import PackedRanks, model_name
from layerprobe.store.rank_source import StoredRanks
from layerprobe.store.records import plain_of
from layerprobe.study.asked import asked_options, hash_ranks
from layerprobe.study.plain_study import PlainStudy

CURVE_KEYS = (*POINT, columns.PROTOCOL, columns.SPLIT, columns.METRIC, columns.K)
SLICE_KEYS = (*POINT, columns.SLICE, columns.GROUP, columns.METRIC, columns.K)
DIFFERENCE_KEYS = tuple(name for name in SLICE_KEYS if name != columns.SEED)
METRIC_KEYS = (columns.PROTOCOL, columns.SPLIT, columns.METRIC, columns.K)
ROBUSTNESS_KEYS = (columns.METRIC, columns.K, columns.SELECTION)
FRONT_KEYS = (columns.COST, columns.KIND, columns.SELECTION)
VALID = "valid"
FROM_RANKS = "computed again from the ranks"

Excused = Callable[[Mapping[str, str]], bool]


@dataclass(frozen=True, eq=False)
class Rederived:
    """A study's folder and where its ranks are.

    Attributes:
        study: the folder.
        ranks: packed beside it, or in the model folders.
    """

    study: PlainStudy
    ranks: PackedRanks | StoredRanks

    @cached_property
    def points(self) -> dict[Path, RankedPoint]:
        """Every point of the curve with its ranks, by the path of the ranks."""
        return {path: (point, self.ranks.read(path)) for path, point in ranked_files(self.study.models, self.ranks)}

    @cached_property
    def compared(self) -> Compared:
        """What the decision compares."""
        return compared(self.study.models, self.ranks)

    @property
    def recency(self) -> Recency | None:
        """How long each test user was away."""
        if isinstance(self.ranks, PackedRanks):
            return packed_recency(self.ranks)
        data = self.study.layout.data
        return read_recency(data, load_prepared(data).split)

    @cached_property
    def left_out(self) -> set[tuple[str, str, str]]:
        """Model, split and protocol of the ranks that did not travel."""
        if not isinstance(self.ranks, PackedRanks):
            return set()
        rows = self.ranks.record.left_out
        return {(model, row.split, row.protocol) for row in rows for model in row.models}

    def checks(self) -> Iterator[Checked]:
        """Computes every result again, file by file.

        Raises:
            InputError: a file is damaged, or ranks are of other users.
        """
        yield self._curve()
        yield from self._metrics()
        yield from self._slices()
        yield from self.decided()
        yield from self._predictiveness()

    def decided(self) -> Iterator[Checked]:
        """Computes again what follows from the options of the decision.

        Raises:
            InputError: as `checks`.
        """
        yield from self._looks()
        yield self._decision()
        for part in (self._robustness, self._front, self._controls, self._distilled):
            yield from part()

    def _table(self, path: Path, table: pd.DataFrame, keys: Sequence[str], excused: Excused | None = None) -> Checked:
        numbers, skipped, found = compare_tables(read_cells(path), cells_of(table), keys, excused)
        return Checked(self._name(path), FROM_RANKS, numbers, skipped, found)

    def _plain(self, path: Path, stored: Any, record: Any) -> Checked:
        numbers, found = compare_plain(stored, plain_of(record))
        return Checked(self._name(path), FROM_RANKS, numbers, differences=found)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.study.folder).as_posix()

    def _curve(self) -> Checked:
        options, layout = self.study.evaluation, self.study.layout
        table = curve_table(list(self.points.values()), options["ks"], options["alpha"], options["n_boot"])
        names = {_key_of(point): model_name(layout, path) for path, (point, _) in self.points.items()}

        def excused(row: Mapping[str, str]) -> bool:
            name = names.get(tuple(row[key] for key in POINT), "")
            return (name, row[columns.SPLIT], row[columns.PROTOCOL]) in self.left_out

        return self._table(layout.curve, table, CURVE_KEYS, excused)

    def _metrics(self) -> Iterator[Checked]:
        """The metrics in the description of every model."""
        layout = self.study.layout
        for path, (_, ranks) in self.points.items():
            described = path.parent / METRICS
            if described.is_file():
                name = model_name(layout, path)
                stored = cells_of(pd.DataFrame(read_model_record(path.parent).metrics))
                computed = cells_of(metric_table(ranks, self.study.evaluation["ks"]))
                numbers, skipped, found = compare_tables(stored, computed, METRIC_KEYS, self._without(name))
                yield Checked(self._name(described), FROM_RANKS, numbers, skipped, found)

    def _without(self, name: str) -> Excused:
        return lambda row: (name, row[columns.SPLIT], row[columns.PROTOCOL]) in self.left_out

    @cached_property
    def _sliced(self) -> SlicedModels:
        return sliced_models(list(self.points.values()), self.recency)

    def _slices(self) -> Iterator[Checked]:
        study, options = self.study, self.study.evaluation
        layout = study.layout
        if layout.slices.exists():
            table = slice_table(self._sliced, options["alpha"], options["n_boot"])
            yield self._table(layout.slices, table, SLICE_KEYS)
        if layout.slice_differences.exists():
            covers_training = study.decision.cover != "users"
            table = difference_table(self._sliced, study.models.full.text, options["alpha"], covers_training)
            if table is not None:
                yield self._table(layout.slice_differences, table, DIFFERENCE_KEYS)

    @cached_property
    def _stored_decision(self) -> DecisionRecord:
        return read_decision(self.study.folder)

    @cached_property
    def _asked(self) -> Asked:
        study, ranks = self.study, self.compared
        return Asked(asked_options(study.decision), ranks.seeds, study.asked_selections, hash_ranks(ranks.trained))

    @cached_property
    def _ledger(self) -> Ledger:
        return read_ledger(self.study.folder)

    @cached_property
    def _look(self) -> Look:
        return next_look(self._ledger, self._asked)

    def _looks(self) -> Iterator[Checked]:
        """The chain of the ledger, and that its looks have one by these options, seeds and ranks."""
        path = self.study.layout.ledger
        if path.exists():
            known = self._ledger.repeated(self._asked)
            found = () if known else (Difference("a look by these options, seeds and ranks", NOTHING, "one"),)
            yield Checked(self._name(path), "chain of hashes, and hash of the ranks", differences=found)

    def _decision(self) -> Checked:
        """The decision at the level of its look; sentences on trainings that failed are taken as they are."""
        stored = self._stored_decision
        decision = decide(self.compared.variants, self.compared.floors, self.study.decision, self._look)
        own = len(decision.notes)
        record = decision.record(merged=self.study.family.merged, notes=stored.notes[own:])
        record = replace(record, budget=self._budget(record))
        return self._plain(self.study.layout.decision, read_plain(self.study.layout.decision), record)

    def _budget(self, record: DecisionRecord) -> BudgetRow | None:
        """The pick within the budget, from validation users; as it is stored where their ranks did not travel."""
        layout, budget = self.study.layout, BudgetOptions(**(self.study.spec.get("budget") or {}))
        if not budget.limits or not layout.cost_table.exists():
            return None
        if any((split, protocol) == (VALID, columns.FULL) for _, split, protocol in self.left_out):
            return self._stored_decision.budget
        variants = self.compared.variants.items()
        valid = {selection.text: valid_value(tables, self.study.decision) for selection, tables in variants}
        return pick_within(budget, record, whole_numbers(pd.read_csv(layout.cost_table)), valid).record()

    def _robustness(self) -> Iterator[Checked]:
        path = self.study.layout.robustness
        if path.exists():
            options, ks = self.study.decision, self.study.evaluation["ks"]
            table = robustness(self.compared.variants, self.compared.floors, options, ks, self._stored_decision.level)
            yield self._table(path, table, ROBUSTNESS_KEYS)

    def _front(self) -> Iterator[Checked]:
        layout = self.study.layout
        if layout.front.exists() and layout.cost_table.exists():
            costs = whole_numbers(pd.read_csv(layout.cost_table))
            yield self._table(layout.front, front_rows(costs, self._stored_decision), FRONT_KEYS)

    def _controls(self) -> Iterator[Checked]:
        path = self.study.layout.control_comparison
        if path.exists():
            arms = self.compared.control_arms(self.study.decision)
            yield self._plain(path, read_plain(path), ControlsRecord(controls=tuple(arm.record() for arm in arms)))

    def _distilled(self) -> Iterator[Checked]:
        study = self.study
        path, student = study.layout.distilled, next(iter(study.models.folders.students.values()))
        if path.exists():
            selection = study.selection_of(read_model_record(student))
            record = distillation_gain(study.models, self.ranks, selection, study.spec, study.decision)
            yield self._plain(path, read_plain(path), record)

    def _predictiveness(self) -> Iterator[Checked]:
        """How well cheap scores order the variants; scores of exits whose validation ranks did not travel are left."""
        study, layout = self.study, self.study.layout
        if not (layout.predictiveness.exists() and layout.importance.exists()):
            return
        similarity = study.spec["similarity"]
        cuts = read_cuts(layout.cuts(similarity["rows"], similarity["seed"]))
        scores = CheapScores(layout, study.n_layers, cuts, self.ranks)
        alpha = study.evaluation["alpha"]
        table, points = predictiveness_tables(scores, self.compared.variants, study.decision, alpha)
        left = {f"exit-{name.split('-')[-2]}" for name, split, _ in self.left_out if split == VALID and "exit-" in name}
        for path, computed, keys in (
            (layout.predictiveness, table, (columns.SCORE,)),
            (layout.predicted, points, (columns.SCORE, columns.SELECTION)),
        ):
            if path.exists():
                known = computed.loc[~computed[columns.SCORE].isin(left)]
                yield self._table(path, known, keys, lambda row: row[columns.SCORE] in left)


def _key_of(point: Any) -> tuple[str, ...]:
    return tuple("" if getattr(point, name) is None else str(getattr(point, name)) for name in POINT)
