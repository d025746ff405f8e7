"""RSA: do rows that are far apart in one state lie far apart in the other?

Takes states [rows, dim], hands on one value per pair of states. The ranks of the distances are kept as one rows x rows
matrix per state, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from layerprobe.errors import InputError
from layerprobe.similarity.centring import centred_states
from layerprobe.similarity.pairing import FIRST_WITH_SECOND, score_pairs
from layerprobe.similarity.states import Pairs, PairScores, States

MIN_ROWS = 4
"""Six distances, and three without one row."""

# Squared distances closer than this, against the squared lengths of their rows, are equal up to rounding.
_ROUNDING = 1e-12


def rsa(x: torch.Tensor, y: torch.Tensor) -> float:
    """Returns the Spearman correlation of the distances between rows in x and in y, in [-1, 1].

    1: the distances have the same order, as after a rotation, shift and scaling of all rows, or any change that keeps
    their order. Independent states scatter around 0. All pairs of rows count equally, so it says more about far rows
    than about neighbours; an outlier row changes its own rows - 1 distances and no others.

    Source: Kriegeskorte et al. 2008, Frontiers in Systems Neuroscience 2:4. The distance is free there (theirs is 1 -
    Pearson correlation); ours is the Euclidean distance, so that shift and rotation change nothing. Distances whose
    squares differ by less than 1e-12 of the rows' squared lengths (around the median row) share their mean rank.

    Args:
        x: state [rows, dim_x], at least 4 rows.
        y: another state with the same rows, [rows, dim_y].

    Raises:
        InputError: fewer than 4 rows, different rows, values that are not finite, a constant state, or rows that are
            all equally far apart, with all of them or after one is left out.

    >>> x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])  # distances 1 3 7 2 6 4, ranks 1 3 6 2 5 4
    >>> round(rsa(x, 5 - 2 * x), 12)
    1.0
    >>> y = torch.tensor([[0.0], [3.0], [1.0], [7.0]])  # distances 3 1 7 2 4 6, ranks 3 1 6 2 4 5
    >>> round(rsa(x, y), 4)  # 1 - 6 (4 + 4 + 0 + 0 + 1 + 1) / (6 (36 - 1))
    0.7143
    """
    return float(rsa_pairs([x, y], FIRST_WITH_SECOND).estimates[0])


def rsa_pairs(hidden: States, pairs: Pairs | None = None) -> PairScores:
    """Returns the RSA of the pairs of states with jackknife pseudo-values for fixed ranks.

    Row i's part is `n RSA - (n-1) (RSA without row i)`: the Pearson correlation of the ranks is recomputed without the
    row's distances, exactly, from row sums; the ranks of the other distances are held fixed. The standard error was
    measured .9 to 1.0 of the true one.

    Args:
        hidden: states [S, rows, dim] or a sequence of matrices with the same rows.
        pairs: the pairs to score; None for all pairs a <= b.

    Raises:
        InputError: as for `rsa`; or pairs of states that do not exist.
    """
    states = centred_states(hidden, MIN_ROWS, "RSA")
    return score_pairs([_standard_ranks(index, state) for index, state in enumerate(states)], pairs, _correlation)


@dataclass(frozen=True, eq=False)
class _Ranks:
    """The ranks of a state's distances, shifted and scaled to sum 0 and square sum 1 above the diagonal.

    Attributes:
        matrix: symmetric, diagonal 0, [rows, rows].
        sums: its row sums, [rows].
        without: the square sum around the mean of the ranks without each row's, [rows].
    """

    matrix: torch.Tensor
    sums: torch.Tensor
    without: torch.Tensor


def _standard_ranks(index: int, state: torch.Tensor) -> _Ranks:
    n = len(state)
    first, second = torch.triu_indices(n, n, offset=1, device=state.device)
    # Squared distances have the same ranks as distances.
    ranks = _mean_ranks(*_squared_distances(state, first, second))  # [rows (rows - 1) / 2]
    ranks -= ranks.mean()
    if float(ranks.abs().max()) < 0.25:  # ranks that differ are at least 1 apart, so one is 1/2 from the mean
        raise InputError(f"RSA needs distances that differ; the {n} rows of state {index} are all equally far apart")
    matrix = state.new_zeros(n, n)  # [rows, rows], so that a row's distances are one row of it
    matrix[first, second] = ranks / ranks.norm()
    matrix += matrix.T.clone()
    sums = matrix.sum(dim=1)
    without = _without_each(matrix.square().sum(dim=1), sums, sums)
    if float(without.min()) <= _ROUNDING:
        raise InputError(
            f"RSA needs distances that differ whichever row is left out; in state {index} all of {n} rows but one are "
            "equally far apart: read more users, or leave the outlier row out of all states"
        )
    return _Ranks(matrix, sums, without)


def _squared_distances(
    state: torch.Tensor, first: torch.Tensor, second: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The squared distances of the pairs of rows and the size of the numbers they were computed from."""
    # Around the median row: an outlier moves the mean, and every row would get its rounding error.
    state = state - state.median(dim=0).values
    squares = state.square().sum(dim=1)  # [rows]
    sizes = squares[first] + squares[second]
    return sizes - 2 * (state @ state.T)[first, second], sizes


def _mean_ranks(values: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """Ranks from 0; values that follow each other closer than rounding share the mean of theirs."""
    ordered, order = values.sort()
    sizes = sizes[order]
    apart = ordered.diff() > _ROUNDING * torch.maximum(sizes[1:], sizes[:-1])
    group = torch.cat([apart.new_zeros(1), apart]).cumsum(dim=0)  # number of the run of ties each value is in
    counts = group.bincount()
    means = counts.cumsum(dim=0) - (counts + 1) / 2  # a run's ranks end at cumsum - 1; this is their mean
    ranks = torch.empty_like(values)
    ranks[order] = means[group].to(values.dtype)
    return ranks


def _without_each(products: torch.Tensor, sums_a: torch.Tensor, sums_b: torch.Tensor) -> torch.Tensor:
    """The sum of products around the means after each row's distances are left out, [rows]."""
    n = len(products)
    n_left = (n - 1) * (n - 2) / 2
    # All ranks sum to 0, so without row i the sums are minus its own, and the product of the means needs no other pass.
    return products.sum() / 2 - products - sums_a * sums_b / n_left


def _correlation(a: _Ranks, b: _Ranks) -> tuple[torch.Tensor, torch.Tensor]:
    n = len(a.sums)
    products = torch.einsum("ij,ij->i", a.matrix, b.matrix)  # [rows], without a product matrix in memory
    value = products.sum() / 2  # both triangles hold each distance
    without = _without_each(products, a.sums, b.sums) / (a.without * b.without).sqrt()
    return value.clamp(-1, 1), n * value - (n - 1) * without
