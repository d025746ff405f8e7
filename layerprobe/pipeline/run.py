"""Runs a study's stages in order: skips what is done, resumes what was interrupted, prints its progress."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from layerprobe import processes
from layerprobe.backbone.load import check_stored_values
from layerprobe.errors import BudgetNotMet, NothingToDistil
from layerprobe.pipeline.dry_run.plan import require_room
from layerprobe.stages.data import require_use
from layerprobe.stages.registry import STAGES, stages_until
from layerprobe.stages.stage import Stage
from layerprobe.store.run_folder import DONE
from layerprobe.store.seals.study_seals import seal, unseal
from layerprobe.study.checks import check_similarity, check_steps, check_study
from layerprobe.study.guard import is_recorded, opened_folder, record
from layerprobe.study.jobs.looks import write_plan
from layerprobe.study.study import Study
from layerprobe.sweep.sweep import Executor, LocalExecutor
from layerprobe.training.engine import available_device, mixed_precision
from layerprobe.training.log import say

LOCAL = LocalExecutor()


def run_stages(
    study: Study, last: str | None = None, executor: Executor = LOCAL, stages: tuple[Stage, ...] = STAGES
) -> Path:
    """Runs the whole study, or stage `last` with the stages it needs. Returns the study's folder.

    A variant or twin that fails does not stop the run: `sweep.tasks.failed_line` names it. In a whole run, two more
    errors are raised only at the end, when everything else is written: a budget that no selection keeps (the student
    then has the decided layers), and a student that would be the same model as its teacher.

    Args:
        study: what is asked for.
        last: the last stage; None is all of them.
        executor: where variants and twins are trained.
        stages: all stages there are.

    Raises:
        InputError: the spec, the log or the folder is wrong; finished work is kept.
        BudgetNotMet: no studied selection keeps the budget; everything else is written.
        StudyError: a training or check failed; finished work is kept and the next run resumes there.
    """
    todo = stages_until(last, stages)
    with ExitStack() as held:
        processes.on_main(lambda: held.enter_context(opened_folder(study)))
        check_study(study)
        _say_processes()
        _run_all(study, todo, executor, is_whole=last is None)
    return study.folder


def _run_all(study: Study, todo: list[Stage], executor: Executor, is_whole: bool) -> None:
    """Runs stages in order; in a whole run, errors that leave the other stages something to do come at the end."""
    put_off: BudgetNotMet | NothingToDistil | None = None
    has_student = True
    for stage in todo:
        if stage.name == "export" and not has_student:
            say("stage export is skipped: there is no student")
            continue
        try:
            _run_stage(stage, study, executor)
        except (BudgetNotMet, NothingToDistil) as error:
            if not is_whole:
                raise
            has_student = has_student and isinstance(error, BudgetNotMet)
            say(str(error))
            put_off = put_off or error  # raised at the end: the other stages can still run
    processes.on_main(lambda: record(study))
    if put_off is not None:
        raise put_off


def _run_stage(stage: Stage, study: Study, executor: Executor) -> None:
    say(f"stage {stage.name}")
    if stage.name == "report":
        processes.on_main(lambda: record(study))  # every guard has passed, so the report shows the spec of these files
    processes.on_main(lambda: unseal(study.layout, stage.tables(study.layout)))
    try:
        if stage.on_main:
            processes.on_main(lambda: stage.run(study, executor))
        else:
            stage.run(study, executor)
    finally:  # a stage that ends with an error may have written tables, each of them whole
        if processes.is_main():
            seal(study.layout, stage.tables(study.layout))
    if stage.name == "data":
        _after_data(study)


def _say_processes() -> None:
    if processes.count() > 1:
        precision = "bfloat16 passes" if mixed_precision() == "bf16" else "float32"
        say(f"{processes.count()} processes, {available_device().type}, {precision}")


def _after_data(study: Study) -> None:
    """Refuses what cannot be trained on these data or this machine, then records the study in its folder."""
    is_new = not processes.agreed(lambda: is_recorded(study))
    if is_new:  # the data may lie there from a run with other options, which was refused
        processes.on_main(lambda: require_use(study.spec, study.data))
    processes.on_main(lambda: check_steps(study, study.data.split))
    if not (study.layout.teacher / DONE).exists():  # else they were read and checked
        processes.on_main(lambda: check_stored_values(study.spec.backbone))
    processes.on_main(lambda: check_similarity(study, len(study.data.split.users("valid"))))
    require_room(study)  # all processes: they agree on what the machine has
    if is_new:
        processes.on_main(lambda: record(study))
    processes.on_main(lambda: write_plan(study))  # before a model is trained, so that nothing is chosen by its result
