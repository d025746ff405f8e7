"""CKA with a Gaussian kernel: do near rows stay near? Far rows matter little.

Takes states [rows, dim], hands on one value per pair of states. The kernel matrices are made a slice of rows at a time
by `gram`; only the median distance needs all distances of one state at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from layerprobe.errors import InputError
from layerprobe.similarity.frames import centred
from layerprobe.similarity.gram import Kernel, gram_rows
from layerprobe.similarity.hsic import MIN_ROWS, PairPlan, RowSums, debiased_cka, debiased_scores, pair_plan
from layerprobe.similarity.states import Pairs, PairScores, States, checked_states

# Squared distances this small relative to squared norms are rounding error.
_ROUNDING = 1e-14

FRACTION = 0.8
"""Default bandwidth in median distances, the widest of Kornblith et al., table 2."""


def rbf_cka(x: torch.Tensor, y: torch.Tensor, fraction: float = FRACTION) -> float:
    """Returns the debiased CKA of two states with Gaussian kernels, in [-1, 1].

    1: all distances equal up to one factor. Independent data scatter around 0. Unlike linear CKA it looks at near rows,
    the more so the smaller the bandwidth, and the influence of far outliers is bounded.

    `K[i, j] = exp(-|x_i - x_j|^2 / (2 s^2))` with s = fraction x median of all distances between two rows, each state
    its own s; CKA of K and Q as for `linear_cka`. The median makes it invariant to scale; it is invariant to rotation
    and shift too.

    Source: Kornblith et al. 2019, arXiv 1905.00414, section 3 (kernel and bandwidth) and table 2 (fractions .2, .4
    and .8). We differ in the unbiased HSIC of Song et al. 2012 and so in values below theirs.

    Pitfalls: the value depends on the fraction, so compare values of one fraction only. A large fraction gives linear
    CKA again (Alvarez 2021, arXiv 2112.09305). With a small one each row has only a few neighbours and the value is
    noisy; in many dimensions, where all distances are similar, this starts early. Where half of all distances are 0
    there is no bandwidth. Time is rows^2 x dim for each state: a few thousand users are enough.

    Args:
        x: state [rows, dim_x], at least 4 rows.
        y: another state with the same rows, [rows, dim_y].
        fraction: bandwidth in median distances, above 0.

    Raises:
        InputError: fewer than 4 rows, different rows, values that are not finite, a constant state, a median distance
            of 0, rows that are all equally far apart, or a fraction that is not a number above 0.

    >>> x = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    >>> round(rbf_cka(x, 5 - 2 * x), 12)  # shifted, flipped and scaled
    1.0
    >>> y = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    >>> round(rbf_cka(x, y), 12)  # where distances are 0 or 2, any kernel is a shifted linear one: as `linear_cka`
    -0.5
    """
    plan = pair_plan(2)
    sums = _rows(checked_states([x, y], MIN_ROWS), plan, fraction).over_all(plan)
    return float(debiased_cka(plan, sums)[1])


def rbf_cka_pairs(hidden: States, pairs: Pairs | None = None, fraction: float = FRACTION) -> PairScores:
    """Returns the debiased CKA with Gaussian kernels of pairs of states with its exact jackknife pseudo-values.

    The bandwidths are those of all rows and are held fixed when a row is left out: the influence of one row on the
    median of all distances is not in the intervals.

    Args:
        hidden: states [S, rows, dim] or a sequence of matrices with the same rows, at least 5 of them.
        pairs: indices a and b of the pairs to compare, any number of any states; all pairs a <= b if not given.
        fraction: as for `rbf_cka`.

    Raises:
        InputError: as for `rbf_cka`; fewer than 5 rows; rows equally far apart after one is left out; or pairs that
            name no state.
    """
    states = checked_states(hidden, MIN_ROWS + 1)
    plan = pair_plan(len(states), pairs)
    return debiased_scores(plan, _rows(states, plan, fraction))


def _rows(states: Sequence[torch.Tensor], plan: PairPlan, fraction: float) -> RowSums:
    if not 0 < fraction < float("inf"):
        raise InputError(f"fraction, the bandwidth in median distances, must be a number above 0; got {fraction}")
    gaussians = [_gaussian(index, spread, fraction) for index, spread in enumerate(centred(states))]
    kernels = [kernel for kernel, _ in gaussians]
    row_sums = torch.stack([sums for _, sums in gaussians])  # [S, rows]
    n_rows = row_sums.shape[1]
    products, crossed = gram_rows(kernels, n_rows, row_sums.device, row_sums)
    first, second = plan.first, plan.second
    products = products[:, first, second].T  # from [rows, S, S] to [computed, rows]
    squares = products[plan.own].sum(dim=1)  # [S]
    _refuse_no_neighbours(squares)
    mixed = crossed[first, :, second] + crossed[second, :, first]  # [computed, rows]
    scale = squares / (n_rows * (n_rows - 1))
    # The diagonal of a Gaussian kernel is exp(0) = 1.
    return RowSums(products, row_sums, mixed, torch.ones_like(products), scale)


def _refuse_no_neighbours(squares: torch.Tensor) -> None:
    empty = (squares < torch.finfo(torch.float64).tiny).nonzero()[:, 0].tolist()
    if empty:
        raise InputError(
            f"the bandwidth is too small: no row of state {empty[0]} has a neighbour, all kernel values are 0: "
            "give a larger fraction of the median distance"
        )


def _gaussian(index: int, state: torch.Tensor, fraction: float) -> tuple[Kernel, torch.Tensor]:
    """The kernel of one state, and the sums of its rows without the diagonal."""
    # Distances come from products, so values far from 0 lose digits: the median is near most rows, even where outliers
    # move the mean.
    rows = state - state.median(dim=0).values
    norms = rows.square().sum(dim=1, keepdim=True)  # [rows, 1]
    ones = torch.ones_like(norms)
    left, right = torch.cat([-2 * rows, norms, ones], dim=1), torch.cat([rows, ones, norms], dim=1)
    squares = (left @ right.T).clamp_(min=0).fill_diagonal_(torch.inf)  # |x|^2 + |y|^2 - 2 x y, in one product
    rate = -0.5 / (fraction * _median_distance(index, squares, float(norms.mean()))) ** 2

    def kernel(row_slice: slice, column_slice: slice, out: torch.Tensor) -> None:
        torch.mm(left[row_slice], right[column_slice].T, out=out)
        out.mul_(rate).clamp_(max=0).exp_()  # rounding can make a squared distance slightly negative

    return kernel, squares.mul_(rate).exp_().sum(dim=1)


def _median_distance(index: int, squares: torch.Tensor, size: float) -> float:
    """The median of the distances between two rows; refuses one that is 0 or rounding error relative to `size`."""
    upper = torch.ones_like(squares, dtype=torch.bool).triu_(diagonal=1)
    median = float(np.median(squares[upper].sqrt().cpu().numpy()))  # numpy's: torch takes the lower of two middle ones
    if median**2 <= _ROUNDING * size:
        raise InputError(
            f"a Gaussian kernel needs a median distance above 0; in state {index} half of all pairs of "
            f"{len(squares)} rows are equal: read more users, or one row of each kind"
        )
    return median
