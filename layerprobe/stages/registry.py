"""The stages of a study, in order; commands, their prerequisites and the rows of the dry run come from this list."""

from __future__ import annotations

from layerprobe.errors import InputError
from layerprobe.stages.stage import Stage

STAGES = (
    Stage("data", "read, filter and split the log", "layerprobe.stages.data", on_main=True),
    Stage("items", "train SASRec, freeze the item table, rank the floors", "layerprobe.stages.items", ("data",)),
    Stage("teach", "train the full-depth teacher", "layerprobe.stages.teach", ("items",)),
    Stage(
        "similarity",
        "compare the teacher's layers",
        "layerprobe.stages.similarity",
        reads=("teach",),
        writes=("every_cut", "greedy"),
    ),
    Stage(
        "probe",
        "fine-tune every selection of layers, rank every exit",
        "layerprobe.stages.probe",
        reads=("similarity",),
        renews=("curve",),
        writes=("every_cut",),
        in_sweep=True,
    ),
    Stage(
        "curve",
        "write curve.csv and slices.csv",
        "layerprobe.stages.curve",
        reads=("probe",),
        writes=("curve", "slices", "slice_differences", "convergence"),
        on_main=True,
    ),
    Stage("cost", "measure latency, speed and memory of every selection", "layerprobe.stages.cost", reads=("probe",)),
    Stage(
        "decide",
        "decide which layers to keep",
        "layerprobe.stages.decide",
        reads=("curve", "cost"),
        writes=("decision", "robustness", "front", "control_comparison", "predictiveness", "predicted"),
    ),
    Stage(
        "distill",
        "train the student on the teacher's blocks",
        "layerprobe.stages.distil",
        reads=("decide",),
        renews=("curve",),
        writes=("distilled", "student_similarity", "student_similarity_facts"),
    ),
    Stage(
        "export", "write the deployable student folder", "layerprobe.stages.export", reads=("distill",), on_main=True
    ),
    Stage("report", "write the report from the study's files", "layerprobe.stages.report", on_main=True),
)


def stage_named(name: str, stages: tuple[Stage, ...] = STAGES) -> Stage:
    """Returns a stage.

    Raises:
        InputError: there is none of that name.
    """
    for stage in stages:
        if stage.name == name:
            return stage
    raise InputError(f"a stage must be one of {', '.join(stage.name for stage in stages)}; got {name!r}")


def stages_until(last: str | None, stages: tuple[Stage, ...] = STAGES) -> list[Stage]:
    """Returns the stages to bring up to date, in order; a stage that must run twice is listed twice.

    Args:
        last: name of the last stage; None means the whole study.
        stages: all stages, each after those it reads.

    Raises:
        InputError: there is no stage of that name.

    >>> [stage.name for stage in stages_until("teach")]
    ['data', 'items', 'teach']
    """
    needed = {stage.name for stage in stages} if last is None else _needed(last, stages)
    due: list[Stage] = []
    for stage in stages:
        if stage.name in needed and (not due or due[-1] != stage):
            due += [stage, *(stage_named(name, stages) for name in stage.renews)]
    return due


def _needed(name: str, stages: tuple[Stage, ...]) -> set[str]:
    return {name}.union(*(_needed(stage, stages) for stage in stage_named(name, stages).reads))
