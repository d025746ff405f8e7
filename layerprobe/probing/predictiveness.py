"""Does a cheap score predict the curve? Rank correlation of scores of the trained teacher with fine-tuned variants.

Takes each score's value of a selection, and each user's metric of the variant fine-tuned on it; hands on
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
"""With fewer selections a correlation says nothing and is left empty."""
SHUFFLES = 9999
HALVES = 200


@dataclass(frozen=True, eq=False)
class MeasuredCurve:
    """What the scores should predict.

    Attributes:
        selections: those that were fine-tuned, without depth 0, which has no layers to choose.
        per_user: each test user's metric of each variant, averaged over training seeds, [users, selections].
    """

    selections: tuple[LayerSelection, ...]
    per_user: np.ndarray


def layer_predictions(
    importance: pd.DataFrame, blocks: pd.DataFrame, selections: Sequence[LayerSelection]
) -> dict[str, np.ndarray]:
    """Returns the score of each selection by each measure of single layers: minus the sum over the layers left out.

    `angular` has a value for every run of layers, so each run that is left out counts once, not layer by layer.

    Args:
        importance: rows of `importance.csv`.
        blocks: rows of `blocks.csv`.
        selections: of the same backbone.

    Returns:
        Per measure one value per selection; higher is better, and the full model has 0.
    """
    scores: dict[str, np.ndarray] = {}
    for measure, rows in importance.groupby(columns.MEASURE, sort=False):
        values = rows.set_index(columns.LAYER)[columns.VALUE]
        scores[str(measure)] = np.array(
            [-sum(values[layer] for layer in left_out(selection)) for selection in selections]
        )
    distances = blocks.loc[blocks[columns.MEASURE] == columns.ANGULAR].set_index([columns.START, columns.LENGTH])[
        columns.VALUE
    ]
    scores[columns.ANGULAR] = np.array(
        [-sum(distances[run] for run in runs_left_out(selection)) for selection in selections]
    )
    return scores


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

    `correlation` is Spearman's: 1 if the score orders the variants as fine-tuning does, 0 if it is unrelated. Its
    interval comes from resamples of the test users: it covers the noise of the measured curve, but not the choice of
    selections. `p_value` covers that choice: it is the share of all orders of the selections that correlate at least as
    well (exact up to 7 selections, sampled above), and it is never small for a few selections. Variants that do not
    differ cannot be ordered, so compare every value with `perfect`, and with `depth`, which needs no model at all.

    `perfect` is what a perfect score can reach: `sqrt(2 r / (1 + r))`, where r is the mean rank correlation of the
    curves of two random halves of the users. `2 r / (1 + r)` is the Spearman-Brown reliability of the whole sample; its
    root is the correlation with a curve without noise. It is 0 where the halves do not agree at all. The formula is
    exact for linear correlations and approximate for ranks.

    Args:
        predictions: per score one value per selection, NaN where the score is not defined.
        curve: the measured metrics.
        n_boot: resamples of the users.
        alpha: share of the resamples outside the interval.
        seed: seed of resamples, halves and shuffles.

    Returns:
        Rows `columns.PREDICTIVENESS` and `columns.PREDICTED`. The correlation is empty where a score has fewer than
        3 selections or the same value for all.
    """
    depths = np.array([selection.depth for selection in curve.selections], dtype=np.float64)
    sums = [weights @ curve.per_user for weights in bootstrap_weights(len(curve.per_user), n_boot, seed)]
    resampled = np.concatenate(sums) / len(curve.per_user)  # the curve of every resample, [n_boot, selections]
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
    correlation = float(spearman(predicted, measured))
    low, high, p_value = np.nan, np.nan, np.nan
    if np.isfinite(correlation):
        low, high = np.nanquantile(spearman(predicted, resampled), [alpha / 2, 1 - alpha / 2])
        # A resample adds its own noise to the sample's, so a perfect order can lie outside its own resamples.
        low, high = min(low, correlation), max(high, correlation)
        p_value = _chance(predicted, measured, seed)
    return _row(correlation, low, high, p_value, len(predicted))


def _ceiling(curve: MeasuredCurve, alpha: float, seed: int) -> dict[str, float]:
    """Returns what a perfect score can reach, from how well the curve of half the users repeats on the other half."""
    n_users, n_selections = curve.per_user.shape
    if n_selections < LEAST or n_users < 2:
        return _row(np.nan, np.nan, np.nan, np.nan, n_selections)
    generator = np.random.default_rng(seed)
    agreement = np.empty(HALVES)
    for draw in range(HALVES):
        order = generator.permutation(n_users)
        halves = order[: n_users // 2], order[n_users // 2 :]
        agreement[draw] = spearman(*(curve.per_user[half].mean(axis=0) for half in halves))
    if np.isnan(agreement).all():
        return _row(np.nan, np.nan, np.nan, np.nan, n_selections)
    low, high = np.nanquantile(agreement, [alpha / 2, 1 - alpha / 2])
    value, low, high = (_reachable(float(halves)) for halves in (np.nanmean(agreement), low, high))
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
    test = stats.permutation_test(
        (predicted,),
        lambda shuffled, axis: spearman(np.moveaxis(shuffled, axis, -1), measured),
        permutation_type="pairings",
        vectorized=True,
        n_resamples=SHUFFLES,
        alternative="greater",
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)


def _row(correlation: float, low: float, high: float, p_value: float, n_selections: int) -> dict[str, float]:
    return {
        columns.CORRELATION: float(correlation),
        columns.CI_LOW: low,
        columns.CI_HIGH: high,
        columns.P_VALUE: p_value,
        columns.N_SELECTIONS: n_selections,
    }


def _points(score: str, values: np.ndarray, known: np.ndarray, curve: MeasuredCurve) -> pd.DataFrame:
    kept = [selection for selection, is_known in zip(curve.selections, known, strict=True) if is_known]
    return pd.DataFrame(
        {
            columns.SCORE: score,
            columns.SELECTION: [selection.text for selection in kept],
            columns.DEPTH: [selection.depth for selection in kept],
            columns.VALUE: values[known],
            columns.MEASURED: curve.per_user.mean(axis=0)[known],
        }
    )
