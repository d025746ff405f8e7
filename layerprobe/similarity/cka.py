"""Linear CKA between states: are rows as similar to each other in one state as in the other?

Takes states [rows, dim], hands on one value per pair of states. The debiased estimator is the default: the biased one
reads .98 on independent data of 64 rows and 4096 columns. One pass serves all pairs, in one of two exact forms:

- `feature`: cross-products [dim, dim] of features plus what the unbiased estimator's diagonal needs (`features`).
- `gram`: products of Gram matrices [rows, rows], a slice of their rows at a time (`gram`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from layerprobe.errors import InputError
from layerprobe.similarity.features import feature_rows, feature_sums
from layerprobe.similarity.frames import centred
from layerprobe.similarity.gram import gram_rows, gram_totals, linear_kernel
from layerprobe.similarity.hsic import (
    MIN_ROWS,
    PairPlan,
    RowSums,
    Sums,
    biased_cka,
    biased_scores,
    debiased_cka,
    debiased_scores,
    linear_rows,
    linear_sums,
    pair_plan,
    square,
)
from layerprobe.similarity.states import Pairs, PairScores, States, checked_states

Form = Literal["auto", "feature", "gram"]

_SMALL_PRODUCTS = 2.5
"""An operation in products of [states, entries] takes this many times as long as one in products of states, measured
for 17 states on one thread: the former wait for memory."""


def linear_cka(x: torch.Tensor, y: torch.Tensor, form: Form = "auto") -> float:
    """Returns the debiased linear CKA of two states, in [-1, 1].

    1: equal up to rotation, shift and scale. Independent data scatter around 0, so small negative values are right.
    A high value does not mean that the layers between can go: a few outlier rows move it at will (Davari et al. 2022,
    arXiv 2210.16156).

    `CKA = HSIC(K, Q) / sqrt(HSIC(K, K) HSIC(Q, Q))` with K = X X', Q = Y Y' (columns centred) and the unbiased
    `HSIC(K, Q) = (tr KQ + 1'K1 1'Q1 / ((n-1)(n-2)) - 2 / (n-2) 1'KQ1) / (n (n-3))` after K and Q lose their diagonals.

    Source: Song et al. 2012 (JMLR 13), equation 5, for HSIC; Kornblith et al. 2019, arXiv 1905.00414, for CKA.

    Args:
        x: state [rows, dim_x], at least 4 rows.
        y: another state with the same rows, [rows, dim_y].
        form: how to compute it; both forms give the same value.

    Raises:
        InputError: fewer than 4 rows, different rows, values that are not finite, or a state without spread.

    >>> x = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    >>> round(linear_cka(x, 5 - 2 * x), 12)  # shifted, flipped and scaled
    1.0
    >>> y = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    >>> round(linear_cka(x, y), 12)  # (-4 + 16/6 - 4) / (12 + 16/6 - 4): uncorrelated, 4 rows
    -0.5
    """
    return float(cka_matrix([x, y], form)[0, 1])


def linear_cka_biased(x: torch.Tensor, y: torch.Tensor) -> float:
    """Returns the biased linear CKA, `|Y'X|^2 / (|X'X| |Y'Y|)` (Frobenius, columns centred), in [0, 1].

    For comparison with published maps only: independent Gaussian data with n rows give about dim / (n + dim), not 0.

    Source: Kornblith et al. 2019, arXiv 1905.00414, equation 2.

    Args:
        x: state [rows, dim_x], at least 2 rows.
        y: another state with the same rows, [rows, dim_y].

    Raises:
        InputError: fewer than 2 rows, different rows, values that are not finite, or a constant state.

    >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> round(linear_cka_biased(x, x[:, :1]), 4)  # X'X = diag(2, 2), Y'Y = 2, Y'X = (2, 0): 4 / (sqrt(8) 2)
    0.7071
    """
    plan = pair_plan(2)
    return float(biased_cka(plan, _sums(checked_states([x, y], 2), plan, "auto"))[1])


def cka_matrix(hidden: States, form: Form = "auto") -> np.ndarray:
    """Returns the debiased linear CKA of all pairs of S states in one pass: float64 [S, S], symmetric, diagonal 1.

    Args:
        hidden: states [S, rows, dim] or a sequence of matrices with the same rows. The feature form makes no float64
            copy of them; for states that do not fit in memory at all, see `cka_sums.CKASums`.
        form: `feature`, `gram`, or `auto`, the one with fewer operations.

    Raises:
        InputError: as for `linear_cka`, naming the state.
    """
    states = checked_states(hidden, MIN_ROWS)
    plan = pair_plan(len(states))
    return square(debiased_cka(plan, _sums(states, plan, form)))


def cka_pairs(hidden: States, pairs: Pairs | None = None, form: Form = "auto") -> PairScores:
    """Returns the debiased linear CKA of pairs of states with its exact jackknife pseudo-values.

    Row i's part in the score is `n CKA - (n-1) CKA without row i`: every term is recomputed without the row, centring
    included, in closed form. Their variance over n is the jackknife variance of CKA. For independent states that
    variance is about twice too large, since the estimator is degenerate there: intervals are rather too wide.

    Why not a bootstrap of the rows: a row drawn twice is its own perfect neighbour, so every resample of a U-statistic
    is biased upwards; with 64 rows of 4096 columns it reads .98 where the truth is 0.

    Args:
        hidden: states [S, rows, dim] or a sequence of matrices with the same rows, at least 5 of them.
        pairs: indices a and b of the pairs to compare, any number of any states; all pairs a <= b if not given.
        form: as for `cka_matrix`.

    Raises:
        InputError: as for `linear_cka`; fewer than 5 rows; a state whose spread rests on two rows; or pairs that name
            no state.
    """
    states = checked_states(hidden, MIN_ROWS + 1)
    plan = pair_plan(len(states), pairs)
    return debiased_scores(plan, _row_sums(states, plan, form))


def cka_biased_pairs(hidden: States, pairs: Pairs | None = None, form: Form = "auto") -> PairScores:
    """Returns the biased linear CKA (`linear_cka_biased`) of pairs of states with its exact jackknife pseudo-values.

    Their intervals are about the biased value and, like it, lie above the truth: with few rows for the number of
    columns they can exclude 0 for independent states.

    Args:
        hidden: states [S, rows, dim] or a sequence of matrices with the same rows, at least 3 of them.
        pairs: as for `cka_pairs`.
        form: as for `cka_matrix`.

    Raises:
        InputError: as for `linear_cka_biased`; fewer than 3 rows; a state whose spread rests on one row; or pairs that
            name no state.
    """
    states = checked_states(hidden, 3)
    plan = pair_plan(len(states), pairs)
    return biased_scores(plan, _row_sums(states, plan, form))


def _sums(states: Sequence[torch.Tensor], plan: PairPlan, form: Form) -> Sums:
    if _uses_features(states, plan, form, passes=1):
        return feature_sums(states, plan)
    spreads = centred(states)  # S matrices [rows, dim]
    n_rows, device = len(spreads[0]), spreads[0].device
    norms = _squared_norms(spreads)  # [S, rows]
    total = gram_totals([linear_kernel(spread) for spread in spreads], n_rows, device)
    inner = norms @ norms.T  # [S, S], like `total`: all pairs in one product, then those of the plan
    pairs = plan.first, plan.second
    return linear_sums(plan, n_rows, total[pairs], norms.sum(dim=1), inner[pairs])


def _row_sums(states: Sequence[torch.Tensor], plan: PairPlan, form: Form) -> RowSums:
    if _uses_features(states, plan, form, passes=2):
        return feature_rows(states, plan)
    spreads = centred(states)
    norms = _squared_norms(spreads)  # [S, rows]
    # The rows of centred linear kernels sum to minus the diagonal, so the sums with row sums need no second pass.
    products, _ = gram_rows([linear_kernel(spread) for spread in spreads], len(spreads[0]), spreads[0].device)
    # X (X' n) and not (X X') n: no matrix [rows, rows].
    mixed = torch.stack([spread @ (spread.T @ norms.T) for spread in spreads])  # [S, rows, S]
    mixed = mixed[plan.first, :, plan.second] + mixed[plan.second, :, plan.first]  # [computed, rows]
    inner = norms[plan.first] * norms[plan.second]  # [computed, rows]
    return linear_rows(plan, products[:, plan.first, plan.second].T + inner, norms, mixed)


def _squared_norms(spreads: Sequence[torch.Tensor]) -> torch.Tensor:
    """The Gram diagonals, [states, rows]."""
    return torch.stack([spread.square().sum(dim=1) for spread in spreads])


def _uses_features(states: Sequence[torch.Tensor], plan: PairPlan, form: Form, passes: int) -> bool:
    """Whether the feature form is named or costs less; `passes`: 1 for totals, 2 for rows."""
    if form not in ("auto", "feature", "gram"):
        raise InputError(f"form must be auto, feature or gram; got {form!r}")
    if form != "auto":
        return form == "feature"
    # Multiplications: half of rows^2 x dim for each state's Gram matrix, half of rows^2 for each ordered pair of
    # states; against rows x dim_a x dim_b for each planned pair. Row parts double both, but not the Gram matrices.
    n_rows, dims = len(states[0]), [state.shape[1] for state in states]
    gram = n_rows * (sum(dims) + passes * _SMALL_PRODUCTS * len(dims) ** 2) / 2
    return passes * sum(dims[a] * dims[b] for a, b in plan) < gram
