"""Collects the cheap scores and the fine-tuned metric of every studied selection; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.backbone.selection import LayerSelection
from layerprobe.kinds import EXITS
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.per_user import PerUser
from layerprobe.probing.predictiveness import MeasuredCurve, layer_predictions, predictiveness
from layerprobe.stages.tables.validation import valid_value
from layerprobe.store.layout import StudyLayout
from layerprobe.store.rank_source import RankSource

CUT = "cut-ndcg"
"""The teacher ranked with the selection's layers alone, nothing retrained."""
TO_FULL = "cka-to-full"


@dataclass(frozen=True, eq=False)
class CheapScores:
    """What is known of the trained teacher without training again.

    Attributes:
        layout: where importance, blocks and similarity lie.
        n_layers: depth of the teacher.
        cuts: the metric of some validation users per set of layers that the teacher was cut to.
        ranks: where the ranks of exits are.
    """

    layout: StudyLayout
    n_layers: int
    cuts: Mapping[tuple[int, ...], np.ndarray]
    ranks: RankSource

    def of(self, selections: Sequence[LayerSelection], options: DecisionOptions) -> dict[str, np.ndarray]:
        """Returns every score of every selection, higher is better.

        A score that is defined for first layers only is NaN for the others; that of an exit is also NaN where its
        validation ranks are not here.
        """
        layout = self.layout
        scores = layer_predictions(pd.read_csv(layout.importance), pd.read_csv(layout.blocks), selections)
        scores[CUT] = np.array([self.cuts[selection.layers].mean() for selection in selections])
        table = pd.read_parquet(layout.similarity_table)
        last = table.loc[(table[columns.MEASURE] == "cka") & (table[columns.LAYER_B] == self.n_layers)]
        if len(last):
            scores[TO_FULL] = _of_first(selections, last.set_index(columns.LAYER_A)[columns.VALUE].to_dict())
        depths = [selection.depth for selection in selections if _is_prefix(selection)]
        for kind in reversed(EXITS):
            scores[kind] = _of_first(selections, {depth: self._exit(kind, depth, options) for depth in depths})
        return scores

    def _exit(self, kind: str, k: int, options: DecisionOptions) -> float:
        """Returns the validation value of an exit, by the decision's metric among the whole catalogue."""
        return valid_value([self.ranks.read(self.layout.exit_ranks(kind, k))], options)


def predictiveness_tables(
    scores: CheapScores,
    variants: Mapping[LayerSelection, Sequence[pd.DataFrame]],
    options: DecisionOptions,
    alpha: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the rows of `predictiveness.csv` and of `predicted.csv`.

    Args:
        scores: of the trained teacher.
        variants: per selection the ranks of its variants, one table per seed.
        options: metric, resamples and their seed.
        alpha: error level of the intervals.
    """
    selections = tuple(selection for selection in variants if selection.depth)
    per_user = [PerUser.read(selection.text, variants[selection], options).metric for selection in selections]
    curve = MeasuredCurve(selections, np.stack(per_user, axis=2))
    return predictiveness(scores.of(selections, options), curve, options.n_boot, alpha, options.seed)


def _is_prefix(selection: LayerSelection) -> bool:
    """Tells whether a selection keeps the first layers, however it is written: an exit reads exactly these."""
    return selection.layers == tuple(range(selection.depth))


def _of_first(selections: Sequence[LayerSelection], by_depth: Mapping[int, float]) -> np.ndarray:
    return np.array([by_depth[selection.depth] if _is_prefix(selection) else np.nan for selection in selections])
