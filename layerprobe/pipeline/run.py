"""Runs a study's stages in order: skips what is done, goes on where it was cut off, prints where it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from layerprobe import processes
from layerprobe.errors import BudgetNotMet, NothingToDistil
from layerprobe.pipeline import outcomes, stages
from layerprobe.pipeline.checks import check_similarity, check_steps
from layerprobe.pipeline.cost_stage import cost_stage
from layerprobe.pipeline.layer_stage import similarity_stage
from layerprobe.pipeline.plan import require_room
from layerprobe.pipeline.study import Study
from layerprobe.pipeline.sweep import Executor, LocalExecutor
from layerprobe.training.engine import available_device, mixed_precision
from layerprobe.training.log import say

LOCAL = LocalExecutor()


def _probe(study: Study, executor: Executor = LOCAL) -> None:
    stages.probe_stage(study, executor)
    processes.on_main(lambda: outcomes.curve_stage(study))


def _decide(study: Study) -> None:
    unmet = processes.agreed(lambda: _unmet_budget(study))  # all processes must take the same way from here
    if unmet is not None:
        raise BudgetNotMet(unmet)


def _unmet_budget(study: Study) -> str | None:
    """Decides, and returns what is wrong with the budget; None where it is kept, or there is none."""
    try:
        outcomes.decide_stage(study)
    except BudgetNotMet as error:
        return str(error)
    return None


def _export(study: Study) -> None:
    processes.on_main(lambda: outcomes.export_stage(study))


def _report(study: Study) -> None:
    processes.on_main(lambda: outcomes.report_stage(study))


STAGES: dict[str, Callable[[Study], None]] = {
    "data": stages.data_stage,
    "items": stages.items_stage,
    "teach": stages.teach_stage,
    "similarity": similarity_stage,
    "probe": _probe,
    "cost": cost_stage,
    "decide": _decide,
    "distill": outcomes.distill_stage,
    "export": _export,
    "report": _report,
}
NEEDS = {
    "items": ("data",),
    "teach": ("data", "items"),
    "similarity": ("data", "items", "teach"),
    "probe": ("data", "items", "teach", "similarity"),
    "cost": ("data", "items", "teach", "similarity", "probe"),
    "decide": ("data", "items", "teach", "similarity", "probe", "cost"),
    "distill": ("data", "items", "teach", "similarity", "probe", "cost", "decide"),
    "export": ("data", "items", "teach", "similarity", "probe", "cost", "decide", "distill"),
}
"""What a stage reads; it is brought up to date first. `report` draws from whatever is there."""


def run_stages(study: Study, last: str | None = None, executor: Executor = LOCAL) -> Path:
    """Runs the whole study, or stage `last` with what it needs. Returns the study's folder.

    A variant or twin that fails stops nothing: `sweep_tasks.failed_line` says which did. Neither does, in a whole run,
    a budget that nothing keeps (the student is then of the decided layers) or a student that would be its teacher: they
    are raised at the end, when everything else is written.

    Args:
        study: what is asked for.
        last: the last stage; None is all of them.
        executor: where variants and twins are trained.

    Raises:
        InputError: the spec, the log or the folder is at fault; what was done before stays.
        BudgetNotMet: no studied selection keeps the budget; all that can be made without it is there.
        StudyError: a training or check failed; what was done before stays and the next run goes on from there.
    """
    study.check()
    if processes.count() > 1:
        precision = "bfloat16 passes" if mixed_precision() == "bf16" else "float32"
        say(f"{processes.count()} processes, {available_device().type}, {precision}")
    processes.on_main(study.open)
    names = list(STAGES) if last is None else [*NEEDS.get(last, ()), last]
    put_off: BudgetNotMet | NothingToDistil | None = None
    has_student = True
    todo = {**STAGES, "probe": partial(_probe, executor=executor)}
    for name in names:
        if name == "export" and not has_student:
            say("stage export is left out: there is no student")
            continue
        say(f"stage {name}")
        if name == "report":
            processes.on_main(study.record)  # every guard has passed: the report shows the spec of what lies here
        try:
            todo[name](study)
        except (BudgetNotMet, NothingToDistil) as error:
            if last is not None:
                raise
            has_student = has_student and isinstance(error, BudgetNotMet)
            say(str(error))
            put_off = put_off or error  # raised at the end: the rest can be made all the same
        if name == "data":
            _after_data(study)
    processes.on_main(study.record)
    if put_off is not None:
        raise put_off
    return study.folder


def _after_data(study: Study) -> None:
    """Refuses what cannot be trained on these data or this machine, then writes down what the folder is a study of."""
    processes.on_main(lambda: check_steps(study, study.data.split))
    processes.on_main(lambda: check_similarity(study, len(study.data.split.evaluated)))
    require_room(study)  # all processes: they agree on what the machine has
    if not processes.agreed(study.is_recorded):
        processes.on_main(study.record)
