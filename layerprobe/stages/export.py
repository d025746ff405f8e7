"""Stage export: the deployable folder `student/`."""

from __future__ import annotations

import pandas as pd

from layerprobe import columns
from layerprobe.distillation.run import StudentInTraining
from layerprobe.export.student import StudentSource, write_student
from layerprobe.probing.curves import curve_rows
from layerprobe.stages.tables.points import model_point
from layerprobe.store.layout import WEIGHTS
from layerprobe.store.run_folder import file_hash_of
from layerprobe.study.jobs.students import distill_job, student_selection
from layerprobe.study.study import Study
from layerprobe.training.model_folder import Point, load_trained, read_ranks


def run(study: Study) -> None:
    """Writes the deployable folder `student/` from the distilled student."""
    selection = student_selection(study)
    job = distill_job(study, selection, study.spec.probe.seeds[0])
    model = load_trained(job.folder, job.build)
    assert isinstance(model, StudentInTraining)
    backbone = study.spec.backbone
    source = StudentSource(
        name=study.spec.name,
        selection=selection.resolved,
        teacher_depth=study.n_layers,
        teacher_sha256=file_hash_of(study.layout.teacher, WEIGHTS),
        student_sha256=file_hash_of(job.folder, WEIGHTS),
        data_sha256=study.data_hash,
        backbone={
            "checkpoint": backbone.checkpoint,
            "revision": backbone.revision,
            "keep": backbone.keep,
            "content": study.content,
        },
        remove_history=study.spec.evaluation.remove_history,
        curve=_student_rows(study, job.point),
        split=study.data.split.kind,
    )
    write_student(model.student, study.data.catalogue, source, study.layout.student)


def _student_rows(study: Study, point: Point) -> pd.DataFrame:
    """Returns rows as the curve's of the teacher, and the curve's own of the student that is exported."""
    curve, folder = pd.read_csv(study.layout.curve), study.layout.teacher
    options = study.spec.evaluation
    teacher = curve_rows(read_ranks(folder), model_point(folder), options.ks, options.alpha, options.n_boot)
    is_student = (curve[columns.KIND] == point.kind) & (curve[columns.SELECTION] == point.selection)
    student = is_student & (curve[columns.SEED] == point.seed)
    return pd.concat([teacher, curve.loc[student]], ignore_index=True)
