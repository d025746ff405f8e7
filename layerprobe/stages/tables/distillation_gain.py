"""Gathers the distilled student and the plain variants of the same layers, and writes `distilled.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from layerprobe import wording
from layerprobe.backbone.selection import LayerSelection
from layerprobe.kinds import SASREC
from layerprobe.probing.distilled import compare_distilled
from layerprobe.stages.curve import floor_ranks
from layerprobe.store.distilled import write_distilled
from layerprobe.store.model_record import read_model_record
from layerprobe.store.run_folder import DONE, differing_keys
from layerprobe.study.spec import to_plain
from layerprobe.study.study import Study
from layerprobe.training.log import say
from layerprobe.training.model_folder import read_ranks

STARTS = {"backbone": "the backbone's own weights", "teacher": "the trained teacher's weights"}
DECIDED = (
    "The decision chose these layers by their metric without a teacher on these same users, so the value of the plain "
    "model may be slightly too high."
)


def write_distillation_gain(study: Study, selection: LayerSelection) -> None:
    """Compares the student with the variants that keep its layers, of the seeds the student was trained with.

    A seed is used where both its student and its variant are finished. Where there is no such seed, or no variant keeps
    these layers, an older comparison is deleted.

    Args:
        study: a study whose student is trained.
        selection: the student's layers; variants are found by the layers, however they are written.
    """
    path, students = study.layout.distilled, study.student_folders
    plain = next((one for one in study.selections if one.layers == selection.layers), None)
    if plain is None:
        path.unlink(missing_ok=True)
        return
    variants = {seed: study.variant_folder(plain, seed) for seed in students}
    lost = [seed for seed in students if not all((one[seed] / DONE).exists() for one in (students, variants))]
    students, variants = (
        {seed: folder for seed, folder in one.items() if seed not in lost} for one in (students, variants)
    )
    if not students:
        path.unlink(missing_ok=True)
        say(f"distilled: not compared, since the training of {plain} without a teacher is not finished with any seed")
        return
    distilled, alone = ([read_ranks(folder) for folder in one.values()] for one in (students, variants))
    floors = _floors(study, list(students))
    comparison = compare_distilled(selection, distilled, alone, study.spec.decision, _unlike(study), floors)
    notes = [DECIDED] if study.student_selection is None else []
    notes += _untrained("student", students) + _untrained("plain model", variants) + _dropped(plain, lost)
    write_distilled(study.folder, comparison.record(study.spec.distill.name, plain.text, notes))
    say(f"distilled: {comparison.sentence}")


def _floors(study: Study, seeds: Sequence[int]) -> dict[str, list[pd.DataFrame]]:
    """Returns the ranks of every baseline: SASRec of these seeds, where it was trained with each, the others once."""
    folders = study.sasrec_folders
    counted = list(folders.values()) if len(folders) == 1 else [folders[seed] for seed in seeds]
    sasrec = [read_ranks(folder) for folder in counted]
    return {SASREC: sasrec, **{name: [ranks] for name, ranks in floor_ranks(study).items()}}


def _unlike(study: Study) -> list[str]:
    """Returns what differs between the trainings of student and variants besides the teacher, one clause each."""
    spec, reasons = study.spec, []
    own = spec.training if spec.distill.training is None else spec.distill.training
    keys = differing_keys(to_plain(spec.training), to_plain(own))
    if keys:
        reasons.append(f"the student has other training options ({', '.join(keys)})")
    if spec.distill.start != spec.probe.start:
        student, variants = STARTS[spec.distill.start], STARTS[spec.probe.start]
        reasons.append(f"the student started from {student}, the plain model from {variants}")
    if study.student_recipe != study.recipe:
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
