"""Section: similarity of the states after each layer, what may mislead it, and what each layer does."""

from __future__ import annotations

import pandas as pd

from layerprobe import columns
from layerprobe.reporting.figures.canvas import NamedFigure
from layerprobe.reporting.figures.similarity import similarity_figure, student_figure
from layerprobe.reporting.figures.to_final import to_final_figure
from layerprobe.reporting.files.study_files import StudyFiles
from layerprobe.reporting.findings.layers import agreement_sentence, null_sentences, state_warnings
from layerprobe.reporting.sections import importance
from layerprobe.reporting.sections.section import Part, Section, absent
from layerprobe.reporting.tables.layers import to_final
from layerprobe.reporting.words import markdown
from layerprobe.reporting.words.formats import confidence
from layerprobe.reporting.words.score_names import DISTANCES
from layerprobe.wording import count, level

FIGURES = ("similarity", "to-final", "similarity-student", *importance.FIGURES)
RUN = "Run the similarity stage."
SIMILARITY_TEXT = (
    "Each cell compares two states of the full model, each after a number of layers, with one row per user. Blocks of "
    "high similarity are layers that change little. Yellow (scales from 0) and brown (scales from -1) mean most "
    "similar in every map, also in that of a distance."
)
NO_PROOF = (
    "**What such a map does not prove.** Two similar states may still rank items differently, and a layer whose output "
    "is similar to its input may do what all later layers need. A map describes the layers of the trained full model, "
    "not what a smaller model can learn. It is a hint; the depth curve is the test."
)
TO_FINAL_TEXT = (
    "The next figure shows the last column of each map as a curve: how similar the state after k layers is to the "
    "final state."
)
NULL_TEXT = " The grey band is what the same measure gives by chance: the users of one state are shuffled."
STUDENT_TEXT = (
    "The states of the distilled student against those of its teacher, for the same users. A student that does the "
    "teacher's steps in fewer layers has a bright line from the lower left to the upper right."
)
NO_WARNING = (
    "No warning: no outlier rows, no rogue dimension and no common direction is large enough to dominate the values."
)


def layers_section(study: StudyFiles) -> Section:
    """Shows heat maps, curves, warnings, importance and orders; what is absent is said in one line each."""
    parts = [
        _similarity(study),
        _to_final(study),
        _warnings(study),
        _student(study),
        *importance.importance_parts(study),
    ]
    paragraphs = [paragraph for part in parts for paragraph in part.paragraphs if paragraph]
    return Section("What the layers do", paragraphs, [named for part in parts for named in part.figures])


def _similarity(study: StudyFiles) -> Part:
    table = study.scores.similarity
    if table is None or table.empty:
        return Part([absent("similarity of states", "similarity/similarity.parquet", RUN)])
    named = NamedFigure("similarity", similarity_figure(table, _caption(study, table)), table)
    return Part([SIMILARITY_TEXT, named.markdown, NO_PROOF], [named])


def _to_final(study: StudyFiles) -> Part:
    table, null = study.scores.similarity, study.scores.null
    missing = [] if null is not None else [absent("what shuffled rows give", "similarity/null.csv", RUN)]
    if table is None or table.empty:
        return Part(missing)
    curves = to_final(table, null)
    text, bands = TO_FINAL_TEXT, f"Blue: {confidence(study.alpha)}."
    if null is not None and len(null):
        text += NULL_TEXT
        covered = "" if study.alpha is None else f"{level(1 - study.alpha)} of "
        bands += f" Grey: {covered}{count(null[columns.N_PERMUTATIONS].min())} shuffles of the rows."
    if curves[columns.MEASURE].isin(DISTANCES).any():
        bands += " Angular distance is drawn as 1 - distance: unrelated rows give 0.5."
    named = NamedFigure("to-final", to_final_figure(curves, f"{bands} {_caption(study, table)}"), curves)
    sentences = markdown.bullets([line for line in (*null_sentences(curves), agreement_sentence(curves)) if line])
    return Part([text, named.markdown, sentences, *missing], [named])


def _warnings(study: StudyFiles) -> Part:
    states = study.scores.states
    if states is None or states.empty:
        return Part([absent("what may mislead the measures", "similarity/states.csv", RUN)])
    warnings = state_warnings(states)
    return Part([f"**Keep in mind:**\n\n{markdown.bullets(warnings)}" if warnings else NO_WARNING])


def _student(study: StudyFiles) -> Part:
    table = study.scores.student
    if table is None or table.empty:
        how = "Run the distill and similarity stages."
        return Part([absent("similarity of teacher and student", "similarity/student.parquet", how)])
    named = NamedFigure("similarity-student", student_figure(table, _caption(study, table)), table)
    return Part([STUDENT_TEXT, named.markdown], [named])


def _caption(study: StudyFiles, table: pd.DataFrame) -> str:
    first = table.iloc[0]
    return (
        f"{count(first[columns.N_ROWS])} users, {count(first[columns.DIM])} dimensions; rows: {first[columns.ROWS]}. "
        f"State 0 is the input, state L the output before the final norm. Study {study.name}, commit {study.commit}."
    )
