"""Does a cheap score predict the curve? Rank correlation of scores of the untouched teacher with fine-tuned variants.

Takes what each score says of a selection and each user's metric of the variant fine-tuned on it; hands on
`predictiveness.csv` (one row per score) and `predicted.csv` (one row per score and selection).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd
from scipy import stats

from layerprobe import columns
from layerprobe.backbone.selection import LayerSelection
from layerprobe.evaluation.uncertainty import bootstrap_weights

LEAST = 3
"""Fewer selections have no correlation worth a number."""
SHUFFLES = 9999
HALVES = 200


@dataclass(frozen=True, eq=False)
class MeasuredCurve:
    """What the scores are to predict.

    Attributes:
        selections: those that were fine-tuned; depth 0 is none of them, since it has no layers to choose.
        per_user: each test user's metric of each variant, averaged over training seeds, [users, selections].
    """

    selections: tuple[LayerSelection, ...]
    per_user: np.ndarray


def layer_predictions(
    importance: pd.DataFrame, blocks: pd.DataFrame, selections: Sequence[LayerSelection]
) -> dict[str, np.ndarray]:
    """Returns what each measure of single layers says of each selection: minus the sum over the layers left out.

    `angular` has a value for every run of layers, so there each run left out counts once and not layer by layer.

    Args:
        importance: rows of `importance.csv`.
        blocks: rows of `blocks.csv`.
        selections: of the same backbone.

    Returns:
        Per measure one value per selection; higher promises more, and the full model's is 0.
    """
    found: dict[str, np.ndarray] = {}
    for measure, rows in importance.groupby(columns.MEASURE, sort=False):
        values = rows.set_index(columns.LAYER)[columns.VALUE]
        found[str(measure)] = np.array([-sum(values[layer] for layer in left_out(each)) for each in selections])
    distances = blocks.loc[blocks[columns.MEASURE] == columns.ANGULAR].set_index([columns.START, columns.LENGTH])[
        columns.VALUE
    ]
    found[columns.ANGULAR] = np.array([-sum(distances[run] for run in runs_left_out(each)) for each in selections])
    return found


def left_out(selection: LayerSelection) -> list[int]:
    """Returns the layers that a selection drops, ascending."""
    return sorted(set(range(selection.n_layers)) - set(selection.layers))


def runs_left_out(selection: LayerSelection) -> list[tuple[int, int]]:
    """Returns the runs of neighbouring layers that a selection drops, as (start, length).

    >>> runs_left_out(LayerSelection((0, 3), "keep:0,3", 6))
    [(1, 2), (4, 2)]
    """
    pairs = enumerate(left_out(selection))
    groups = [[layer for _, layer in run] for _, run in groupby(pairs, key=lambda pair: pair[1] - pair[0])]
    return [(run[0], len(run)) for run in groups]


def predictiveness(
    predictions: Mapping[str, np.ndarray], curve: MeasuredCurve, n_boot: int = 1000, alpha: float = 0.05, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns how well each score orders the variants, and the points behind it.

    `correlation` is Spearman's: 1 where the score orders the variants as fine-tuning does, 0 where it says nothing.
    The interval holds it over resamples of the test users: it covers the noise of the measured curve and not the choice
    of selections. `p_value` is the share of all orders of the selections that would correlate as well (exact up to
    7 selections, drawn beyond): it covers the choice and is never small for a handful of selections. Variants that do
    not differ cannot be ordered, so read every value beside `perfect`, and beside `depth`, which needs no model at all.

    `perfect` is `sqrt(2 r / (1 + r))` with r the mean rank correlation of the curves of two random halves of the users:
    Spearman and Brown's reliability of the whole sample, and its root, the correlation with a truth without noise. 0
    where the halves do not agree at all. It is exact for linear correlations and close for ranks.

    Args:
        predictions: per score one value per selection, NaN where it says nothing of one.
        curve: what was measured.
        n_boot: resamples of the users.
        alpha: the interval leaves out this share of the resamples.
        seed: seed of resamples, halves and shuffles.

    Returns:
        Rows `columns.PREDICTIVENESS` and `columns.PREDICTED`. The correlation is empty where a score speaks of fewer
        than 3 selections or says the same of all.
    """
    depths = np.array([each.depth for each in curve.selections], dtype=np.float64)
    moved = [weights @ curve.per_user for weights in bootstrap_weights(len(curve.per_user), n_boot, seed)]
    resampled = np.concatenate(moved) / len(curve.per_user)
    worth, points = [], []
    for score, values in {**predictions, columns.DEPTH_SCORE: depths}.items():
        known = np.isfinite(values)
        row = _worth(values[known], curve.per_user.mean(axis=0)[known], resampled[:, known], alpha, seed)
        worth.append({columns.SCORE: score, **row, columns.N_USERS: len(curve.per_user)})
        points.append(_points(score, values, known, curve))
    ceiling = {columns.SCORE: columns.PERFECT_SCORE, **_ceiling(curve, alpha, seed)}
    worth.append({**ceiling, columns.N_USERS: len(curve.per_user)})
    return pd.DataFrame(worth)[list(columns.PREDICTIVENESS)], pd.concat(points, ignore_index=True)


def _worth(
    predicted: np.ndarray, measured: np.ndarray, resampled: np.ndarray, alpha: float, seed: int
) -> dict[str, float]:
    found = float(spearman(predicted, measured))
    low, high, p_value = np.nan, np.nan, np.nan
    if np.isfinite(found):
        around = spearman(predicted, resampled)
        low, high = np.nanquantile(around, [alpha / 2, 1 - alpha / 2])
        # A resample adds its own noise to the sample's, so a perfect order lies outside its own resamples.
        low, high = min(low, found), max(high, found)
        p_value = _chance(predicted, measured, seed)
    return _row(found, low, high, p_value, len(predicted))


def _ceiling(curve: MeasuredCurve, alpha: float, seed: int) -> dict[str, float]:
    """Returns what a perfect score could reach, by how well the curve of half the users repeats on the others."""
    n_users, n_selections = curve.per_user.shape
    if n_selections < LEAST or n_users < 2:
        return _row(np.nan, np.nan, np.nan, np.nan, n_selections)
    generator = np.random.default_rng(seed)
    found = np.empty(HALVES)
    for draw in range(HALVES):
        order = generator.permutation(n_users)
        halves = order[: n_users // 2], order[n_users // 2 :]
        found[draw] = spearman(*(curve.per_user[half].mean(axis=0) for half in halves))
    if np.isnan(found).all():
        return _row(np.nan, np.nan, np.nan, np.nan, n_selections)
    low, high = np.nanquantile(found, [alpha / 2, 1 - alpha / 2])
    value, low, high = (_reachable(float(halves)) for halves in (np.nanmean(found), low, high))
    return _row(value, low, high, np.nan, n_selections)


def _reachable(halves: float) -> float:
    return (2 * halves / (1 + halves)) ** 0.5 if halves > 0 else 0.0


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns Spearman's rank correlation along the last axis, ties by their mean rank.

    Args:
        x: values [..., m].
        y: values [..., m]; leading axes are broadcast against those of `x`.

    Returns:
        Values in [-1, 1]; NaN where m < 3 or one side has a single value.

    >>> float(spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0])))  # 1 - 6 (0 + 1 + 1) / (3 (9 - 1))
    0.5
    """
    if x.shape[-1] < LEAST:
        return np.full(np.broadcast_shapes(x.shape, y.shape)[:-1], np.nan)
    a, b = (stats.rankdata(side, axis=-1) - (side.shape[-1] + 1) / 2 for side in (x, y))
    scale = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    with np.errstate(invalid="ignore"):
        return np.where(scale > 0, (a * b).sum(axis=-1) / scale, np.nan)


def _chance(predicted: np.ndarray, measured: np.ndarray, seed: int) -> float:
    """Returns the share of orders of the selections that correlate at least as well."""
    found = stats.permutation_test(
        (predicted,),
        lambda shuffled, axis: spearman(np.moveaxis(shuffled, axis, -1), measured),
        permutation_type="pairings",
        vectorized=True,
        n_resamples=SHUFFLES,
        alternative="greater",
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def _row(correlation: float, low: float, high: float, p_value: float, n_selections: int) -> dict[str, float]:
    return {
        columns.CORRELATION: float(correlation),
        columns.CI_LOW: low,
        columns.CI_HIGH: high,
        columns.P_VALUE: p_value,
        columns.N_SELECTIONS: n_selections,
    }


def _points(score: str, values: np.ndarray, known: np.ndarray, curve: MeasuredCurve) -> pd.DataFrame:
    kept = [each for each, is_known in zip(curve.selections, known, strict=True) if is_known]
    return pd.DataFrame(
        {
            columns.SCORE: score,
            columns.SELECTION: [each.text for each in kept],
            columns.DEPTH: [each.depth for each in kept],
            columns.VALUE: values[known],
            columns.MEASURED: curve.per_user.mean(axis=0)[known],
        }
    )
