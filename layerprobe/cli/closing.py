"""The last lines of a command: where the files are that it has just written, and which later ones are older."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from layerprobe.stages.registry import STAGES
from layerprobe.store.layout import REPORT, WEIGHTS, StudyLayout
from layerprobe.store.run_folder import DONE, file_hash_of

if TYPE_CHECKING:
    from layerprobe.study.study import Study


def study_lines(folder: Path) -> list[str]:
    """Returns where the existing results of a whole study are, decision first."""
    layout = StudyLayout(folder)
    places = {"curve": layout.curve, "student": layout.student, "report": layout.report / REPORT}
    decision = _decision_lines(folder) if layout.decision.exists() else []
    return decision + [f"{name}: {path}" for name, path in places.items() if path.exists()]


def stage_lines(study: Study, stage: str) -> list[str]:
    """Returns what one stage has written, and in one line which files of later stages are older than that.

    Args:
        study: its folder holds what the stage has just written.
        stage: name of the stage; `report` has a command of its own.
    """
    layout = study.layout
    simple = {
        "data": ("data", layout.data),
        "items": ("SASRec and item table", layout.items),
        "teach": ("teacher", layout.teacher),
        "probe": ("curve", layout.curve),
        "curve": ("curve", layout.curve),
        "export": ("student", layout.student),
    }
    if stage in simple:
        name, path = simple[stage]
        lines = [f"{name}: {path}"]
    else:
        several = {"similarity": _layer_lines, "cost": _cost_lines, "decide": _decision_lines}
        of_stage = several.get(stage, lambda folder: [f"{stage}: done, in {folder}"])
        lines = _student_lines(study) if stage == "distill" else of_stage(study.folder)
    older = _older(study, stage)
    return [*lines, *([] if older is None else [older])]


def _layer_lines(folder: Path) -> list[str]:
    """Draws what the similarity stage has measured, and returns where the page is."""
    from layerprobe.reporting.report import write_layer_report

    return [f"layers: {write_layer_report(folder)}"]


def _cost_lines(folder: Path) -> list[str]:
    table = StudyLayout(folder).cost_table
    return [f"costs: {table}" if table.exists() else "costs: none, since no model fitted into memory beside the others"]


def _decision_lines(folder: Path) -> list[str]:
    from layerprobe.store.decision import read_decision

    decision = read_decision(folder)
    verdict = [f"verdict: {decision.told}"] if decision.verdict else []
    budget = [] if decision.budget is None else [f"budget: {decision.budget.sentence}"]
    return [*verdict, f"decision: {decision.sentence}", *budget]


def _student_lines(study: Study) -> list[str]:
    """Returns where the trained student is, and whether the distillation helped."""
    from layerprobe.store.distilled import read_distilled

    path = study.layout.distilled
    trained = next(iter(study.student_folders.values()))
    gain = [read_distilled(study.folder).sentence] if path.exists() else []
    return [f"trained student: {trained} (`layerprobe export` writes the folder to deploy)", *gain]


def _older(study: Study, stage: str) -> str | None:
    """Says which files of later stages are older than what the stage wrote last; None where none is."""
    from layerprobe.wording import listed

    layout, names = study.layout, [one.name for one in STAGES]
    written = [path.stat().st_mtime_ns for path in _written(study, stage) if path.exists()]
    later = names[names.index(stage) + 1 :]
    files = {"curve": ("curve", layout.curve), "decide": ("decision", layout.decision)}
    files["report"] = ("report", layout.report / REPORT)
    older = [
        name
        for of, (name, path) in files.items()
        if of in later and path.exists() and written and path.stat().st_mtime_ns < max(written)
    ]
    blocking = [str(path) for path in _other_student(study, stage)] if "export" in later else []
    older += ["student"] if blocking else []
    older += ["comparison of the student"] if stage == "decide" and _is_compared_otherwise(layout) else []
    if not older:
        return None
    pronoun = "it" if len(older) == 1 else "them"
    moved = f", once {listed(blocking)} {'is' if len(blocking) == 1 else 'are'} moved away" if blocking else ""
    return (
        f"older than this: {listed(older)}; `layerprobe run` with the same arguments brings {pronoun} up to date{moved}"
    )


def _is_compared_otherwise(layout: StudyLayout) -> bool:
    """Tells whether the student was compared by another metric or error level than the decision has now."""
    from layerprobe.store.decision import read_decision
    from layerprobe.store.distilled import read_distilled

    return layout.distilled.exists() and not read_distilled(layout.folder).agrees(read_decision(layout.folder))


def _written(study: Study, stage: str) -> list[Path]:
    """Returns the files of a stage whose age tells when it last wrote something."""
    layout = study.layout
    seeds = study.spec.probe.seeds
    trained = {
        "items": [*study.sasrec_folders.values(), layout.baselines],
        "teach": [layout.teacher],
        "distill": list(study.student_folders.values()),
        "data": [layout.data],
        "similarity": [layout.similarity],
        "probe": [layout.exits, *(study.variant_folder(layers, seed) for seed in seeds for layers in study.selections)],
    }
    tables = {
        "probe": [layout.curve],
        "curve": [layout.curve],
        "cost": [layout.cost_table],
        "decide": [layout.decision],
        "distill": [layout.curve, layout.distilled],
    }
    return [*(folder / DONE for folder in trained.get(stage, [])), *tables.get(stage, [])]


def _other_student(study: Study, stage: str) -> list[Path]:
    """Returns the folders of an older student, which are never overwritten; none where it is the one wanted now.

    It differs where the trained student has other weights or another teacher or, right after a decision, where the
    student is to keep other layers.
    """
    from layerprobe.export.whole import known_facts
    from layerprobe.study.jobs.students import student_selection

    facts, trained = known_facts(study.layout.student), next(iter(study.student_folders.values()))
    if facts is None:  # none yet, or a damaged one, which `export` writes again
        return []
    if stage == "decide" and student_selection(study).resolved != facts.get("kept_layers"):
        return [study.layout.student, *([trained] if trained.exists() else [])]
    weights = {"teacher_sha256": study.layout.teacher, "student_sha256": trained}
    differs = any((at / DONE).exists() and file_hash_of(at, WEIGHTS) != facts.get(name) for name, at in weights.items())
    return [study.layout.student] if differs else []
