"""`StudyFiles`: what a report needs of a study folder, read once.

Takes the folder, hands on tables and plain values. Only `curve.csv` must be there; every other part may be absent
(not computed yet, or not asked for) and is then None or empty, which the report says.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from layerprobe import columns
from layerprobe.errors import InputError
from layerprobe.probing.curves import read_curve, typed_cells
from layerprobe.reporting.files.cost_files import CostFiles, read_cost_files
from layerprobe.reporting.files.effort_files import read_convergence
from layerprobe.reporting.files.reading import optional, optional_table, read, with_columns, with_numbers
from layerprobe.reporting.files.score_files import ScoreFiles, read_score_files
from layerprobe.store.atomic import read_json, read_yaml
from layerprobe.store.controls import ControlsRecord, read_controls
from layerprobe.store.decision import DecisionRecord, read_decision
from layerprobe.store.distilled import DistilledRecord, read_distilled
from layerprobe.store.layout import METRICS, RANKS, StudyLayout, student_folders
from layerprobe.store.model_record import ModelRecord, read_model_record
from layerprobe.store.rank_source import RankSource, rank_source

SLICE_NUMBERS = {
    columns.DEPTH: "Int64",
    columns.SEED: "Int64",
    columns.K: "int64",
    columns.N_USERS: "int64",
    columns.VALUE: "float64",
    columns.CI_LOW: "float64",
    columns.CI_HIGH: "float64",
    columns.FULL_VALUE: "float64",
    columns.DIFFERENCE: "float64",
    columns.RELATIVE: "float64",
    columns.CI_LOW_ALL: "float64",
    columns.CI_HIGH_ALL: "float64",
    columns.SEEDS: "int64",
}


@dataclass(frozen=True, eq=False)
class ModelFiles:
    """One trained model of the study: its `metrics.json` and its `ranks.parquet`."""

    name: str
    metrics: ModelRecord
    ranks: pd.DataFrame


@dataclass(frozen=True, eq=False)
class StudyFiles:
    """The parts of one study folder.

    Attributes:
        folder: the study folder.
        curve: `curve.csv`, columns `columns.CURVE`; `depth` is nullable and `selection` empty for floors.
        convergence: `convergence.csv`, columns `columns.CONVERGENCE`; None in studies made before it was written.
        slices: `slices.csv`, columns `columns.SLICES`; None in studies made before it was written. It is not made up
            for here, although their ranks hold all it needs: a report reads results and computes none.
        slice_differences: `slice_differences.csv`, columns `columns.SLICE_DIFFERENCES`; None as for `slices`.
        decision: `decision.json`.
        robustness: `robustness.csv`: the verdict under every metric; None in studies made before it was written.
        controls: `controls.json`: variants against their twins of the control arms.
        distilled: `distilled.json`: a student against plain fine-tuning of its layers; `student` is its folder's name.
        layers: kept layers of every trained selection, 0-based, by its text; without those of studies made before
            they were stored.
        facts: `data/facts.json`: counts after every step, lengths, order audit.
        provenance: `provenance.json`.
        spec: `study.yaml`, resolved.
        cost: the tables of `costs/`.
        scores: the tables of `similarity/`, `predictiveness.csv` and `predicted.csv`.
        teacher: the full-depth model of `teacher/`.
        students: the models of `distillation/`, by folder name; of several seeds the first.
    """

    folder: Path
    curve: pd.DataFrame
    convergence: pd.DataFrame | None
    slices: pd.DataFrame | None
    slice_differences: pd.DataFrame | None
    decision: DecisionRecord | None
    robustness: pd.DataFrame | None
    controls: ControlsRecord | None
    distilled: DistilledRecord | None
    layers: dict[str, tuple[int, ...]]
    facts: dict[str, Any] | None
    provenance: dict[str, Any] | None
    spec: dict[str, Any] | None
    cost: CostFiles
    scores: ScoreFiles
    teacher: ModelFiles | None
    students: tuple[ModelFiles, ...]

    @property
    def name(self) -> str:
        """Name of the study."""
        return str((self.spec or {}).get("name", self.folder.resolve().name))

    @property
    def alpha(self) -> float | None:
        """Intervals of the curve cover 1 - alpha; None where `study.yaml` does not say."""
        return (self.spec or {}).get("evaluation", {}).get("alpha")

    @property
    def commit(self) -> str:
        """Short commit of the code that computed the study, with a word where it had uncommitted changes."""
        git = (self.provenance or {}).get("git") or {}
        if not git.get("commit"):
            return "unknown"
        return git["commit"][:10] + (" with uncommitted changes" if git.get("dirty") else "")


def read_study(folder: Path, needs_curve: bool = True) -> StudyFiles:
    """Reads a study folder.

    Args:
        folder: the study folder.
        needs_curve: whether `curve.csv` must be there; without it the curve is empty.

    Raises:
        InputError: the folder or a needed `curve.csv` is missing, or a file of it cannot be read or lacks columns.
    """
    if not folder.is_dir():
        raise InputError(f"a study folder is needed; {folder} is not a folder: give the folder that `run` wrote")
    layout = StudyLayout(folder)
    has_curve = layout.curve.exists()
    if needs_curve and not has_curve:
        raise InputError(f"{layout.curve} is missing; a report needs it: run the study's curve stage first")
    ranks = rank_source(layout)
    return StudyFiles(
        folder=folder,
        curve=read_curve(layout.curve) if has_curve else pd.DataFrame(columns=list(columns.CURVE)),
        convergence=read_convergence(layout.convergence) if layout.convergence.exists() else None,
        slices=optional_table(layout.slices, _read_slices, columns.SLICES),
        slice_differences=optional_table(layout.slice_differences, _read_slices, columns.SLICE_DIFFERENCES),
        decision=read_decision(folder) if layout.decision.exists() else None,
        robustness=optional_table(layout.robustness, _read_robustness, columns.ROBUSTNESS),
        controls=read_controls(folder) if layout.control_comparison.exists() else None,
        distilled=read_distilled(folder) if layout.distilled.exists() else None,
        layers=_read_layers(layout),
        facts=optional(layout.facts, read_json),
        provenance=optional(layout.provenance, read_json),
        spec=optional(layout.spec, read_yaml),
        cost=read_cost_files(folder),
        scores=read_score_files(folder),
        teacher=_read_model(layout.teacher, ranks),
        students=tuple(_read_students(layout.distillation, ranks)),
    )


def _read_slices(path: Path) -> pd.DataFrame:
    """Reads a table of slices: groups stay text, also where all are single numbers; depth and seed may be empty."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table.assign(
        **{name: typed_cells(table[name], dtype) for name, dtype in SLICE_NUMBERS.items() if name in table.columns}
    )


def _read_robustness(path: Path) -> pd.DataFrame:
    """Reads the verdicts by metric; `kept` is empty where nothing is."""
    table = with_columns(path, pd.read_csv(path, keep_default_na=False), columns.ROBUSTNESS)
    return with_numbers(path, table, columns.ROBUSTNESS)


def _read_layers(layout: StudyLayout) -> dict[str, tuple[int, ...]]:
    # A student of older measured layers may lie beside variants of the same name: what was studied counts.
    models = [read_model_record(path.parent) for path in layout.described_models()]
    return {model.selection: model.layers for model in models if model.layers is not None}


def _read_students(folder: Path, ranks: RankSource) -> list[ModelFiles]:
    students = [_read_model(child, ranks) for child in student_folders(folder)]
    return [student for student in students if student is not None]


def _read_model(folder: Path, source: RankSource) -> ModelFiles | None:
    """Returns the model of a finished folder; one without both files is not finished and counts as absent."""
    path = folder / RANKS
    if not ((folder / METRICS).exists() and (path.exists() or source.has(path))):
        return None
    table = with_columns(path, read(path, source.read), columns.RANKS)
    return ModelFiles(folder.name, read_model_record(folder), table)
