"""`SimilarityTable` and `ImportanceTable`: the tidy tables of a study's `similarity/` folder.

Takes `hidden` [L + 1, rows, dim], one row per user at the readout; hands on one row per measure and pair of states,
and one per measure and layer. The study writes them as `similarity.parquet` and `importance.csv`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.evaluation.uncertainty import mean_intervals
from layerprobe.similarity.cka import cka_pairs
from layerprobe.similarity.states import PairScores, States, layer_pairs
from layerprobe.similarity.vectors import block_influence, cosine_pairs

PAIR_MEASURES: dict[str, Callable[[States], PairScores]] = {"cka": cka_pairs, "cosine": cosine_pairs}
"""Measures of `similarity_table`; all of them lie in [-1, 1]."""

LAYER_MEASURES: dict[str, Callable[[States], np.ndarray]] = {"block-influence": block_influence}
"""Measures of `importance_table`; the least important layer has the lowest value."""


def similarity_table(
    hidden: States, rows_label: str, n_boot: int = 1000, alpha: float = 0.05, seed: int = 0
) -> pd.DataFrame:
    """Returns every pair measure for the full square of states, with percentile intervals over rows.

    All measures and pairs share one set of resamples of the rows. Cosine: the mean of the resampled per-row cosines.
    CKA: the mean of the resampled jackknife pseudo-values around the estimate (see `cka_pairs`), which has the
    jackknife's variance; resampling the rows of a U-statistic itself would be biased upwards. Rows must be
    independent: one per user, since several positions of one user make the intervals too narrow.

    Args:
        hidden: states 0..L, [L + 1, rows, dim], before the final norm; at least 5 rows.
        rows_label: which rows these are, for example `readout`; stored in column `rows`.
        n_boot: resamples, at least 100.
        alpha: 1 - the intervals' nominal coverage, in (0, 1).
        seed: seed of the resamples.

    Returns:
        Columns `columns.SIMILARITY`, one row per (measure, layer_a, layer_b); the values are symmetric in the layers.

    Raises:
        InputError: states a measure refuses (not finite, constant, zero vectors, fewer than 5 rows), alpha or n_boot
            out of range.
    """
    tables = []
    for measure, scores_of in PAIR_MEASURES.items():
        scores = scores_of(hidden)
        low, high = mean_intervals(scores.row_parts - scores.row_parts.mean(axis=0), alpha, n_boot, seed)
        tables.append(_full_square(measure, scores, low, high, len(hidden)))
    table = pd.concat(tables, ignore_index=True)
    facts = {columns.DIM: hidden[0].shape[1], columns.ROWS: rows_label}
    return table.assign(**facts)


def importance_table(hidden: States) -> pd.DataFrame:
    """Returns every layer measure that needs the states alone: columns `columns.IMPORTANCE`, one row per layer.

    Args:
        hidden: states 0..L, [L + 1, rows, dim], before the final norm. With L = 0 the table is empty.

    Raises:
        InputError: states a measure refuses (not finite, zero vectors, no rows).
    """
    tables = []
    for measure, importance_of in LAYER_MEASURES.items():
        values = importance_of(hidden)
        layers = np.arange(len(values))
        tables.append(pd.DataFrame({columns.MEASURE: measure, columns.LAYER: layers, columns.VALUE: values}))
    return pd.concat(tables, ignore_index=True)


def _full_square(measure: str, scores: PairScores, low: np.ndarray, high: np.ndarray, n_states: int) -> pd.DataFrame:
    """One row per (layer_a, layer_b); `low` and `high` are relative to the estimates."""
    first, second = (index.numpy() for index in layer_pairs(n_states))
    pair = np.empty((n_states, n_states), dtype=np.int64)
    pair[first, second] = pair[second, first] = np.arange(len(first))
    pair = pair.ravel()
    layer_a, layer_b = np.indices((n_states, n_states)).reshape(2, -1)
    return pd.DataFrame(
        {
            columns.MEASURE: measure,
            columns.LAYER_A: layer_a,
            columns.LAYER_B: layer_b,
            columns.VALUE: scores.estimates[pair],
            columns.CI_LOW: (scores.estimates + low).clip(-1, 1)[pair],
            columns.CI_HIGH: (scores.estimates + high).clip(-1, 1)[pair],
            columns.N_ROWS: len(scores.row_parts),
        }
    )
