"""Section: similarity of the states after each layer, and what each layer does."""

from __future__ import annotations

import pandas as pd

from layerprobe import columns
from layerprobe.reporting.figures import NamedFigure
from layerprobe.reporting.layer_figures import importance_figure, similarity_figure
from layerprobe.reporting.sections.section import Section, absent
from layerprobe.reporting.study_files import StudyFiles
from layerprobe.reporting.words import count

RUN = "Run the similarity stage."
SIMILARITY_TEXT = (
    "Each cell compares the user vectors of the full model after two numbers of layers. Blocks of high values are "
    "layers that change little. Two states may look alike and still rank items differently, so the map is a hint "
    "and the depth curve is the proof."
)
INFLUENCE_TEXT = (
    "Block influence is 1 minus the mean cosine between a layer's input and output: 0 means that the layer does "
    "nothing to the direction of the user vector."
)
DROP_TEXT = (
    "The other bars skip one layer of the trained full model, retrain nothing, and show how much NDCG@10 is lost on "
    "validation users. A negative loss means that the model is better without the layer."
)


def layers_section(study: StudyFiles) -> Section:
    """Shows heat maps and importance bars, or says in one line that there are none."""
    paragraphs: list[str] = []
    drawn: list[NamedFigure] = []
    if study.similarity is None or study.similarity.empty:
        paragraphs.append(absent("similarity of states", "similarity/similarity.parquet", RUN))
    else:
        figure = similarity_figure(study.similarity, _similarity_caption(study, study.similarity))
        drawn.append(NamedFigure("similarity", figure, study.similarity))
        paragraphs += [SIMILARITY_TEXT, drawn[-1].markdown]
    if study.importance is None or study.importance.empty:
        paragraphs.append(absent("importance of layers", "similarity/importance.csv", RUN))
    else:
        figure = importance_figure(study.importance, _importance_caption(study))
        drawn.append(NamedFigure("importance", figure, study.importance))
        paragraphs += [_importance_text(study.importance), drawn[-1].markdown]
    return Section("What the layers do", paragraphs, drawn)


def _similarity_caption(study: StudyFiles, table: pd.DataFrame) -> str:
    first = table.iloc[0]
    return (
        f"{count(first[columns.N_ROWS])} users, {count(first[columns.DIM])} dimensions; rows: {first[columns.ROWS]}. "
        f"State 0 is the input, state L the output before the final norm. Study {study.name}, commit {study.commit}."
    )


def _importance_caption(study: StudyFiles) -> str:
    return f"Layers count from 0: layer i maps state i to state i + 1. Study {study.name}, commit {study.commit}."


def _importance_text(importance: pd.DataFrame) -> str:
    return (
        f"{INFLUENCE_TEXT} {DROP_TEXT}" if (importance[columns.MEASURE] == columns.DROP_ONE).any() else INFLUENCE_TEXT
    )
