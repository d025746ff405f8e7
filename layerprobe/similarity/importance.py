"""Importance: how much each layer, and each run of layers, changes the states, with intervals over users.

Takes `hidden` [L + 1, rows, dim], one row per user; hands on `importance.csv` (one row per measure and layer),
`blocks.csv` (one row per run of layers) and the kept layers of the measured selections `bi`, `angular` and `cka`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.similarity.measures import MEASURES
from layerprobe.similarity.orders import Kept, kept_by_order, kept_by_runs, removal_order
from layerprobe.similarity.states import PairScores, States, layer_pairs
from layerprobe.similarity.table import Resampling

LAYER_MEASURES = {
    "block-influence": "cosine",
    "block-influence-centred": "cosine-centred",
    "block-influence-standardised": "cosine-standardised",
    "angular": "angular",
    "cka-drop": "cka",
}
"""Importance of layer i, and the measure of hidden[i] and hidden[i + 1] behind it: its distance from the value of equal
states. 0: the layer changes nothing the measure sees; the lowest are the candidates for removal.

- `block-influence`: 1 - mean cosine (ShortGPT, arXiv 2403.03853, equation 1). It does not see a change of length and is
  misled by a coordinate that is large in every row.
- `block-influence-centred`: the same after each state's mean row is subtracted. What all users share, such as a rogue
  dimension or the offset a normalisation layer removes, no longer hides what a layer does to the differences.
- `block-influence-standardised`: the same with every dimension on one scale, so that no gain of a normalisation layer
  counts.
- `angular`: mean angle / pi (Gromov et al., arXiv 2403.17887).
- `cka-drop`: 1 - debiased linear CKA. It ignores rotation and scale, so a layer that only rotates has importance 0."""
NEEDED = tuple(LAYER_MEASURES.values())
"""Measures whose scores of all pairs the functions below read."""
FORMS = {"bi": "block-influence", "cka": "cka-drop"}


def importance_table(found: dict[str, PairScores], hidden: States, resampling: Resampling) -> pd.DataFrame:
    """Returns every measure of `LAYER_MEASURES`: columns `columns.IMPORTANCE`, one row per layer.

    Args:
        found: `pair_scores` of the states by the measures `NEEDED`.
        hidden: those states, [L + 1, rows, dim]. With L = 0 the table is empty.
        resampling: how the intervals are drawn.
    """
    tables = []
    for name, behind in LAYER_MEASURES.items():
        runs = _runs(behind, found[behind], hidden, resampling)
        adjacent = runs.loc[runs[columns.LENGTH] == 1].rename(columns={columns.START: columns.LAYER})
        tables.append(adjacent.assign(**{columns.MEASURE: name}))
    return pd.concat(tables, ignore_index=True)[list(columns.IMPORTANCE)]


def block_table(found: dict[str, PairScores], hidden: States, resampling: Resampling) -> pd.DataFrame:
    """Returns the mean angle between the state before and after every run of layers: columns `columns.BLOCKS`.

    Source: Gromov et al. 2024, arXiv 2403.17887, figure 4, for all starts and lengths, the first layer included.

    Args:
        found: `pair_scores` of the states by the measures `NEEDED`.
        hidden: those states, [L + 1, rows, dim].
        resampling: how the intervals are drawn.
    """
    return _runs(columns.ANGULAR, found[columns.ANGULAR], hidden, resampling)


def kept_layers(found: dict[str, PairScores], n_states: int) -> dict[str, Kept]:
    """Returns the layers that `bi:k`, `cka:k` and `angular:k` keep at each depth k.

    Raises:
        InputError: an importance is NaN.
    """
    first, second = (index.numpy() for index in layer_pairs(n_states))
    next_to = second == first + 1  # the pairs around a single layer, in the order of the layers
    orders = {form: removal_order(_distances(LAYER_MEASURES[name], found)[next_to]) for form, name in FORMS.items()}
    square = np.zeros((n_states, n_states))
    square[first, second] = _distances(columns.ANGULAR, found)
    return {**{form: kept_by_order(order) for form, order in orders.items()}, columns.ANGULAR: kept_by_runs(square)}


def _distances(measure: str, scores: dict[str, PairScores]) -> np.ndarray:
    return abs(MEASURES[measure].same - scores[measure].estimates)  # also where the measure itself is a distance


def _runs(measure: str, scores: PairScores, hidden: States, resampling: Resampling) -> pd.DataFrame:
    """Returns the distance between the states before and after every run, as rows `columns.BLOCKS`."""
    first, second = (index.numpy() for index in layer_pairs(len(hidden)))
    is_run = second > first
    same = MEASURES[measure].same
    sign = 1.0 if same == 0 else -1.0
    # 1 - score, or the score of a distance. Row parts are centred before they are resampled, so they keep `same`.
    away = PairScores(sign * (scores.estimates - same), sign * scores.row_parts)
    low, high = resampling.bounds(away, 0.0)
    return pd.DataFrame(
        {
            columns.MEASURE: measure,
            columns.START: first[is_run],
            columns.LENGTH: (second - first)[is_run],
            columns.VALUE: away.estimates[is_run],
            columns.CI_LOW: low[is_run],
            columns.CI_HIGH: high[is_run],
            columns.N_ROWS: len(scores.row_parts),
            columns.DIM: hidden[0].shape[1],
        }
    )
