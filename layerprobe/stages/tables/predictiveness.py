"""Collects the cheap scores and the fine-tuned metric of every studied selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.backbone.selection import LayerSelection
from layerprobe.probing.exits import EXIT_KINDS
from layerprobe.probing.per_user import PerUser
from layerprobe.probing.predictiveness import MeasuredCurve, layer_predictions, predictiveness
from layerprobe.stages.tables.validation import valid_value
from layerprobe.stages.teacher.cuts import cut_store
from layerprobe.store.atomic import write_csv
from layerprobe.study.study import Study

CUT = "cut-ndcg"
"""The teacher ranked with the selection's layers alone, nothing retrained."""
TO_FULL = "cka-to-full"


def write_predictiveness(study: Study, variants: Mapping[LayerSelection, Sequence[pd.DataFrame]]) -> None:
    """Writes `predictiveness.csv` and `predicted.csv`.

    Args:
        study: a study whose similarity and probe stages are done.
        variants: per selection the ranks of its variants, one table per seed.
    """
    options = study.spec.decision
    selections = tuple(selection for selection in variants if selection.depth)
    per_user = [PerUser.read(selection.text, variants[selection], options).metric for selection in selections]
    curve = MeasuredCurve(selections, np.stack(per_user, axis=2))
    table, points = predictiveness(
        _predictions(study, selections), curve, options.n_boot, study.spec.evaluation.alpha, options.seed
    )
    write_csv(study.layout.predicted, points)
    write_csv(study.layout.predictiveness, table)


def _predictions(study: Study, selections: Sequence[LayerSelection]) -> dict[str, np.ndarray]:
    """Returns every score of every selection, higher is better; NaN where a score is defined for first layers only."""
    layout = study.layout
    scores = layer_predictions(pd.read_csv(layout.importance), pd.read_csv(layout.blocks), selections)
    cuts = cut_store(study).read_layers()
    scores[CUT] = np.array([cuts[selection.layers].mean() for selection in selections])
    table = pd.read_parquet(layout.similarity_table)
    last = table.loc[(table[columns.MEASURE] == "cka") & (table[columns.LAYER_B] == study.n_layers)]
    if len(last):
        scores[TO_FULL] = _of_first(selections, last.set_index(columns.LAYER_A)[columns.VALUE].to_dict())
    for kind in EXIT_KINDS:
        by_depth = {
            selection.depth: _exit(study, kind, selection.depth) for selection in selections if _is_prefix(selection)
        }
        scores[kind] = _of_first(selections, by_depth)
    return scores


def _exit(study: Study, kind: str, k: int) -> float:
    """Returns the validation value of an exit, by the decision's metric among the whole catalogue."""
    return valid_value([pd.read_parquet(study.layout.exit_ranks(kind, k))], study.spec.decision)


def _is_prefix(selection: LayerSelection) -> bool:
    """Tells whether a selection keeps the first layers, however it is written: an exit reads exactly these."""
    return selection.layers == tuple(range(selection.depth))


def _of_first(selections: Sequence[LayerSelection], by_depth: Mapping[int, float]) -> np.ndarray:
    return np.array([by_depth[selection.depth] if _is_prefix(selection) else np.nan for selection in selections])
