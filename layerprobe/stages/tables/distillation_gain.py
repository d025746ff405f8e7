"""Gathers the distilled student and the plain variants of the same layers for `distilled.json`.

Takes the study's models, a source of ranks and the plain values of `study.yaml`; needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from layerprobe import wording
from layerprobe.backbone.selection import LayerSelection
from layerprobe.kinds import SASREC
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.distilled import compare_distilled
from layerprobe.stages.tables.compared import sasrec_ranks
from layerprobe.stages.tables.points import floor_ranks
from layerprobe.store.distilled import DistilledRecord
from layerprobe.store.layout import RANKS
from layerprobe.store.model_record import read_model_record
from layerprobe.store.rank_source import RankSource
from layerprobe.store.run_folder import differing_keys
from layerprobe.study.model_folders import StudyModels

BACKBONE = "backbone"
STARTS = {BACKBONE: "the backbone's own weights", "teacher": "the trained teacher's weights"}
DECIDED = (
    "The decision chose these layers by their metric without a teacher on these same users, so the value of the plain "
    "model may be slightly too high."
)


def distillation_gain(
    models: StudyModels,
    ranks: RankSource,
    selection: LayerSelection,
    spec: Mapping[str, Any],
    options: DecisionOptions,
) -> DistilledRecord | None:
    """Returns the content of `distilled.json`.

    A seed is used where both its student and its variant are finished.

    Args:
        models: the study's models.
        ranks: their ranks.
        selection: the student's layers.
        spec: the plain values of `study.yaml`.
        options: metric, error level and cover.

    Returns:
        None where there is no such seed, or no variant keeps these layers.
    """
    plain = next((one for one in models.selections if one.layers == selection.layers), None)
    if plain is None:
        return None
    students = models.folders.students
    variants = {seed: models.folders.variant(plain, seed) for seed in students}
    lost = [seed for seed in students if not all(ranks.has(one[seed] / RANKS) for one in (students, variants))]
    students, variants = (
        {seed: folder for seed, folder in one.items() if seed not in lost} for one in (students, variants)
    )
    if not students:
        return None
    distilled, alone = ([ranks.read(folder / RANKS) for folder in one.values()] for one in (students, variants))
    floors = {SASREC: sasrec_ranks(models, ranks, tuple(students)), **floor_ranks(models, ranks)}
    comparison = compare_distilled(selection, distilled, alone, options, _unlike(spec), floors)
    is_named = spec["distill"].get("depth") is not None or spec["distill"].get("selection") is not None
    notes = [] if is_named else [DECIDED]
    notes += _untrained("student", students) + _untrained("plain model", variants) + _dropped(plain, lost)
    return comparison.record(models.folders.student, plain.text, notes)


def _unlike(spec: Mapping[str, Any]) -> list[str]:
    """Returns what differs between the trainings of student and variants besides the teacher, one clause each."""
    distill, training, reasons = spec["distill"], spec["training"], []
    own = training if distill.get("training") is None else distill["training"]
    keys = differing_keys(training, own)
    if keys:
        reasons.append(f"the student has other training options ({', '.join(keys)})")
    start, plain_start = distill.get("start", BACKBONE), spec["probe"].get("start", BACKBONE)
    if start != plain_start:
        reasons.append(f"the student started from {STARTS[start]}, the plain model from {STARTS[plain_start]}")
    if spec["backbone"].get("quantize") is not None:
        reasons.append("the student's backbone is not quantized")
    return reasons


def _untrained(name: str, folders: Mapping[int, Path]) -> list[str]:
    """Names the seeds where no epoch was better on validation users than the start: such a model is not trained."""
    seeds = [str(seed) for seed, folder in folders.items() if read_model_record(folder).best_epoch == 0]
    if not seeds:
        return []
    which = _seeds(seeds)
    return [f"No epoch of the {name} of {which} was better on validation users than its start, so the start is used."]


def _dropped(plain: LayerSelection, seeds: Sequence[int]) -> list[str]:
    """Says which seeds are left out."""
    if not seeds:
        return []
    which = _seeds([str(seed) for seed in seeds])
    return [f"Not compared: {which}, since the training of {plain} without a teacher is not finished."]


def _seeds(seeds: Sequence[str]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {wording.listed(seeds)}"
