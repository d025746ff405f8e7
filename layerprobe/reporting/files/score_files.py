"""`ScoreFiles`: what a study knows about its layers without training again, and how well that predicted the trainings.

Takes `similarity/`, `predictiveness.csv` and `predicted.csv` of a study folder, hands on tables. Any of them may be
absent and is then None, which the report says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from layerprobe import columns
from layerprobe.errors import InputError
from layerprobe.reporting.files.reading import AGAIN, optional, optional_table, read, with_columns, with_numbers
from layerprobe.store.atomic import read_json
from layerprobe.store.layout import StudyLayout

GREEDY = (columns.STEP, columns.LAYER, columns.VALUE)
BARS = (columns.MEASURE, columns.LAYER, columns.VALUE)
"""Columns of `importance.csv` in studies made before it had intervals."""


Kept = tuple[tuple[int, ...], ...]
"""The layers that one measured form keeps at depth k = 0..L, so entry k has k of them."""


@dataclass(frozen=True, eq=False)
class ScoreFiles:
    """The parts of one study folder that are about layers; each None where the file is absent.

    Attributes:
        similarity: `similarity/similarity.parquet`, columns `columns.SIMILARITY`.
        null: `similarity/null.csv`, columns `columns.NULL`.
        states: `similarity/states.csv`, columns `columns.STATES`.
        importance: `similarity/importance.csv`, columns `columns.IMPORTANCE`; intervals and rows are missing (NaN) in
            studies made before they were stored.
        blocks: `similarity/blocks.csv`, columns `columns.BLOCKS`.
        kept: `similarity/selections.json`, by the name of the form: `bi`, `angular`, `cka`, `greedy`.
        greedy: `similarity/greedy.csv`: step, layer removed (missing for the whole model), value after it.
        student: `similarity/student.parquet`, columns `columns.SIMILARITY`; `layer_a` counts the teacher's layers.
        predictiveness: `predictiveness.csv`, columns `columns.PREDICTIVENESS`.
        predicted: `predicted.csv`, columns `columns.PREDICTED`.
    """

    similarity: pd.DataFrame | None
    null: pd.DataFrame | None
    states: pd.DataFrame | None
    importance: pd.DataFrame | None
    blocks: pd.DataFrame | None
    kept: dict[str, Kept] | None
    greedy: pd.DataFrame | None
    student: pd.DataFrame | None
    predictiveness: pd.DataFrame | None
    predicted: pd.DataFrame | None


def read_score_files(folder: Path) -> ScoreFiles:
    """Reads the layer scores of a study folder.

    Raises:
        InputError: a file cannot be read, lacks columns or holds words where numbers belong.
    """
    layout = StudyLayout(folder)
    return ScoreFiles(
        similarity=optional_table(layout.similarity_table, pd.read_parquet, columns.SIMILARITY),
        null=_numbers(layout.null, columns.NULL),
        states=_numbers(layout.states, columns.STATES),
        importance=_read_importance(layout.importance),
        blocks=_numbers(layout.blocks, columns.BLOCKS),
        kept=_read_kept(layout.selections),
        greedy=_numbers(layout.greedy, GREEDY),
        student=optional_table(layout.student_similarity, pd.read_parquet, columns.SIMILARITY),
        predictiveness=_read_predictiveness(layout.predictiveness),
        predicted=_numbers(layout.predicted, columns.PREDICTED),
    )


def _numbers(path: Path, names: tuple[str, ...]) -> pd.DataFrame | None:
    table = optional_table(path, pd.read_csv, names)
    return None if table is None else with_numbers(path, table, names)


def _read_importance(path: Path) -> pd.DataFrame | None:
    """Reads bars with their intervals; older tables have no interval columns, and one that has only some is damaged."""
    if not path.exists():
        return None
    table = with_columns(path, read(path, pd.read_csv), BARS)
    added = columns.IMPORTANCE[len(BARS) :]
    if not set(added) & set(table.columns):
        table = table.assign(**dict.fromkeys(added, float("nan")))
    return with_numbers(path, with_columns(path, table, columns.IMPORTANCE), columns.IMPORTANCE)


def _read_predictiveness(path: Path) -> pd.DataFrame | None:
    """Reads the scores; an older table has no column `seeds`, and its ceiling is that of the very models it was of."""
    table = optional_table(path, pd.read_csv, columns.SPLIT_BY_USERS)
    if table is None:
        return None
    if columns.SEEDS not in table.columns:
        renamed = table[columns.SCORE].replace(columns.PERFECT_SCORE, columns.SAME_MODELS_SCORE)
        table = table.assign(**{columns.SCORE: renamed, columns.SEEDS: float("nan")})
    return with_numbers(path, table, columns.PREDICTIVENESS)


def _read_kept(path: Path) -> dict[str, Kept] | None:
    stored = optional(path, read_json)
    if stored is None:
        return None
    if not isinstance(stored, dict) or not all(_is_kept(form) for form in stored.values()):
        raise InputError(
            f"{path} must hold, for each form, `kept` (k ascending layers for k = 0..L); it does not; {AGAIN}"
        )
    return {name: tuple(map(tuple, form["kept"])) for name, form in stored.items()}


def _is_kept(form: Any) -> bool:
    """Tells whether entry k of a form's list holds k ascending layers, for k = 0..L."""
    if not isinstance(form, Mapping) or not isinstance(form.get("kept"), list) or not form["kept"]:
        return False
    all_layers = set(range(len(form["kept"]) - 1))
    return all(
        isinstance(layers, list) and len(layers) == k and layers == sorted(all_layers & set(layers))
        for k, layers in enumerate(form["kept"])
    )
