"""Measures that fit one state onto another: Procrustes by a rotation, SVCCA and PWCCA by any linear map.

Take states [rows, dim], hand on one value per pair of states. None of them is debiased: independent Gaussian states of
the same dim, far below the rows, read about `8 / (3 pi) sqrt(dim / rows)` = .85 sqrt(dim / rows). So compare values
with the permutation null, and use many more rows than dims.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from layerprobe.errors import InputError
from layerprobe.similarity.centring import centred_states
from layerprobe.similarity.pairing import FIRST_WITH_SECOND, score_pairs
from layerprobe.similarity.states import Pairs, PairScores, States

MIN_ROWS = 4
"""The CCA family also needs more rows than the largest dim."""

SVCCA_VARIANCE = 0.99
"""Share of the variance that SVCCA keeps of each state."""

# Singular values below this share of the largest are rounding error of the float64 SVD.
_RANK = 1e-12


def procrustes(x: torch.Tensor, y: torch.Tensor) -> float:
    """Returns how much of y a rotation of x explains, in [0, 1].

    1: equal up to rotation, reflection, shift and scale. The squared distance after the best rotation of the states at
    norm 1 is `2 - 2 x` this value, the angle its arccos. Directions of large variance decide it.

    `|X'Y|_* / (|X|_F |Y|_F)` with columns centred; `|.|_*` is the nuclear norm, the sum of singular values.

    Source: Schoenemann 1966 (Psychometrika 31) for the rotation; Williams et al. 2021, arXiv 2110.14739, for the shape
    metrics. We give the similarity, not the distance.

    Args:
        x: state [rows, dim_x], at least 4 rows.
        y: another state with the same rows, [rows, dim_y].

    Raises:
        InputError: fewer than 4 rows, different rows, values that are not finite, or a constant state.

    >>> x = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> round(procrustes(x, x.flip(1) + 5), 12)  # columns swapped
    1.0
    >>> y = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> round(procrustes(x, y), 4)  # X'Y = diag(6, 2): (6 + 2) / sqrt(20 x 4)
    0.8944
    """
    return float(procrustes_pairs([x, y], FIRST_WITH_SECOND).estimates[0])


def procrustes_pairs(hidden: States, pairs: Pairs | None = None) -> PairScores:
    """Returns the Procrustes similarity of the pairs of states with the influence of each row.

    Row i's part is the estimate plus its influence: with norms 1 and `X'Y = U S V'` it is
    `s + n x_i' U V' y_i - s n (|x_i|^2 + |y_i|^2) / 2`; the last term corrects for both norms. The parts' mean is the
    estimate.

    Args:
        hidden: states [S, rows, dim] or a sequence of matrices with the same rows. Where dim > rows they are first
            rotated into their rows' span, which changes no value.
        pairs: the pairs to score; None for all pairs a <= b.

    Raises:
        InputError: as for `procrustes`; or pairs of states that do not exist.
    """
    states = centred_states(hidden, MIN_ROWS, "Procrustes")
    return score_pairs([_in_row_span(state) / state.norm() for state in states], pairs, _procrustes)


def svcca(x: torch.Tensor, y: torch.Tensor) -> float:
    """Returns the mean canonical correlation of the leading directions of x and y, in [0, 1].

    1: the smaller of the two leading subspaces lies in the other. Each state is cut to the fewest singular directions
    with 99 % of its variance; within them large and small directions count equally, and any linear map of them changes
    nothing. So a state of one dominant direction is compared by that direction only.

    Source: Raghu et al. 2017, arXiv 1706.05806, section 2.

    Args:
        x: state [rows, dim_x], more rows than dim_x and at least 4.
        y: another state with the same rows, [rows, dim_y], more rows than dim_y.

    Raises:
        InputError: rows <= dim, fewer than 4 rows, different rows, values that are not finite, or a constant state.

    >>> x = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> round(svcca(x, x @ torch.tensor([[1.0, 2.0], [0.0, 3.0]])), 12)  # an invertible map
    1.0
    >>> y = torch.tensor([[1.0], [-1.0], [0.0], [0.0]])
    >>> round(svcca(y, torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])), 4)  # one column each: |2 / sqrt(2 x 4)|
    0.7071
    """
    return float(svcca_pairs([x, y], FIRST_WITH_SECOND).estimates[0])


def svcca_pairs(hidden: States, pairs: Pairs | None = None) -> PairScores:
    """Returns the SVCCA of the pairs of states with the influence of each row.

    Row i's part is the mean over k of `rho_k + u_ik v_ik - rho_k (u_ik^2 + v_ik^2) / 2`, with u, v the canonical
    variates at variance 1; the directions kept are held fixed. The parts' mean is the estimate.

    Args:
        hidden: states [S, rows, dim] or a sequence of matrices with the same rows.
        pairs: the pairs to score; None for all pairs a <= b.

    Raises:
        InputError: as for `svcca`; or pairs of states that do not exist.
    """
    return score_pairs(_all_bases(hidden, "SVCCA", SVCCA_VARIANCE), pairs, partial(_cca, _equal_weights))


def pwcca(x: torch.Tensor, y: torch.Tensor) -> float:
    """Returns the mean canonical correlation of x and y, weighted by how much of x each variate carries, in [0, 1].

    1: all of x lies in the span of y, or the reverse. It is not symmetric: the **first** state gives the weights. Any
    invertible linear map of y changes nothing; of x, only shift, scale and the order of columns change nothing.
    Directions of rounding noise in y count in full, so states of low rank should hold exact zeros there, or take SVCCA.

    `sum_k a_k rho_k / sum_k a_k`, `a_k = sum_j |<u_k, x_j>|` with u_k the variate of x and x_j its centred columns.

    Source: Morcos et al. 2018, arXiv 1806.05759, section 2.1 (equation for the projection weights). Where the code
    beside the paper takes the weights from the state of lower rank, we always take the first, as the formula does;
    nothing is added to the covariances' diagonals. Variates of equal rho are unique up to a rotation only, and so then
    are their weights.

    Args:
        x: state that gives the weights, [rows, dim_x], more rows than dim_x and at least 4.
        y: another state with the same rows, [rows, dim_y], more rows than dim_y.

    Raises:
        InputError: rows <= dim, fewer than 4 rows, different rows, values that are not finite, or a constant state.

    >>> x = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> y = x @ torch.tensor([[1.0, 2.0], [0.0, 3.0]])
    >>> round(pwcca(x, y), 12)  # an invertible map
    1.0
    """
    return float(pwcca_pairs([x, y], FIRST_WITH_SECOND).estimates[0])


def pwcca_pairs(hidden: States, pairs: Pairs | None = None) -> PairScores:
    """Returns the PWCCA of the pairs of states, the first of each giving the weights, with the influence of each row.

    In the default pairs a <= b the weights are the lower layer's; ask for (b, a) to get the other direction. Row i's
    part is that of `svcca_pairs` with the weighted mean over k; the weights are held fixed. The parts' mean is the
    estimate.

    Args:
        hidden: states [S, rows, dim] or a sequence of matrices with the same rows.
        pairs: the pairs to score; None for all pairs a <= b.

    Raises:
        InputError: as for `pwcca`; or pairs of states that do not exist.
    """
    return score_pairs(_all_bases(hidden, "PWCCA"), pairs, partial(_cca, _projection_weights))


def _in_row_span(state: torch.Tensor) -> torch.Tensor:
    if state.shape[1] <= len(state):
        return state
    return torch.linalg.qr(state.T, mode="r").R.T  # [rows, rows]: the same inner products of rows in fewer columns


def _procrustes(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    n = len(x)
    left, values, right = torch.linalg.svd(x.T @ y, full_matrices=False)  # of a matrix [dim_x, dim_y]
    # Singular vectors of rounding error point anywhere; as parts of a row they would be noise.
    is_real = values > _RANK * values[0]
    value = values.sum()
    shares = ((x @ left[:, is_real]) * (y @ right[is_real].T)).sum(dim=1)  # x_i' U V' y_i, [rows]
    lengths = (x.square().sum(dim=1) + y.square().sum(dim=1)) / 2
    return value.clamp_max(1), value + n * (shares - value * lengths)


@dataclass(frozen=True, eq=False)
class _Basis:
    """A state as orthonormal directions over the rows.

    Attributes:
        directions: orthonormal columns, [rows, rank].
        columns: the state's columns in them, [rank, dim].
    """

    directions: torch.Tensor
    columns: torch.Tensor


def _all_bases(hidden: States, measure: str, variance: float | None = None) -> list[_Basis]:
    states = centred_states(hidden, MIN_ROWS, measure)
    for index, state in enumerate(states):
        n, dim = state.shape
        if n <= dim:
            raise InputError(
                f"{measure} needs more rows than dims, or every correlation is 1; state {index} has {n} rows of dim "
                f"{dim}: read more than {dim} users, several times as many for values that mean something"
            )
    return [_basis(state, variance) for state in states]


def _basis(state: torch.Tensor, variance: float | None) -> _Basis:
    """The fewest singular directions with that share of the variance, or all; never those of rounding error."""
    left, values, right = torch.linalg.svd(state, full_matrices=False)  # [rows, dim], [dim], [dim, dim]
    kept = int((values > _RANK * values[0]).sum())
    if variance is not None:
        shares = values.square().cumsum(dim=0) / values.square().sum()
        kept = min(kept, int((shares < variance).sum()) + 1)
    return _Basis(left[:, :kept], values[:kept, None] * right[:kept])


def _equal_weights(turn: torch.Tensor, _: _Basis) -> torch.Tensor:
    return torch.ones_like(turn[0])


def _projection_weights(turn: torch.Tensor, first: _Basis) -> torch.Tensor:
    return (turn.T @ first.columns).abs().sum(dim=1)


def _cca(
    weights_of: Callable[[torch.Tensor, _Basis], torch.Tensor], x: _Basis, y: _Basis
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean canonical correlation; `weights_of` takes the turn [rank, k] from x's directions to its variates."""
    # Between orthonormal bases the singular values are the canonical correlations: no covariance is inverted.
    turn_x, rho, turn_y = torch.linalg.svd(x.directions.T @ y.directions, full_matrices=False)
    rho = rho.clamp_max(1)  # [k], k the lower of the two ranks
    weights = weights_of(turn_x, x)
    weights = weights / weights.sum()
    scale = len(x.directions) ** 0.5  # to variance 1: the directions have norm 1 over the rows
    u, v = x.directions @ (scale * turn_x), y.directions @ (scale * turn_y.T)
    influence = u * v - rho * (u.square() + v.square()) / 2  # [rows, k]
    value = weights @ rho
    return value, value + influence @ weights
