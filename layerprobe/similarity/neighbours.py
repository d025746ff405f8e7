"""Measures that ask whether rows keep their neighbours: mutual kNN and CKNNA.

Take states [rows, dim], hand on one value per pair of states. They see local structure only, so a few far outliers,
which can raise CKA to 1, hardly change them. Both define similarity as the cosine of uncentred rows, as their source
does: they ignore rotation and the length of rows, but not a shift.

Neighbours are searched for a slice of rows at a time; what is kept is [rows, k] per state, never a rows x rows matrix.
A row is never its own neighbour. Cosines are compared on a grid of 2^-40, about 1e-12, so that rounding does not
separate rows that tie; among tied rows the one with the lower index counts as nearer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from layerprobe.errors import InputError
from layerprobe.similarity.pairing import FIRST_WITH_SECOND, score_pairs
from layerprobe.similarity.states import Pairs, PairScores, States
from layerprobe.similarity.vectors import unit_states

MIN_ROWS = 4
"""Three other rows, of which at least one is not a neighbour; with `k` neighbours at least k + 2 rows."""

# Exact cosines such as 0, 1/2 and 1 are points of the grid, so rounding never moves them to another cell.
_GRID = 2.0**40
_ENTRIES = 2**24
# A centred cosine this small is rounding error.
_ROUNDING = 1e-12


def mutual_knn(x: torch.Tensor, y: torch.Tensor, k: int = 10) -> float:
    """Returns the mean share of a row's k nearest neighbours that x and y have in common, in [0, 1].

    1: every row has the same k neighbours. Independent states read about k / (rows - 1), not 0: compare values of one k
    and one number of rows only.

    Source: Huh et al. 2024, arXiv 2405.07987, section 3 and appendix A; rows are normalised, neighbours are the rows of
    highest cosine. We define how ties are broken (see the module); in a state with many equal rows this rule decides.

    Args:
        x: state [rows, dim_x].
        y: another state with the same rows, [rows, dim_y].
        k: neighbours per row, from 1 to rows - 2; with rows - 1 every row would be a neighbour and the value always 1.

    Raises:
        InputError: fewer than 4 rows, different rows, values that are not finite, zero vectors, k out of range, or rows
            that are all equally similar.

    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])  # neighbours: 0 and 1, 2 and 3
    >>> mutual_knn(x, x[[0, 1, 3, 2]] * 5, k=1)
    1.0
    >>> mutual_knn(x, x[[0, 2, 1, 3]], k=1)  # neighbours: 0 and 2, 1 and 3
    0.0
    """
    return float(mutual_knn_pairs([x, y], FIRST_WITH_SECOND, k).estimates[0])


def mutual_knn_pairs(hidden: States, pairs: Pairs | None = None, k: int = 10) -> PairScores:
    """Returns the mutual kNN of the pairs of states with its exact jackknife pseudo-values.

    Row i's part is `n m - (n-1) (m without row i)`, where each row that had i as a neighbour takes its next one
    instead, shifted so that the parts' mean is the estimate. Why not the overlap of row i alone: rows share their
    neighbours' noise, and the standard error of plain overlaps was measured .6 to .9 of the true one. The jackknife's
    is 1.0 to 1.5 of it, up to 1.8 on tight clusters larger than k: intervals are rather too wide.

    Args:
        hidden: states [S, rows, dim] or a sequence of matrices with the same rows.
        pairs: the pairs to score; None for all pairs a <= b.
        k: as for `mutual_knn`.

    Raises:
        InputError: as for `mutual_knn`; or pairs of states that do not exist.
    """
    return score_pairs(_all_neighbours(hidden, k), pairs, _mutual_knn)


def cknna(x: torch.Tensor, y: torch.Tensor, k: int = 10) -> float:
    """Returns the debiased linear CKA over mutual nearest neighbours only, in [-1, 1].

    1: equal up to rotation and the length of rows. Independent states read about k / (rows - 1), not 0: rows that are
    neighbours in both by chance are similar in both.

    `CKNNA = A(K, Q) / sqrt(A(K, K) A(Q, Q))`, where `A(K, Q)` sums `K_ij Q_ij` over the rows j that are among the k
    nearest neighbours of i in both states, and K, Q are the U-centred Gram matrices of the normalised rows (Szekely and
    Rizzo 2014). With k = rows - 1 it would be the debiased linear CKA of the normalised rows.

    Source: Huh et al. 2024, arXiv 2405.07987, appendix A. We differ from the code beside the paper: it masks the Gram
    matrix before it centres it, so that the rows left out count as similarity 0 and values may leave [-1, 1], and it
    adds 1e-6 to the denominator. We centre over all rows, as the paper's formula does, and add nothing.

    Args:
        x: state [rows, dim_x].
        y: another state with the same rows, [rows, dim_y].
        k: neighbours per row, from 1 to rows - 2.

    Raises:
        InputError: as for `mutual_knn`, and if one row is part of all pairs of neighbours.

    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])  # neighbours: 0 and 1, 2 and 3
    >>> round(cknna(x, x[[0, 1, 3, 2]] * 5, k=1), 12)
    1.0
    >>> cknna(x, x[[0, 2, 1, 3]], k=1)  # no neighbour in common
    0.0
    """
    return float(cknna_pairs([x, y], FIRST_WITH_SECOND, k).estimates[0])


def cknna_pairs(hidden: States, pairs: Pairs | None = None, k: int = 10) -> PairScores:
    """Returns the CKNNA of the pairs of states with jackknife pseudo-values for fixed neighbours.

    Row i's part is `n CKNNA - (n-1) (CKNNA without the terms of row i)`, as centre and as neighbour; the neighbours and
    the centring of the other rows are held fixed. Each term counts for both of its rows, so that noise in single
    terms counts twice: the standard error was measured 1.1 to 1.5 of the true one, on the wide side.

    Args:
        hidden: states [S, rows, dim] or a sequence of matrices with the same rows.
        pairs: the pairs to score; None for all pairs a <= b.
        k: as for `cknna`.

    Raises:
        InputError: as for `cknna`; or pairs of states that do not exist.
    """
    kept = [_alike(index, near) for index, near in enumerate(_all_neighbours(hidden, k))]
    return score_pairs(kept, pairs, _cknna)


@dataclass(frozen=True, eq=False)
class _Neighbours:
    """The k nearest rows of each row.

    Attributes:
        rows: their indices, rising along each row, int64 [rows, k].
        cosines: the cosines with them, [rows, k].
        next: the index of the (k + 1)-th, [rows].
        sums: the sum of the cosines with all other rows, [rows].
    """

    rows: torch.Tensor
    cosines: torch.Tensor
    next: torch.Tensor
    sums: torch.Tensor


@dataclass(frozen=True, eq=False)
class _Alike:
    """U-centred cosines with the k nearest rows.

    Attributes:
        near: the neighbours.
        centred: the U-centred cosines with them, [rows, k].
        total: the sum of their squares, a scalar.
        without: the same sum without the terms of each row, [rows].
    """

    near: _Neighbours
    centred: torch.Tensor
    total: torch.Tensor
    without: torch.Tensor


def _all_neighbours(hidden: States, k: int) -> list[_Neighbours]:
    units = unit_states(hidden, MIN_ROWS)
    n = len(units[0])
    if not 1 <= k <= n - 2:
        raise InputError(
            f"k must lie between 1 and rows - 2 = {n - 2}, so that one row is not a neighbour; got k {k} for {n} rows: "
            "use fewer neighbours or read more users"
        )
    return [_nearest(index, unit, k) for index, unit in enumerate(units)]


def _nearest(index: int, units: torch.Tensor, k: int) -> _Neighbours:
    n = len(units)
    step = max(1, _ENTRIES // n)
    backwards = torch.arange(n - 1, -1, -1, device=units.device)
    indices, cosines, spread = [], [], 0.0
    for start in range(0, n, step):
        near = units[start : start + step] @ units.T  # [slice, rows]
        farthest = near.amin(dim=1)
        inside = torch.arange(len(near), device=units.device)
        near[inside, start + inside] = -2.0  # below every cosine: a row is never its own neighbour
        spread = max(spread, float((near.amax(dim=1) - farthest).max()))
        # One whole number holds the cosine and, below it, the row's index: no two are equal.
        keys = (near * _GRID).round().long() * n + backwards
        indices.append(keys.topk(k + 1, dim=1).indices)  # [slice, k + 1]; one more, for when a neighbour is left out
        cosines.append(near.gather(1, indices[-1]))
    if spread < 1 / _GRID:
        raise InputError(
            f"neighbours need rows that differ in direction; in state {index} all {n} rows are equally similar: read "
            "the state at a position where the users differ, not after a prompt's fixed end"
        )
    nearest, cosine = torch.cat(indices), torch.cat(cosines)  # [rows, k + 1] each
    rows, order = nearest[:, :k].sort(dim=1)  # sorted by index, so that two states are compared by binary search
    sums = units @ units.sum(dim=0) - units.square().sum(dim=1)
    return _Neighbours(rows, cosine[:, :k].gather(1, order), nearest[:, k], sums)


def _shared(a: _Neighbours, b: _Neighbours) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether each neighbour in a is one in b, and its place in b; both [rows, k]."""
    place = torch.searchsorted(b.rows, a.rows).clamp_max(a.rows.shape[1] - 1)
    return b.rows.gather(1, place) == a.rows, place


def _has(near: _Neighbours, row: torch.Tensor) -> torch.Tensor:
    return (near.rows == row[:, None]).any(dim=1).double()


def _over_columns(near: _Neighbours, values: torch.Tensor) -> torch.Tensor:
    """The sum of the values [rows, k] over the rows that have row i as a neighbour, [rows]."""
    flat = torch.zeros(len(values), dtype=values.dtype, device=values.device)
    return flat.index_add(0, near.rows.flatten(), values.flatten())


def _mutual_knn(a: _Neighbours, b: _Neighbours) -> tuple[torch.Tensor, torch.Tensor]:
    shared = _shared(a, b)[0].double()
    k = shared.shape[1]
    overlap = shared.sum(dim=1) / k  # [rows]
    # A row that loses neighbour i gains `next`, which counts if it is a neighbour, or `next` too, in the other state.
    gain_a, gain_b, gain_both = _has(b, a.next), _has(a, b.next), (a.next == b.next).double()
    change = _over_columns(a, gain_a[:, None] + shared * (gain_both[:, None] - 1))
    change = (change + _over_columns(b, gain_b[:, None].expand_as(shared))) / k
    parts = overlap - change
    return overlap.mean(), parts + (overlap.mean() - parts.mean())


def _alike(index: int, near: _Neighbours) -> _Alike:
    n, k = near.rows.shape
    # U-centring subtracts an offset for either row of a pair, so only row sums are needed, not the whole matrix.
    offsets = near.sums / (n - 2) - near.sums.sum() / (2 * (n - 1) * (n - 2))  # [rows]
    centred = near.cosines - offsets[:, None] - offsets[near.rows]  # [rows, k]
    squares = centred.square()
    without = _without_each(near, squares)
    if float(without.min()) <= _ROUNDING**2 * n * k:
        raise InputError(
            f"CKNNA needs neighbours that do not all go through one row; those of state {index} do, with k {k} and {n} "
            "rows: ask for more neighbours, or leave that row out of all states"
        )
    return _Alike(near, centred, squares.sum(), without)


def _without_each(near: _Neighbours, terms: torch.Tensor) -> torch.Tensor:
    # A row takes part as the centre of its own terms and as a neighbour in those of others; [rows].
    return terms.sum() - terms.sum(dim=1) - _over_columns(near, terms)


def _cknna(a: _Alike, b: _Alike) -> tuple[torch.Tensor, torch.Tensor]:
    n = len(a.centred)
    shared, place = _shared(a.near, b.near)
    terms = a.centred * b.centred.gather(1, place) * shared  # [rows, k], 0 where a neighbour is not shared
    value = terms.sum() / (a.total * b.total).sqrt()
    without = _without_each(a.near, terms) / (a.without * b.without).sqrt()
    return value.clamp(-1, 1), n * value - (n - 1) * without
