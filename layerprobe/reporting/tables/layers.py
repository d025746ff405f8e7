"""Tables behind the figures and sentences on layers: rows picked, and distances turned so that 1 means equal states."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.reporting.words.score_names import DISTANCES

NULL_LOW, NULL_HIGH, NULL_VALUE = "null_low", "null_high", "null_value"
FEWEST_STATES = 4
"""A rank correlation of fewer states than this is not worth a sentence."""
FLAT = 1e-9
_CURVE = [columns.MEASURE, columns.LAYER, columns.VALUE, columns.CI_LOW, columns.CI_HIGH]


def similarity_matrix(similarity: pd.DataFrame, measure: str, rows: str) -> np.ndarray:
    """Returns one measure as a symmetric matrix [L + 1, L + 1]; NaN where no pair is stored."""
    matrix = pair_matrix(similarity.loc[(similarity[columns.MEASURE] == measure) & (similarity[columns.ROWS] == rows)])
    size = max(matrix.shape)  # a table may hold each pair once, so one side of the matrix may be shorter
    square = np.full((size, size), np.nan)
    square[: matrix.shape[0], : matrix.shape[1]] = matrix
    return np.where(np.isnan(square), square.T, square)


def pair_matrix(pairs: pd.DataFrame) -> np.ndarray:
    """Returns rows of one measure as a matrix, `layer_a` down and `layer_b` across; NaN where no pair is stored."""
    first, second = (pairs[name].to_numpy(int) for name in (columns.LAYER_A, columns.LAYER_B))
    matrix = np.full((first.max() + 1, second.max() + 1), np.nan)
    matrix[first, second] = pairs[columns.VALUE]
    return matrix


def to_final(similarity: pd.DataFrame, null: pd.DataFrame | None) -> pd.DataFrame:
    """Picks the similarity of each state to the final state L, and what shuffled rows give.

    Distances become 1 - distance. Where a study compared several sets of rows, only the first is used.

    Returns:
        One row per measure and state: measure, layer (k, the state), value, ci_low, ci_high, null_value, null_low,
        null_high (NaN where the pair was not shuffled).
    """
    last = similarity[[columns.LAYER_A, columns.LAYER_B]].max().max()
    first_rows = similarity.groupby(columns.MEASURE)[columns.ROWS].transform("first")
    pairs = similarity.loc[(similarity[columns.LAYER_B] == last) & (similarity[columns.ROWS] == first_rows)]
    curves = as_similarity(pairs).rename(columns={columns.LAYER_A: columns.LAYER})[_CURVE]
    names = {columns.VALUE: NULL_VALUE, columns.CI_LOW: NULL_LOW, columns.CI_HIGH: NULL_HIGH}
    if null is None:
        return curves.assign(**dict.fromkeys(names.values(), np.nan))
    shuffled = as_similarity(null.loc[null[columns.LAYER_B] == last]).rename(columns={columns.LAYER_A: columns.LAYER})
    return curves.merge(shuffled[_CURVE].rename(columns=names), how="left", on=[columns.MEASURE, columns.LAYER])


def as_similarity(pairs: pd.DataFrame) -> pd.DataFrame:
    """Returns the pairs with every distance as 1 - distance; the bounds of its interval change places."""
    is_distance = pairs[columns.MEASURE].isin(DISTANCES)
    value, low, high = (pairs[name] for name in (columns.VALUE, columns.CI_LOW, columns.CI_HIGH))
    turned = {columns.VALUE: 1 - value, columns.CI_LOW: 1 - high, columns.CI_HIGH: 1 - low}
    return pairs.assign(**{name: pairs[name].mask(is_distance, cells) for name, cells in turned.items()})


def best_starts(blocks: pd.DataFrame) -> pd.DataFrame:
    """Returns, for each length, the run of layers that changes the state least; the last one where two are equal.

    The same rule as that of the selections `angular:k`.

    Args:
        blocks: rows of one distance, columns `columns.BLOCKS`.
    """
    rows = blocks.sort_values([columns.LENGTH, columns.VALUE, columns.START], ascending=[True, True, False])
    return rows.drop_duplicates(columns.LENGTH).reset_index(drop=True)


def agreement(curves: pd.DataFrame) -> pd.DataFrame:
    """Compares how two measures order the states 0..L - 1 by similarity to the final one.

    Args:
        curves: `to_final`.

    Returns:
        One row per pair of measures: first, second, correlation (Spearman), least agreeing pair first. Empty with
        fewer than four states; without measures that are the same for all states.
    """
    wide = curves.pivot_table(index=columns.LAYER, columns=columns.MEASURE, values=columns.VALUE, sort=False)
    wide = wide.sort_index().iloc[:-1]  # [state 0..L - 1, measure]: the final state equals itself by every measure
    names = [name for name in wide.columns if np.ptp(wide[name]) > FLAT]
    if len(wide) < FEWEST_STATES:
        names = []
    ranked = wide.rank()
    rows = [
        (first, second, float(np.corrcoef(ranked[first], ranked[second])[0, 1]))
        for first, second in combinations(names, 2)
    ]
    pairs = pd.DataFrame(rows, columns=["first", "second", columns.CORRELATION])
    return pairs.sort_values(columns.CORRELATION, kind="stable").reset_index(drop=True)
