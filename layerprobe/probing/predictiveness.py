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
        per_user: each test user's metric of each variant under each training seed, [seeds, users, selections].
    """

    selections: tuple[LayerSelection, ...]
    per_user: np.ndarray

    def __post_init__(self) -> None:
        shape = self.per_user.shape
        if len(shape) != 3 or shape[2] != len(self.selections):
            raise ValueError(f"expected values [seeds, users, {len(self.selections)} selections]; got shape {shape}")

    @property
    def seeds(self) -> int:
        """Number of trainings of each variant."""
        return len(self.per_user)

    @property
    def n_users(self) -> int:
        """Number of test users."""
        return self.per_user.shape[1]

    @property
    def means(self) -> np.ndarray:
        """Mean over seeds and users, [selections]."""
        return self.per_user.mean(axis=(0, 1))


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
    interval comes from resamples of the test users and, with two seeds or more, of the training seeds (see
    `_resampled`): it covers the noise of the measured curve, but not the choice of selections. With one seed it does
    not cover training. `p_value` covers the choice of selections: it is the share of all orders of the selections that
    correlate at least as well (exact up to 7 selections, sampled above), and it is never small for a few selections.
    Variants that do not differ cannot be ordered, so compare every value with the ceiling, and with `depth`, which
    needs no model at all.

    The ceiling is what a perfect score can be expected to reach: `sqrt(2 r / (1 + r))`, where r is the mean rank
    correlation of the curves of two random halves. `2 r / (1 + r)` is the Spearman-Brown reliability of the whole
    sample; its root is the correlation with a curve without noise. The formula is exact for linear correlations and
    approximate for ranks. A negative r gives `-sqrt(2 |r| / (1 + |r|))`, so that a flat curve has 0 in the mean of many
    studies; there is then nothing to predict.

    With two seeds or more the row is `perfect`: half A holds half of the seeds, on half of the users, half B the other
    seeds on the other users, so what one training has by luck does not count as truth. An odd number of seeds is cut
    into (S - 1) / 2 and (S + 1) / 2: two unequal halves agree less than two of S / 2 each, so the ceiling is a bit
    too low. Noise of single users within single trainings counts double, which also lowers it. With one seed the row
    is `perfect-same-models`: both halves of the users share one training, whose luck counts as truth. It is the
    ceiling for these very models, not for another training.

    Args:
        predictions: per score one value per selection, NaN where the score is not defined.
        curve: the measured metrics.
        n_boot: resamples.
        alpha: share of the resamples outside the interval; for the ceiling, of the halves.
        seed: seed of resamples, halves and shuffles.

    Returns:
        Rows `columns.PREDICTIVENESS` and `columns.PREDICTED`. The correlation is empty where a score has fewer than
        3 selections or the same value for all.
    """
    depths = np.array([selection.depth for selection in curve.selections], dtype=np.float64)
    resampled = _resampled(curve, n_boot, seed)
    worth, points = [], []
    for score, values in {**predictions, columns.DEPTH_SCORE: depths}.items():
        known = np.isfinite(values)
        row = _worth(values[known], curve.means[known], resampled[:, known], alpha, seed)
        worth.append({columns.SCORE: score, **row})
        points.append(_points(score, values, known, curve))
    name = columns.PERFECT_SCORE if curve.seeds > 1 else columns.SAME_MODELS_SCORE
    worth.append({columns.SCORE: name, **_ceiling(curve, alpha, seed)})
    table = pd.DataFrame(worth).assign(**{columns.N_USERS: curve.n_users, columns.SEEDS: curve.seeds})
    return table[list(columns.PREDICTIVENESS)], pd.concat(points, ignore_index=True)


def _resampled(curve: MeasuredCurve, n_boot: int, seed: int) -> np.ndarray:
    """Returns the curve of every resample, [n_boot, selections]: users and, independently of them, seeds are drawn.

    A bootstrap of S seeds has (S - 1) / S of their variance, half of it for two, so deviations are stretched by
    sqrt(S / (S - 1)).
    """
    drawn = bootstrap_weights(curve.n_users, n_boot, seed)
    sums = [np.tensordot(weights, curve.per_user, axes=(1, 1)) for weights in drawn]  # [resamples, seeds, selections]
    by_seed = np.concatenate(sums) / curve.n_users
    n_seeds = curve.seeds
    if n_seeds == 1:
        return by_seed[:, 0]
    generator = np.random.default_rng((seed, n_seeds))  # another stream than that of the users
    shares = generator.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=n_boot) / n_seeds
    stretched = 1 / n_seeds + (shares - 1 / n_seeds) * (n_seeds / (n_seeds - 1)) ** 0.5
    return np.einsum("bs,bsm->bm", stretched, by_seed)


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
    """Returns what a perfect score can be expected to reach, from how well one half repeats the other."""
    n_selections = len(curve.selections)
    if n_selections < LEAST or curve.n_users < 2:
        return _row(np.nan, np.nan, np.nan, np.nan, n_selections)
    agreement = _agreement(curve, seed)
    if np.isnan(agreement).all():
        return _row(np.nan, np.nan, np.nan, np.nan, n_selections)
    low, high = np.nanquantile(agreement, [alpha / 2, 1 - alpha / 2])
    value, low, high = (_reachable(float(halves)) for halves in (np.nanmean(agreement), low, high))
    return _row(value, low, high, np.nan, n_selections)


def _agreement(curve: MeasuredCurve, seed: int) -> np.ndarray:
    """Returns the rank correlation of the curves of two halves, for `HALVES` random cuts of users and of seeds."""
    generator = np.random.default_rng(seed)
    curves = np.empty((2, HALVES, len(curve.selections)))
    for draw in range(HALVES):
        users = _cut(generator.permutation(curve.n_users))
        seeds = _cut(generator.permutation(curve.seeds)) if curve.seeds > 1 else ([0], [0])
        for half in (0, 1):
            curves[half, draw] = curve.per_user[seeds[half]].mean(axis=0)[users[half]].mean(axis=0)
    return spearman(*curves)


def _cut(order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return order[: len(order) // 2], order[len(order) // 2 :]


def _reachable(halves: float) -> float:
    """Returns the root of the Spearman-Brown reliability, with the sign of the halves' agreement."""
    return float(np.copysign((2 * abs(halves) / (1 + abs(halves))) ** 0.5, halves))


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
            columns.MEASURED: curve.means[known],
        }
    )
