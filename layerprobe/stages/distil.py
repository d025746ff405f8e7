"""Stage distill: trains the student on its teacher's block states and compares it with plain fine-tuning."""

from __future__ import annotations

from functools import partial

from layerprobe import processes
from layerprobe.backbone.selection import LayerSelection, measured_form, parse_selection
from layerprobe.errors import NothingToDistil
from layerprobe.stages.planned import Planned
from layerprobe.stages.similarity import compare_student
from layerprobe.stages.tables.distillation_gain import distillation_gain
from layerprobe.store.decision import read_decision
from layerprobe.store.distilled import write_distilled
from layerprobe.store.model_record import read_model_record
from layerprobe.store.rank_source import StoredRanks
from layerprobe.study.jobs.students import distill_job, kept_by, student_of, student_selection
from layerprobe.study.spec import to_plain
from layerprobe.study.study import Study
from layerprobe.training.log import say
from layerprobe.training.model_folder import load_trained, train_and_rank


def run(study: Study) -> None:
    """Trains the student on its teacher's block states and writes what distillation gains.

    Raises:
        NothingToDistil: the student would start as the same model as its teacher, whose training never improved it.
    """
    selection = student_selection(study)
    say_other_depth(study, selection)
    same_layers = selection.layers == study.full.layers
    if same_layers and read_model_record(study.layout.teacher).best_epoch == 0:
        raise NothingToDistil(
            "nothing to distil: the decision keeps all layers, and no epoch of the teacher was better on validation "
            "users than its start; train longer or with another learning rate, or choose distill.depth"
        )
    jobs = [distill_job(study, selection, seed) for seed in study.student_folders]
    for job in jobs:
        train_and_rank(job, study.ranking, study.tracking)
    trained = partial(load_trained, jobs[0].folder, jobs[0].build)
    processes.on_main(lambda: compare_student(study, jobs[0].folder, lambda: student_of(trained())))
    processes.on_main(lambda: write_gain(study, selection))


def write_gain(study: Study, selection: LayerSelection) -> None:
    """Compares the student with plain fine-tuning of its layers; an older comparison is deleted where there is none."""
    spec = to_plain(study.spec)
    record = distillation_gain(study.models, StoredRanks(), selection, spec, study.spec.decision)
    if record is not None:
        write_distilled(study.folder, record)
        say(f"distilled: {record.sentence}")
        return
    study.layout.distilled.unlink(missing_ok=True)
    if any(one.layers == selection.layers for one in study.selections):
        say("distilled: not compared, since no training seed has both the student and a finished plain model")


def plan(study: Study) -> list[Planned]:
    """Returns the student of each seed."""
    spec, text, selection = study.spec, _planned_text(study), _planned_selection(study)
    return [
        Planned(
            label=f"distilled: {text}" + (f", seed {seed}" if seed != spec.probe.seeds[0] else ""),
            kind="distilled",
            folders=(folder,),
            training=spec.distill.training or spec.training,
            max_len=spec.recommender.max_len,
            selection=selection,
        )
        for seed, folder in study.student_folders.items()
    ]


def _planned_text(study: Study) -> str:
    spec = study.spec.distill
    if spec.selection is None and spec.depth is None:
        return "the decided selection, or the next one that can be distilled"
    return spec.selection or f"first:{spec.depth}"


def _planned_selection(study: Study) -> LayerSelection:
    """Returns the student's layers; where they are not known yet, the most expensive ones they can become."""
    text = study.spec.distill.selection
    form = None if text is None else measured_form(text, study.n_layers)
    if form is not None and form[0] not in study.measured:
        return parse_selection(f"first:{form[1]}", study.n_layers)
    if study.student_selection is not None or study.layout.decision.exists():
        return student_selection(study)
    deepest = max(depth for depth in range(1, study.n_layers + 1) if study.can_distil(depth))
    return parse_selection(f"first:{deepest}", study.n_layers)


def say_other_depth(study: Study, selection: LayerSelection) -> None:
    """Prints why the student is not the decided selection: another one is set, or it cannot be distilled."""
    kept = kept_by(read_decision(study.folder))
    if kept.selection is None or selection.layers == kept.layers:
        return
    called = f"the budget's pick, {kept.selection}" if kept.is_pick else f"the decided {kept.selection}"
    if study.student_selection is not None:
        if kept.is_pick:
            say(f"student: {selection}, as set by distill.depth or distill.selection, not {called}")
        return
    unlike = "; the budget holds for its pick, not for this student" if kept.is_pick else ""
    if kept.depth == 0:
        why = "which has no layers to distil: the next depth that can be distilled is used"
    else:
        why = (
            "which shares no inner block with its teacher; to distil "
            f"{'the pick' if kept.is_pick else 'it'}, set distill.weights.multiple 0 and distill.selection "
            f"{kept.selection}"
        )
    say(f"student: {selection} in place of {called}, {why}{unlike}")
