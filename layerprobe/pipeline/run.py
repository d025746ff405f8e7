"""Runs a study's stages in order: skips what is done, goes on where it was cut off, prints where it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from layerprobe import processes
from layerprobe.errors import InputError
from layerprobe.pipeline import outcomes, stages
from layerprobe.pipeline.study import Study
from layerprobe.store.run_folder import DONE
from layerprobe.training.log import say


def _probe(study: Study) -> None:
    stages.probe_stage(study)
    processes.on_main(lambda: outcomes.curve_stage(study))


def _decide(study: Study) -> None:
    processes.on_main(lambda: outcomes.decide_stage(study))


def _export(study: Study) -> None:
    processes.on_main(lambda: outcomes.export_stage(study))


def _report(study: Study) -> None:
    processes.on_main(lambda: outcomes.report_stage(study))


STAGES: dict[str, Callable[[Study], None]] = {
    "data": stages.data_stage,
    "items": stages.items_stage,
    "teach": stages.teach_stage,
    "probe": _probe,
    "similarity": stages.similarity_stage,
    "decide": _decide,
    "distill": outcomes.distill_stage,
    "export": _export,
    "report": _report,
}
NEEDS = {
    "items": ("data",),
    "teach": ("data", "items"),
    "probe": ("data", "items", "teach"),
    "similarity": ("data", "items", "teach"),
    "decide": ("data", "items", "teach", "probe"),
    "distill": ("data", "items", "teach", "probe", "decide"),
    "export": ("data", "items", "teach", "probe", "decide", "distill"),
}
"""What a stage reads; it is brought up to date first. `report` draws from whatever is there."""


def run_stages(study: Study, last: str | None = None) -> Path:
    """Runs the whole study, or stage `last` with what it needs. Returns the study's folder.

    Raises:
        InputError: the spec or the folder is at fault; nothing was computed.
        StudyError: a training or check failed; what was done before stays and the next run goes on from there.
    """
    study.check()
    processes.on_main(study.open)
    names = list(STAGES) if last is None else [*NEEDS.get(last, ()), last]
    for name in names:
        say(f"stage {name}")
        if name == "report":
            processes.on_main(study.record)  # every guard has passed: the report shows the spec of what lies here
        STAGES[name](study)
        if name == "data":
            processes.on_main(lambda: _after_data(study))
    processes.on_main(study.record)
    return study.folder


def _after_data(study: Study) -> None:
    study.check_steps()
    if not study.is_recorded():
        study.record()


def plan_lines(study: Study) -> list[str]:
    """Returns what `run` would do, one line per model, with what is done already. Writes nothing.

    Raises:
        InputError: the spec or the folder is at fault, as `run_stages` would say, or the log is not there.
    """
    study.check()
    study.check_folder()
    spec = study.spec
    if spec.data.path is not None and not Path(spec.data.path).exists():
        raise InputError(f"data.path must be the log's file or folder; there is nothing at {spec.data.path}")
    models = [("items: SASRec and floors", study.folder / "items", spec.items.training.epochs)]
    models.append((f"teacher: {study.full}", study.folder / "teacher", spec.training.epochs))
    models += [(text, folder, spec.training.epochs) for text, folder in _probed(study)]
    distilled = study.student_selection or "the decided selection, or the next that can be distilled"
    epochs = (spec.distill.training or spec.training).epochs
    models.append((f"distilled: {distilled}", study.folder / "distillation" / spec.distill.name, epochs))
    lines = [f"{text}, at most {epochs} epochs: {_state(folder)}" for text, folder, epochs in models]
    merged = [] if study.family.merged_line is None else [study.family.merged_line]
    last = "then: similarity, decision, student folder, report"
    return [f"study {spec.name} in {study.folder}", *merged, *lines, last]


def _probed(study: Study) -> list[tuple[str, Path]]:
    """Returns the variants but for the teacher, then the twins of the control arms, each with its folder."""
    seeds = study.spec.probe.seeds
    found = [
        (f"variant: {each}, seed {seed}", study.variant_folder(each, seed))
        for seed in seeds
        for each in study.selections
    ]
    found = [(text, folder) for text, folder in found if folder.name != "teacher"]
    for control in study.spec.probe.controls:
        found += [
            (f"{control}: {each}, seed {seed}", study.control_folder(control, each, seed))
            for seed in seeds
            for each in study.control_selections
        ]
    return found


def _state(folder: Path) -> str:
    if (folder / DONE).exists():
        return "done"
    return "begun" if folder.exists() else "to do"
