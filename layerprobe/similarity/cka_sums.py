"""Linear CKA over more users than fit in memory: one pass over batches of their states.

Takes the states of a batch of users at a time; hands on what `cka.cka_matrix` hands on for all users at once.
"""

from __future__ import annotations

import numpy as np

from layerprobe.errors import InputError
from layerprobe.similarity.features import CrossProducts
from layerprobe.similarity.frames import Frame
from layerprobe.similarity.hsic import MIN_ROWS, debiased_cka, pair_plan, square
from layerprobe.similarity.states import States, checked_states


class CKASums:
    """Debiased linear CKA of all pairs of states over any number of rows, a batch at a time.

    One pass, exact: for any sizes and order of the batches, `matrix()` is that of all rows at once, up to rounding.
    (The mean of CKA over batches is not: it has its own bias and noise.) Memory does not grow with the rows; the
    cross-products take 4 x (sum of dims)^2 bytes.

    >>> import torch
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
            InputError: states of other dims than in earlier batches, no rows, or values that are not finite.
        """
        states = checked_states(hidden, 1)
        if self._cross is None:  # the first batch sets the frames; any frame near the mean is exact
            self._cross = CrossProducts([Frame.of(state) for state in states], pair_plan(len(states)))
        dims, expected = [state.shape[1] for state in states], [len(frame.shift) for frame in self._cross.frames]
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
