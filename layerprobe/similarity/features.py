"""The feature form of linear CKA: cross-products of features, added up over slices or batches of rows.

Takes states a batch of users at a time; hands on the sums that `hsic` turns into CKA. No rows x rows matrix and no
copy of all states exists, so that it is exact on every user there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from layerprobe.errors import InputError
from layerprobe.similarity.frames import Frame, refuse_constant
from layerprobe.similarity.hsic import (
    MIN_ROWS,
    PairPlan,
    RowSums,
    Sums,
    debiased_cka,
    linear_rows,
    linear_sums,
    pair_plan,
    square,
)
from layerprobe.similarity.states import States, checked_states

_ENTRIES = 2**21
"""Entries of all states together that a slice of rows holds, 16 MiB."""


class CKASums:
    """Debiased linear CKA of all pairs of states over any number of rows, a batch at a time.

    One pass, exact: whatever the sizes and the order of the batches, `matrix()` is that of all rows at once, to
    rounding. (The mean of CKA over batches is not: it has a bias and a noise of its own.) Memory does not grow with
    the rows; the cross-products take 4 x (sum of dims)^2 bytes.

    >>> states = torch.tensor([[[1.0], [-1.0], [1.0], [-1.0]], [[1.0], [1.0], [-1.0], [-1.0]]])
    >>> sums = CKASums()
    >>> sums.add(states[:, :3])
    >>> sums.add(states[:, 3:])
    >>> sums.matrix().round(12).tolist()  # as `linear_cka` on all four rows
    [[1.0, -0.5], [-0.5, 1.0]]
    """

    def __init__(self) -> None:
        self._cross: CrossProducts | None = None

    def add(self, hidden: States) -> None:
        """Adds the states of a batch of rows.

        Args:
            hidden: states [S, rows, dim] or a sequence of matrices with the same rows, at least one; in each batch
                the same number of states with the same dims.

        Raises:
            InputError: states of other dims than those before, no rows, or values that are not finite.
        """
        states = checked_states(hidden, 1)
        if self._cross is None:
            self._cross = CrossProducts([Frame.of(state) for state in states], pair_plan(len(states)))
        dims, expected = ([len(part) for part in parts] for parts in ([s.T for s in states], self._cross.shifts))
        if dims != expected:
            raise InputError(f"each batch must hold the same states: dims {expected} in the first; got {dims}")
        self._cross.add(states)

    def matrix(self) -> np.ndarray:
        """Returns the debiased linear CKA of all pairs over all rows so far: float64 [S, S], symmetric, diagonal 1.

        Raises:
            InputError: fewer than 4 rows so far, or a state without spread.
        """
        n_rows = 0 if self._cross is None else self._cross.n_rows
        if self._cross is None or n_rows < MIN_ROWS:
            raise InputError(f"this measure needs at least {MIN_ROWS} rows; got {n_rows}: read more users")
        return square(debiased_cka(self._cross.plan, self._cross.sums()))


class CrossProducts:
    """Sums over rows of products of columns of two states, for all pairs of a plan.

    Each state gets two columns more: its rows' squared norms and ones. The cross-products of [x, |x|^2, 1] hold all
    that is needed once the mean m is known, since x - m and |x - m|^2 = |x|^2 - 2 m x + |m|^2 are linear in them.
    The frames take off a mean of some of the rows beforehand, against cancellation.
    """

    def __init__(self, frames: Sequence[Frame], plan: PairPlan) -> None:
        self.frames, self.plan, self.n_rows = frames, plan, 0
        self.shifts = [frame.shift for frame in frames]
        self._blocks = [
            torch.zeros(
                len(self.shifts[a]) + 2, len(self.shifts[b]) + 2, dtype=torch.float64, device=self.shifts[a].device
            )
            for a, b in plan
        ]

    def add(self, states: Sequence[torch.Tensor]) -> None:
        """Adds rows of the states."""
        for rows in _row_slices(states):
            parts = [_augmented(frame(state[rows])) for frame, state in zip(self.frames, states, strict=True)]
            for block, (a, b) in zip(self._blocks, self.plan, strict=True):
                block.addmm_(parts[a].T, parts[b])
        self.n_rows += len(states[0])

    def centred(self) -> list[torch.Tensor]:
        """Returns X'Y of each pair of the plan about the mean of all rows, [dim_a, dim_b]."""
        return [block[:-2, :-2] - block[:-2, -1:] * (block[-1:, :-2] / self.n_rows) for block in self._blocks]

    def third_moments(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Returns the sums of x |y|^2 and of |x|^2 y of each pair of the plan about the mean of all rows."""
        squared, n = self._squared_norms(), self.n_rows
        moments = []
        for block, (a, b) in zip(self._blocks, self.plan, strict=True):
            left, right = block @ squared[b], squared[a] @ block
            moments.append((left[:-2] - block[:-2, -1] * (left[-1] / n), right[:-2] - block[-1, :-2] * (right[-1] / n)))
        return moments

    def sums(self) -> Sums:
        """Returns the sums over all rows about their mean; refuses constant states."""
        squared = self._squared_norms()
        norms = torch.stack([weights @ block[:, -1] for weights, block in zip(squared, self._own(), strict=True)])
        for index, (block, norm) in enumerate(zip(self._own(), norms.tolist(), strict=True)):
            shift = self.shifts[index]
            size = block[-2, -1] + 2 * shift @ block[:-2, -1] + self.n_rows * shift @ shift
            refuse_constant(index, self.n_rows, norm, float(size))
        pairs = zip(self._blocks, self.plan, strict=True)
        inner = torch.stack([squared[a] @ block @ squared[b] for block, (a, b) in pairs])
        total = torch.stack([cross.square().sum() for cross in self.centred()]) - inner
        return linear_sums(self.plan, self.n_rows, total, norms, inner)

    def _own(self) -> list[torch.Tensor]:
        return [self._blocks[place] for place in self.plan.own.tolist()]

    def _squared_norms(self) -> list[torch.Tensor]:
        """The weights of [x, |x|^2, 1] in |x - m|^2, for each state."""
        means = [block[-1, :-2] / self.n_rows for block in self._own()]
        return [torch.cat([-2 * mean, torch.ones_like(mean[:1]), (mean @ mean)[None]]) for mean in means]


def feature_sums(states: Sequence[torch.Tensor], plan: PairPlan) -> Sums:
    """Returns the sums over all rows of the states, read a slice at a time."""
    return _cross_products(states, plan).sums()


def feature_rows(states: Sequence[torch.Tensor], plan: PairPlan) -> RowSums:
    """Returns the sums that each row has a part in; the states are read twice, a slice at a time."""
    cross = _cross_products(states, plan)
    cross.sums()  # refuses constant states
    centred, moments = cross.centred(), cross.third_moments()
    products, norms, crossed = [], [], []
    for rows in _row_slices(states):
        parts = [frame(state[rows]) for frame, state in zip(cross.frames, states, strict=True)]
        pairs = list(zip(plan, centred, moments, strict=True))
        products.append(torch.stack([((parts[a] @ block) * parts[b]).sum(dim=1) for (a, b), block, _ in pairs]))
        crossed.append(torch.stack([parts[a] @ left + parts[b] @ right for (a, b), _, (left, right) in pairs]))
        norms.append(torch.stack([part.square().sum(dim=1) for part in parts]))
    products, norms, crossed = (torch.cat(part, dim=1) for part in (products, norms, crossed))
    return linear_rows(plan, products, norms, crossed)


def _cross_products(states: Sequence[torch.Tensor], plan: PairPlan) -> CrossProducts:
    cross = CrossProducts([Frame.of(state) for state in states], plan)
    cross.add(states)
    return cross


def _row_slices(states: Sequence[torch.Tensor]) -> Iterator[slice]:
    n_rows, width = len(states[0]), sum(state.shape[1] for state in states)
    step = max(1, _ENTRIES // width)
    return (slice(start, start + step) for start in range(0, n_rows, step))


def _augmented(rows: torch.Tensor) -> torch.Tensor:
    squared = rows.square().sum(dim=1, keepdim=True)
    return torch.cat([rows, squared, torch.ones_like(squared)], dim=1)
