"""Metrics from ranks: HR@K, NDCG@K and MRR of one held-out target per user.

Takes the table of `evaluation.ranks` (no scores, no GPU, no torch), hands on values per user and tidy tables.
Items that tie with the target could be in any order; every metric is its expectation over all orders of the tie block,
so a constant scorer gets the chance level, not the best or the worst list.

Source: McSherry and Najork, Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied
Scores, ECIR 2008. With one relevant item the ideal DCG is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.arguments import require_columns, require_cutoffs
from layerprobe.errors import InputError

MetricName = Literal["hr", "ndcg", "mrr"]
METRICS: tuple[MetricName, ...] = ("hr", "ndcg", "mrr")
NO_CUTOFF = 0
"""Value of the column `k` for a metric without a cut-off."""


def hit_rate(n_higher: np.ndarray, n_ties: np.ndarray, k: int) -> np.ndarray:
    """Probability that the target is among the first `k`, one value per user, in [0, 1].

    The target takes each of the n_ties + 1 places of its tie block with equal probability, places
    n_higher + 1 .. n_higher + n_ties + 1; the value is the share of them that are at most k.

    Args:
        n_higher: candidates scored higher than the target, shape (users,).
        n_ties: other candidates scored equal, shape (users,).
        k: cut-off, at least 1.

    Returns:
        float64, shape (users,).

    Raises:
        InputError: `k` is below 1.

    Examples:
        Second place; fourth place; tied with two others for places 2 to 4, of which two lie within 3:

        >>> hit_rate(np.array([1, 3, 1]), np.array([0, 0, 2]), k=3).round(4).tolist()
        [1.0, 0.0, 0.6667]
    """
    _check_cutoff(k)
    places = np.asarray(n_ties, dtype=np.float64) + 1  # [users]
    # k - n_higher is the number of places within k: below 0 none of them, above `places` all.
    return np.clip(k - np.asarray(n_higher, dtype=np.float64), 0, places) / places


def ndcg(n_higher: np.ndarray, n_ties: np.ndarray, k: int) -> np.ndarray:
    """Expected normalised discounted cumulative gain at `k`, one value per user, in [0, 1].

    The gain at place r is 1 / log2(1 + r) up to k and 0 beyond; the value is its mean over the target's tie block.

    Args:
        n_higher: candidates scored higher than the target, shape (users,).
        n_ties: other candidates scored equal, shape (users,).
        k: cut-off, at least 1.

    Returns:
        float64, shape (users,).

    Raises:
        InputError: `k` is below 1.

    Examples:
        First place; third place, 1 / log2(4); tied with one other for places 1 and 2, (1 + 1 / log2(3)) / 2:

        >>> ndcg(np.array([0, 2, 0]), np.array([0, 0, 1]), k=10).round(4).tolist()
        [1.0, 0.5, 0.8155]
    """
    _check_cutoff(k)
    gains = 1.0 / np.log2(np.arange(2, k + 2))  # of places 1..k
    return _block_mean(np.concatenate([[0.0], np.cumsum(gains)]), n_higher, n_ties)


def mrr(n_higher: np.ndarray, n_ties: np.ndarray) -> np.ndarray:
    """Expected reciprocal place of the target, one value per user, in (0, 1]; no cut-off.

    Args:
        n_higher: candidates scored higher than the target, shape (users,).
        n_ties: other candidates scored equal, shape (users,).

    Returns:
        float64, shape (users,).

    Examples:
        Second place; tied with one other for places 1 and 2, (1 + 1 / 2) / 2:

        >>> mrr(np.array([1, 0]), np.array([0, 1])).tolist()
        [0.5, 0.75]
    """
    last = int((np.asarray(n_higher) + n_ties).max(initial=0)) + 1  # the lowest place of any target
    return _block_mean(np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, last + 1))]), n_higher, n_ties)


def metric_values(ranks: pd.DataFrame, metric: str, k: int | None) -> np.ndarray:
    """Returns one value per row of a ranks table.

    Args:
        ranks: has the columns `n_higher` and `n_ties`.
        metric: one of `METRICS`.
        k: cut-off of `hr` and `ndcg`; None or 0 for `mrr`.

    Returns:
        float64, shape (rows,).

    Raises:
        InputError: unknown metric, a missing cut-off, or a cut-off for `mrr`.
    """
    n_higher = ranks[columns.N_HIGHER].to_numpy()
    n_ties = ranks[columns.N_TIES].to_numpy()
    if metric == "mrr":
        if k:
            raise InputError(f"mrr has no cut-off; got k = {k}; leave it out")
        return mrr(n_higher, n_ties)
    if metric not in METRICS:
        raise InputError(f"metric must be one of {', '.join(METRICS)}; got {metric!r}")
    if k is None:
        raise InputError(f"{metric} needs a cut-off k >= 1; got none")
    return hit_rate(n_higher, n_ties, k) if metric == "hr" else ndcg(n_higher, n_ties, k)


def user_means(users: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Averages the values of each user's targets: the user is what varies, so intervals resample users, not targets.

    Args:
        users: of each row, any order, shape (rows,).
        values: of each row, float64, shape (rows, ...).

    Returns:
        One row per user; where each has one target, `values` in their own order, else users ascending.

    >>> user_means(np.array([4, 2, 4]), np.array([1.0, 3.0, 2.0])).tolist()
    [3.0, 1.5]
    """
    distinct, n_targets = np.unique(users, return_counts=True)
    if len(distinct) == len(users):
        return values
    starts = np.cumsum(n_targets) - n_targets
    sums = np.add.reduceat(values[np.argsort(users, kind="stable")], starts, axis=0)
    return sums / n_targets.reshape(-1, *[1] * (values.ndim - 1))


def target_key(ranks: pd.DataFrame) -> list[str]:
    """Returns the columns that tell the targets of one split and protocol apart: the user, and where it has been.

    A user may have the same item as a target twice, but never with the same number of items before it.
    """
    return [columns.USER, columns.HISTORY_LENGTH if columns.HISTORY_LENGTH in ranks else columns.TARGET]


def metric_columns(ks: Sequence[int]) -> list[tuple[MetricName, int]]:
    """Returns the (metric, k) pairs that every table shows: hr and ndcg at each cut-off, then mrr with k = 0."""
    return [*((metric, k) for metric in ("hr", "ndcg") for k in ks), ("mrr", NO_CUTOFF)]


def metrics(ranks: pd.DataFrame, ks: Sequence[int] = (1, 5, 10, 20)) -> pd.DataFrame:
    """Returns HR@k, NDCG@k and MRR of one ranks table; `metric_table` with its input checked.

    Args:
        ranks: what `rank` returned, columns `columns.RANKED`.
        ks: cut-offs of HR and NDCG.

    Raises:
        InputError: `ranks` is no such table, or a cut-off is below 1.
    """
    require_columns("ranks", ranks, columns.RANKED)
    return metric_table(ranks, require_cutoffs(ks))


def metric_table(ranks: pd.DataFrame, ks: Sequence[int]) -> pd.DataFrame:
    """Averages every metric over the users, per protocol and split.

    Args:
        ranks: a table with the columns `columns.RANKED`.
        ks: cut-offs, each at least 1.

    Returns:
        Tidy rows (protocol, split, metric, k, value, n_users) in the order in which protocols and splits appear;
        k is 0 for `mrr`.
    """
    rows = []
    for keys, group in ranks.groupby([columns.PROTOCOL, columns.SPLIT], sort=False, observed=True):
        protocol, split = cast("tuple[str, str]", keys)  # pandas types the keys of groups as anything hashable
        for metric, k in metric_columns(ks):
            values = user_means(group[columns.USER].to_numpy(), metric_values(group, metric, k))
            rows.append((protocol, split, metric, k, float(values.mean()), len(values)))
    names = [columns.PROTOCOL, columns.SPLIT, columns.METRIC, columns.K, columns.VALUE, columns.N_USERS]
    return pd.DataFrame(rows, columns=names)


def _block_mean(cumulated: np.ndarray, n_higher: np.ndarray, n_ties: np.ndarray) -> np.ndarray:
    """Mean gain over the places of the tie block; `cumulated[r]` is the sum of the gains of the first r places."""
    first = np.asarray(n_higher, dtype=np.int64)
    end = first + np.asarray(n_ties, dtype=np.int64) + 1
    longest = len(cumulated) - 1
    # Places beyond the last gain add nothing. Differences of sums: no loop over the places of a tie block.
    return (cumulated[np.minimum(end, longest)] - cumulated[np.minimum(first, longest)]) / (end - first)


def _check_cutoff(k: int) -> None:
    if k < 1:
        raise InputError(f"a cut-off k must be at least 1; got {k}")
