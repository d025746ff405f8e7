"""CKA of pairs of states, with and without each row, from a few sums over their kernel matrices.

Takes the sums that the Gram form, the feature form or a kernel computed; hands on scores. Everything here is in closed
form and costs very little: K and Q are the kernel matrices [rows, rows] of two states, their diagonals set to 0, and
no K is ever needed as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from layerprobe.errors import InputError
from layerprobe.similarity.states import Pairs, PairScores, checked_pairs, layer_pairs

MIN_ROWS = 4
"""The unbiased estimator divides by rows - 3."""

_ROUNDING = 1e-12
"""A self-HSIC this small relative to the entries it was computed from is rounding error."""


@dataclass(frozen=True, eq=False)
class PairPlan:
    """What to compute for the requested pairs: each unordered pair once, and every state with itself.

    Attributes:
        first: index a of each pair to compute, a <= b, shape (computed,).
        second: its index b.
        own: where in that order each state's pair with itself lies, shape (states,).
        asked: where each requested pair lies, shape (pairs,).
    """

    first: torch.Tensor
    second: torch.Tensor
    own: torch.Tensor
    asked: torch.Tensor

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yields the pairs to compute as (a, b)."""
        return zip(self.first.tolist(), self.second.tolist(), strict=True)

    def __len__(self) -> int:
        """Returns the number of pairs to compute."""
        return len(self.first)


def pair_plan(n_states: int, pairs: Pairs | None = None) -> PairPlan:
    """Returns the plan for `pairs` of `n_states` states; without `pairs`, for all pairs a <= b.

    Raises:
        InputError: as for `checked_pairs`.
    """
    first, second = checked_pairs(n_states, pairs)
    every_state = torch.arange(n_states)
    # One number per unordered pair. A state with itself has s * n_states + s: it is the denominator of its CKA.
    code = torch.minimum(first, second) * n_states + torch.maximum(first, second)
    computed, place = torch.cat([every_state * (n_states + 1), code]).unique(return_inverse=True)
    return PairPlan(computed // n_states, computed % n_states, place[:n_states], place[n_states:])


@dataclass(frozen=True, eq=False)
class Sums:
    """What the unbiased HSIC of all planned pairs needs, over all rows.

    Attributes:
        n_rows: rows the sums run over.
        total: tr KQ, shape (computed,).
        row_sums: 1'K1 of each state, shape (states,).
        inner: 1'KQ1, shape (computed,).
        diagonal: sum over rows of the products of the kernels' diagonals, which only the biased HSIC counts,
            shape (computed,).
        scale: mean square of an entry of each state's K, by which rounding error is told from spread, shape (states,).
    """

    n_rows: int
    total: torch.Tensor
    row_sums: torch.Tensor
    inner: torch.Tensor
    diagonal: torch.Tensor
    scale: torch.Tensor


@dataclass(frozen=True, eq=False)
class RowSums:
    """The same row by row.

    Attributes:
        products: sum_j K[i, j] Q[i, j], shape (computed, rows).
        row_sums: K1 of each state, shape (states, rows).
        crossed: sum_j K[i, j] (Q1)[j] + Q[i, j] (K1)[j], shape (computed, rows).
        diagonal: product of the kernels' diagonals, shape (computed, rows).
        scale: as in `Sums`.
    """

    products: torch.Tensor
    row_sums: torch.Tensor
    crossed: torch.Tensor
    diagonal: torch.Tensor
    scale: torch.Tensor

    def over_all(self, plan: PairPlan) -> Sums:
        """Returns the sums over all rows."""
        inner = (self.row_sums @ self.row_sums.T)[plan.first, plan.second]  # [computed]
        total, row_sums, diagonal = (part.sum(dim=1) for part in (self.products, self.row_sums, self.diagonal))
        return Sums(self.row_sums.shape[1], total, row_sums, inner, diagonal, self.scale)


def linear_sums(plan: PairPlan, n_rows: int, total: torch.Tensor, norms: torch.Tensor, inner: torch.Tensor) -> Sums:
    """Returns the sums of linear kernels of centred states.

    Their rows sum to 0 with the diagonal, so without it to minus the diagonal, and no kernel need be centred.

    Args:
        plan: the pairs.
        n_rows: rows of the states.
        total: tr KQ without the diagonals, shape (computed,).
        norms: sum of each state's diagonal, the squared norms of its rows, shape (states,).
        inner: sum over rows of the products of the squared norms, shape (computed,).
    """
    return Sums(n_rows, total, -norms, inner, inner, inner[plan.own] / n_rows**2)


def linear_rows(plan: PairPlan, products: torch.Tensor, norms: torch.Tensor, mixed: torch.Tensor) -> RowSums:
    """Returns the same row by row.

    Args:
        plan: the pairs.
        products: sum_j K[i, j] Q[i, j] over all j, the diagonal included, shape (computed, rows).
        norms: squared norms of the rows, shape (states, rows).
        mixed: sum_j K[i, j] |y_j|^2 + Q[i, j] |x_j|^2 over all j, shape (computed, rows).
    """
    inner = norms[plan.first] * norms[plan.second]
    scale = inner[plan.own].mean(dim=1) / inner.shape[1]
    return RowSums(products - inner, -norms, 2 * inner - mixed, inner, scale)


def debiased_cka(plan: PairPlan, sums: Sums) -> np.ndarray:
    """Returns the CKA of the requested pairs from unbiased HSICs, in [-1, 1], shape (pairs,)."""
    return _requested(plan, _debiased(plan, sums)).numpy()


def biased_cka(plan: PairPlan, sums: Sums) -> np.ndarray:
    """Returns the biased CKA of the requested pairs, in [0, 1]; the kernels must be centred, shape (pairs,)."""
    return _requested(plan, _ratio(plan, sums.total + sums.diagonal)).numpy()


def debiased_scores(plan: PairPlan, rows: RowSums) -> PairScores:
    """Returns the debiased CKA of the requested pairs with its exact jackknife pseudo-values.

    Leaving row i out takes its row and column from K and Q, so every sum loses terms that `rows` holds.
    """
    sums, n = rows.over_all(plan), rows.row_sums.shape[1]
    # Every argument is [computed or states, rows]: column i holds the sums without row i. Row and column i of a
    # symmetric matrix go, hence the factors 2; `inner` also loses row i from the other rows' sums, which is `crossed`.
    hsic = _unbiased_hsic(
        plan,
        n - 1,
        sums.total[:, None] - 2 * rows.products,
        sums.row_sums[:, None] - 2 * rows.row_sums,
        sums.inner[:, None] - rows.row_sums[plan.first] * rows.row_sums[plan.second] - rows.crossed + rows.products,
    )
    _require_spread(hsic[plan.own], rows.scale, n, "after one of them is left out")
    return _pseudo_values(plan, _debiased(plan, sums), _ratio(plan, hsic))


def biased_scores(plan: PairPlan, rows: RowSums) -> PairScores:
    """Returns the biased linear CKA of the requested pairs with its exact jackknife pseudo-values.

    Leaving row i out of centred states turns X'Y into X'Y - n / (n-1) x_i y_i', the new centring included.
    """
    sums, n = rows.over_all(plan), rows.row_sums.shape[1]
    weight = n / (n - 1)
    whole = sums.total + sums.diagonal  # |X'Y|^2, [computed]
    # |X'Y - w x_i y_i'|^2, multiplied out; [computed, rows]
    without = whole[:, None] - 2 * weight * (rows.products + rows.diagonal) + weight**2 * rows.diagonal
    _require_spread(without[plan.own], whole[plan.own], n, "after one of them is left out")
    return _pseudo_values(plan, _ratio(plan, whole), _ratio(plan, without))


def square(values: np.ndarray) -> np.ndarray:
    """Returns the values of all pairs a <= b of S states as a symmetric matrix [S, S]."""
    n_states = round(((8 * len(values) + 1) ** 0.5 - 1) / 2)  # from S (S + 1) / 2 pairs
    first, second = (index.numpy() for index in layer_pairs(n_states))
    matrix = np.empty((n_states, n_states))
    matrix[first, second] = matrix[second, first] = values
    return matrix


def _debiased(plan: PairPlan, sums: Sums) -> torch.Tensor:
    n = sums.n_rows
    hsic = _unbiased_hsic(plan, n, sums.total, sums.row_sums, sums.inner)
    alike = "all rows but one are equal or all are equally far apart"
    _require_spread(hsic[plan.own], sums.scale, n, alike)
    return _ratio(plan, hsic)


def _unbiased_hsic(
    plan: PairPlan, n: int, total: torch.Tensor, row_sums: torch.Tensor, inner: torch.Tensor
) -> torch.Tensor:
    mean_term = row_sums[plan.first] * row_sums[plan.second] / ((n - 1) * (n - 2))
    return (total + mean_term - 2 / (n - 2) * inner) / (n * (n - 3))


def _require_spread(self_hsic: torch.Tensor, size: torch.Tensor, n_rows: int, what: str) -> None:
    lowest = self_hsic.reshape(len(self_hsic), -1).amin(dim=1)  # [states], over the left-out rows where there are any
    flat = (lowest <= _ROUNDING * size).nonzero()[:, 0].tolist()
    if flat:
        raise InputError(
            f"CKA needs a self-HSIC above 0; state {flat[0]} has none over {n_rows} rows, {what}: "
            "read more users, or leave outlier rows out of all states"
        )


def _ratio(plan: PairPlan, hsic: torch.Tensor) -> torch.Tensor:
    self_hsic = hsic[plan.own]
    # Clamped, since rounding can lift equal states above 1.
    return (hsic / (self_hsic[plan.first] * self_hsic[plan.second]).sqrt()).clamp(-1, 1)


def _requested(plan: PairPlan, values: torch.Tensor) -> torch.Tensor:
    """Returns the values of the requested pairs, in their order."""
    return values[plan.asked].cpu()


def _pseudo_values(plan: PairPlan, values: torch.Tensor, without: torch.Tensor) -> PairScores:
    n = without.shape[1]
    pseudo = n * values[:, None] - (n - 1) * without  # [computed, rows]
    return PairScores(_requested(plan, values).numpy(), _requested(plan, pseudo).T.numpy())  # [pairs], [rows, pairs]
