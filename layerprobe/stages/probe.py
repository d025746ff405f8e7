"""Stage probe: every selection fine-tuned on its own, the teacher cut to each and read at every depth."""

from __future__ import annotations

from pathlib import Path

from layerprobe import processes
from layerprobe.backbone.selection import LayerSelection, measured_form
from layerprobe.stages.planned import Planned
from layerprobe.stages.teacher.cuts import study_cuts
from layerprobe.stages.teacher.exits import rank_exits
from layerprobe.study.jobs.recommenders import variant_job
from layerprobe.study.jobs.students import distill_job
from layerprobe.study.study import Study
from layerprobe.sweep.sweep import Executor, run_sweep
from layerprobe.training.log import say
from layerprobe.training.model_folder import refuse_other


def run(study: Study, executor: Executor) -> None:
    """Ranks the teacher cut to each selection and its exits, then trains the variants and their control twins."""
    if study.family.merged_line is not None:
        say(study.family.merged_line)
    processes.on_main(lambda: _refuse_other_models(study))
    _cut_selections(study)
    rank_exits(study)
    run_sweep(study, executor)


def _refuse_other_models(study: Study) -> None:
    """Refuses a finished model of another specification before anything is trained, not when its turn comes.

    Raises:
        InputError: a folder holds the finished model of another specification.
    """
    seeds = study.spec.probe.seeds
    jobs = [variant_job(study, selection, seed) for seed in seeds for selection in study.selections]
    student = study.student_selection
    if student is not None and measured_form(student.text, study.n_layers) is not None:
        jobs += [distill_job(study, student, seed) for seed in study.student_folders]
    for job in jobs:
        refuse_other(job)


def _cut_selections(study: Study) -> None:
    """Ranks the teacher cut to each selection, nothing retrained; frees the teacher before any training."""
    cuts = study_cuts(study)
    for selection in study.control_selections:
        cuts.of(selection.layers)


def plan(study: Study) -> list[Planned]:
    """Returns the variants without the teacher, then the twins of the control arms."""
    seeds = study.spec.probe.seeds
    # What a selection costs depends on its depth alone, so the first layers stand for those still to be measured.
    waiting = [LayerSelection(tuple(range(depth)), text, study.n_layers) for text, depth in study.family.pending]
    measured = [(selection, f"{selection}") for selection in study.selections]
    unmeasured = [(selection, f"{selection} (layers measured first)") for selection in waiting]
    rows = [
        _planned(study, f"variant: {name}, seed {seed}", selection, study.variant_folder(selection, seed))
        for part in (measured, unmeasured)
        for seed in seeds
        for selection, name in part
        if study.variant_folder(selection, seed) != study.layout.teacher
    ]
    for control in study.spec.probe.controls:
        rows += [
            _planned(study, f"{control}: {kept}, seed {seed}", kept, study.control_folder(control, kept, seed))
            for seed in seeds
            for kept in (*study.control_selections, *waiting)
            if kept.depth
        ]
    return rows


def _planned(study: Study, label: str, selection: LayerSelection, folder: Path) -> Planned:
    spec = study.spec
    return Planned(label, "recommender", (folder,), spec.training, spec.recommender.max_len, selection)
