"""The feature form of linear CKA: cross-products of features, added up over slices of rows.

Takes states as they are; hands on the sums that `hsic` turns into CKA. There is no rows x rows matrix and no float64
copy of all states, so all users of a log can be used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from layerprobe.errors import InputError
from layerprobe.similarity.frames import Frame, refuse_constant
from layerprobe.similarity.hsic import PairPlan, RowSums, Sums, linear_rows, linear_sums

_ENTRIES = 2**20
"""Entries of all states together in a slice of rows, 8 MiB in float64: measured, products of longer ones are slower."""


class CrossProducts:
    """Sums over rows of products of columns of two states, for all pairs of a plan.

    Each state gets two more columns: its rows' squared norms and ones. The cross-products of [x, |x|^2, 1] hold all
    that is needed once the mean m is known, since x - m and |x - m|^2 = |x|^2 - 2 m x + |m|^2 are linear in them.
    The frames subtract a mean of some of the rows beforehand, against cancellation.

    Attributes:
        frames: what brings each state near its mean, in the order of the states.
        plan: the pairs.
        n_rows: rows added so far.
    """

    def __init__(self, frames: Sequence[Frame], plan: PairPlan) -> None:
        self.frames, self.plan, self.n_rows = frames, plan, 0
        widths, device = [_width(len(frame.shift)) for frame in frames], frames[0].shift.device
        self._blocks = [torch.zeros(widths[a], widths[b], dtype=torch.float64, device=device) for a, b in plan]

    def add(self, states: Sequence[torch.Tensor]) -> None:
        """Adds rows of the states."""
        for parts in self.slices(states):
            for block, (a, b) in zip(self._blocks, self.plan, strict=True):
                block.addmm_(parts[a].T, parts[b])  # [width_a, width_b], added in place
        self.n_rows += len(states[0])

    def slices(self, states: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
        """Yields a slice of rows at a time: for each state [x, 0.., |x|^2, 1] in its frame, float64."""
        step = max(1, _ENTRIES // sum(state.shape[1] for state in states))  # a slice of all states stays in the cache
        for start in range(0, len(states[0]), step):
            framed = zip(self.frames, states, strict=True)
            yield [_augmented(frame(state[start : start + step])) for frame, state in framed]

    def centred(self) -> Iterator[torch.Tensor]:
        """Yields X'Y about the mean of all rows for each pair of the plan, 0 in the columns added to x and y."""
        for block in self._blocks:
            # The last column and row are sums of x and of y, so this takes off n m_x m_y'.
            yield _features(_features(block - block[:, -1:] * (block[-1:] / self.n_rows)).T).T  # [width_a, width_b]

    def third_moments(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yields the sums of x |y|^2 and of |x|^2 y about the mean of all rows for each pair of the plan."""
        squared, n = self._squared_norms(), self.n_rows
        for block, (a, b) in zip(self._blocks, self.plan, strict=True):
            left, right = block @ squared[b], squared[a] @ block  # [width_a], [width_b]
            yield _features(left - block[:, -1] * (left[-1] / n)), _features(right - block[-1] * (right[-1] / n))

    def sums(self) -> Sums:
        """Returns the sums over all rows about their mean; refuses constant states."""
        squared, self_blocks = self._squared_norms(), self._self_blocks()
        norms = torch.stack([weights @ block[:, -1] for weights, block in zip(squared, self_blocks, strict=True)])
        for index, (frame, block) in enumerate(zip(self.frames, self_blocks, strict=True)):
            dim, shift = len(frame.shift), frame.shift
            # The sum of |x + shift|^2: the size of the values before the frame moved them.
            size = block[-2, -1] + 2 * shift @ block[:dim, -1] + self.n_rows * shift @ shift
            refuse_constant(index, self.n_rows, float(norms[index]), float(size))
            _refuse_overflow(index, block)
        pairs = zip(self._blocks, self.plan, strict=True)
        inner = torch.stack([squared[a] @ block @ squared[b] for block, (a, b) in pairs])  # [computed]
        # tr KQ = |X'Y|^2 over all entries; without the diagonals of K and Q their products `inner` go.
        total = torch.stack([cross.square().sum() for cross in self.centred()]) - inner
        return linear_sums(self.plan, self.n_rows, total, norms, inner)

    def _self_blocks(self) -> list[torch.Tensor]:
        """The cross-products of each state with itself."""
        return [self._blocks[place] for place in self.plan.own.tolist()]

    def _squared_norms(self) -> list[torch.Tensor]:
        """The weights of [x, 0.., |x|^2, 1] in |x - m|^2, for each state: [-2 m, 0.., 1, |m|^2]."""
        means = [_features(block[-1] / self.n_rows) for block in self._self_blocks()]
        ends = [torch.stack([torch.ones_like(mean[0]), mean @ mean]) for mean in means]
        return [torch.cat([-2 * mean[:-2], end]) for mean, end in zip(means, ends, strict=True)]


def feature_sums(states: Sequence[torch.Tensor], plan: PairPlan) -> Sums:
    """Returns the sums over all rows of the states, read a slice at a time."""
    return _cross_products(states, plan).sums()


def feature_rows(states: Sequence[torch.Tensor], plan: PairPlan) -> RowSums:
    """Returns the sums that each row has a part in; the states are read twice, a slice at a time."""
    cross = _cross_products(states, plan)
    cross.sums()  # refuses constant states
    pairs = list(zip(plan, cross.centred(), cross.third_moments(), strict=True))
    products, norms, mixed = [], [], []  # per slice [computed, slice], [states, slice], [computed, slice]
    for parts in cross.slices(states):
        products.append(torch.stack([((parts[a] @ block) * parts[b]).sum(dim=1) for (a, b), block, _ in pairs]))
        mixed.append(torch.stack([parts[a] @ left + parts[b] @ right for (a, b), _, (left, right) in pairs]))
        norms.append(torch.stack([part[:, -2] for part in parts]))
    return linear_rows(plan, *(torch.cat(part, dim=1) for part in (products, norms, mixed)))


def _cross_products(states: Sequence[torch.Tensor], plan: PairPlan) -> CrossProducts:
    cross = CrossProducts([Frame.of(state) for state in states], plan)
    cross.add(states)
    return cross


def _width(dim: int) -> int:
    """Columns of a state with those added: a multiple of 8. Measured: 264 take a third less time than 258 or 256."""
    return -(-(dim + 2) // 8) * 8


def _augmented(rows: torch.Tensor) -> torch.Tensor:
    augmented = rows.new_zeros(len(rows), _width(rows.shape[1]))  # [rows, width]; the padding columns add 0
    augmented[:, : rows.shape[1]] = rows
    augmented[:, -2] = rows.square().sum(dim=1)
    augmented[:, -1] = 1
    return augmented


def _refuse_overflow(index: int, block: torch.Tensor) -> None:
    if not block.isfinite().all():
        raise InputError(
            f"the rows of state {index} are too far apart to add up: some are over 1e70 times as large as those of the "
            "first batch; look for the row that overflows"
        )


def _features(augmented: torch.Tensor) -> torch.Tensor:
    """Sets the last two entries along the first axis, the squared norm and the one, to 0 in place."""
    augmented[-2:] = 0
    return augmented
