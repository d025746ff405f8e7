"""The report of a study: `report.md` and `figures/`, made from the study's files alone.

Nothing is computed again but intervals of the student's difference; no torch, no GPU. The same study gives the same
bytes, so a report can be committed and compared.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from layerprobe.arguments import as_folder, writable_folder
from layerprobe.reporting.figures.canvas import FIGURE_SUFFIXES, NamedFigure, save_figure
from layerprobe.reporting.files.study_files import StudyFiles, read_study
from layerprobe.reporting.sections import cost, depth, layers, predictiveness, slices
from layerprobe.reporting.sections.answer import answer_section
from layerprobe.reporting.sections.data import data_section
from layerprobe.reporting.sections.decision import evidence
from layerprobe.reporting.sections.decision.baselines import baselines_section
from layerprobe.reporting.sections.decision.robustness import robustness_section
from layerprobe.reporting.sections.effort import effort_section
from layerprobe.reporting.sections.provenance import provenance_section
from layerprobe.reporting.sections.section import SectionEntry
from layerprobe.reporting.sections.student import student_section
from layerprobe.reporting.tables.curve import check_consistency
from layerprobe.store.atomic import write_text
from layerprobe.store.layout import FIGURES, REPORT, StudyLayout
from layerprobe.store.manifest import renew_manifest
from layerprobe.store.seals.study_seals import require_whole_study

SECTIONS = (
    SectionEntry(answer_section),
    SectionEntry(baselines_section),
    SectionEntry(data_section),
    SectionEntry(depth.depth_section, depth.FIGURES),
    SectionEntry(evidence.decision_section, evidence.FIGURES),
    SectionEntry(robustness_section),
    SectionEntry(cost.cost_section, cost.FIGURES),
    SectionEntry(slices.slices_section, slices.FIGURES),
    SectionEntry(layers.layers_section, layers.FIGURES),
    SectionEntry(predictiveness.worth_section, predictiveness.FIGURES),
    SectionEntry(student_section),
    SectionEntry(effort_section),
    SectionEntry(provenance_section),
)
"""In the order of the report."""


def write_report(study: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Writes the report of a study folder and returns the path of its `report.md`.

    Every figure is written as SVG and PNG beside the CSV it shows. Parts the study does not have are named in one line
    each. Everything is made before the first file is written; `report.md` is written last.

    Args:
        study: a study folder; only its `curve.csv` must be there.
        out: folder of the report; None is `study/report`, or the folder itself where it was published.

    Raises:
        InputError: the study folder or its curve is missing or damaged.
        StudyError: the curve contradicts itself, or student and teacher were ranked on different users.
    """
    folder = as_folder("study", study)
    layout = StudyLayout(folder)
    require_whole_study(layout)
    report = make_report(read_study(folder))
    path = _write(report, layout.drawn if out is None else writable_folder("out", out))
    if layout.manifest.exists() and path.parent == folder:
        renew_manifest(folder, [path, *(folder / name for name in figure_files(report))])
    return path


def write_layer_report(study: Path) -> Path:
    """Writes the section on layers alone, to `similarity/report/`, and returns the path of its `report.md`.

    For a study whose similarity stage is done and whose variants are still to be trained.

    Args:
        study: a study folder.

    Raises:
        InputError: a file of the similarity stage is damaged.
    """
    files = read_study(study, needs_curve=False)
    section = layers.layers_section(files)
    page = Report(f"# Layers of study {files.name}\n\n{section.markdown}", section.figures)
    return _write(page, StudyLayout(study).layer_report)


@dataclass(frozen=True, eq=False)
class Report:
    """A report in memory: Markdown and the figures it links to."""

    text: str
    figures: list[NamedFigure]


def make_report(study: StudyFiles) -> Report:
    """Checks the curve, then makes text and figures; writes nothing.

    Raises:
        InputError: a figure cannot be drawn from the curve.
        StudyError: the curve contradicts itself, or student and teacher were ranked on different users.
    """
    check_consistency(study.curve)
    sections = [entry.make(study) for entry in SECTIONS]
    text = "\n".join([f"# How many layers? Study {study.name}\n", *(section.markdown for section in sections)])
    return Report(text, [named for section in sections for named in section.figures])


def figure_files(report: Report) -> list[str]:
    """Returns the paths of a report's figures beside its text."""
    return [f"{FIGURES}/{named.name}{suffix}" for named in report.figures for suffix in FIGURE_SUFFIXES]


def _write(report: Report, folder: Path) -> Path:
    """Writes figures and then the text, and returns its path."""
    _remove_old_figures(folder / FIGURES)
    for named in report.figures:
        save_figure(folder / FIGURES, named)
    write_text(folder / REPORT, report.text)
    return folder / REPORT


def _remove_old_figures(folder: Path) -> None:
    """Removes figures of an earlier report, so that none stays that this study no longer has."""
    names = [name for entry in SECTIONS for name in entry.figures]
    for name, suffix in product(names, FIGURE_SUFFIXES):
        (folder / f"{name}{suffix}").unlink(missing_ok=True)
