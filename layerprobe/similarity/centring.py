"""States without their mean row, for the measures that ignore a shift and the scale."""

from __future__ import annotations

import torch

from layerprobe.similarity.frames import ROUNDING, Frame, constant_state
from layerprobe.similarity.states import States, checked_states


def centred_states(hidden: States, min_rows: int, measure: str) -> list[torch.Tensor]:
    """Returns the states with column means 0 and entries of at most about 1, float64 [rows, dim].

    Constant columns become exactly 0, so they add no direction to a state.

    Args:
        hidden: states [S, rows, dim] or a sequence of matrices with the same rows.
        min_rows: the fewest rows the measure is defined on.
        measure: its name, for the message.

    Raises:
        InputError: as for `checked_states`, or a state whose rows are all equal.
    """
    return [_centred(index, state, measure) for index, state in enumerate(checked_states(hidden, min_rows))]


def _centred(index: int, state: torch.Tensor, measure: str) -> torch.Tensor:
    frame = Frame.of(state)
    spread = frame(state)  # [rows, dim], column means 0
    squares = spread.square().sum(dim=0)  # [dim]
    # The sum of squares before the mean was taken off: rounding is judged against the numbers that were rounded.
    size = squares + len(spread) * frame.shift.square()
    spread = torch.where(squares <= ROUNDING**2 * size, 0.0, spread)  # constant columns hold rounding error only
    if not spread.any():
        raise constant_state(measure, index, len(spread))
    return spread
