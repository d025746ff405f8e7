"""Shift and scale of states before measures that ignore both: floating point does not ignore them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from layerprobe.errors import InputError
from layerprobe.similarity.states import as_float64

# Spread this small relative to the values it was computed from is rounding error.
ROUNDING = 1e-12
_EXPONENTS = 1000
_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Frame:
    """What one state is scaled and then shifted by.

    Attributes:
        scale: a power of two, so that no digit changes, that brings entries to at most about 1.
        shift: the mean of the scaled columns, shape (dim,).
    """

    scale: float
    shift: torch.Tensor

    @staticmethod
    def of(rows: torch.Tensor) -> Frame:
        """Returns the frame that centres these rows [rows, dim] of one state, read some at a time."""
        largest = max(abs(float(end)) for end in rows.aminmax())
        # A power of two changes the exponent only. Without it squares of huge entries overflow and tiny ones vanish.
        scale = 2.0 ** -min(max(math.frexp(largest)[1], -_EXPONENTS), _EXPONENTS)
        # Some rows at a time, so that no float64 copy of the whole state is made.
        sums = [(as_float64(part) * scale).sum(dim=0) for part in rows.split(_ROWS)]
        return Frame(scale, torch.stack(sums).sum(dim=0) / len(rows))

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Returns the rows in this frame, float64."""
        return (as_float64(rows) * self.scale).sub_(self.shift)


def centred(states: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Returns the states scaled and column-centred, float64; refuses constant ones."""
    frames = [Frame.of(state) for state in states]
    spreads = [frame(state) for frame, state in zip(frames, states, strict=True)]
    for index, (frame, spread) in enumerate(zip(frames, spreads, strict=True)):
        squares = float(spread.square().sum())
        refuse_constant(index, len(spread), squares, squares + len(spread) * float(frame.shift.square().sum()))
    return spreads


def refuse_constant(index: int, n_rows: int, spread: float, size: float) -> None:
    """Refuses state `index` if its squared entries sum to `size` but to next to nothing about the mean, `spread`."""
    if spread <= ROUNDING**2 * size:
        raise constant_state("CKA", index, n_rows)


def constant_state(measure: str, index: int, n_rows: int) -> InputError:
    """Returns the refusal of state `index`, whose rows are all equal."""
    return InputError(
        f"{measure} needs states that differ between rows; state {index} is constant over its {n_rows} rows: read it "
        "at a position where the users differ, not after a prompt's fixed end"
    )
