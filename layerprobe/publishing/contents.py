"""Which files of a study travel with its report: what is written down here, and nothing else.

No weights, no log, no catalogue: users and items appear as row numbers alone, since most logs may not be passed on.
"""

from __future__ import annotations

from pathlib import Path

from layerprobe.store.layout import METRICS, StudyLayout, student_folders
from layerprobe.study.plain_study import PlainStudy


def derived_files(layout: StudyLayout) -> list[Path]:
    """Returns the results that ranks and measured files give again."""
    return [
        layout.curve,
        layout.slices,
        layout.slice_differences,
        layout.decision,
        layout.robustness,
        layout.control_comparison,
        layout.distilled,
        layout.predictiveness,
        layout.predicted,
        layout.front,
    ]


def measured_files(study: PlainStudy) -> list[Path]:
    """Returns what was set, trained or measured, and what no ranks give again."""
    layout, similarity = study.layout, study.spec["similarity"]
    return [
        layout.spec,
        layout.provenance,
        layout.facts,
        layout.split,
        layout.ledger,
        layout.convergence,
        layout.similarity_table,
        layout.null,
        layout.states,
        layout.importance,
        layout.blocks,
        layout.selections,
        layout.greedy,
        layout.cuts(similarity["rows"], similarity["seed"]),
        layout.student_similarity,
        layout.student_similarity_facts,
        layout.cost_table,
        layout.cost_facts,
        *(folder / METRICS for folder in model_folders(study)),
    ]


def model_folders(study: PlainStudy) -> list[Path]:
    """Returns the model folders that curve and report know: those of the curve, the teacher and every student."""
    layout = study.layout
    folders = [*study.models.curve_folders, layout.teacher, *student_folders(layout.distillation)]
    return list(dict.fromkeys(folders))
