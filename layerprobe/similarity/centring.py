"""States without their mean row, for the measures that do not see a shift or the scale."""

from __future__ import annotations

import torch

from layerprobe.errors import InputError
from layerprobe.similarity.states import States, as_states

# Spread this small against the size of the values it was computed from is rounding error.
_ROUNDING = 1e-12


def centred_states(hidden: States, min_rows: int, measure: str) -> list[torch.Tensor]:
    """Returns the states with column means 0 and entries of at most about 1, float64 [rows, dim].

    Constant columns become exactly 0, so they add no direction to a state.

    Args:
        hidden: states [S, rows, dim] or a sequence of matrices with the same rows.
        min_rows: the fewest rows the measure is defined on.
        measure: its name, for the message.

    Raises:
        InputError: as for `as_states`, or a state whose rows are all equal.
    """
    return [_centred(index, state, measure) for index, state in enumerate(as_states(hidden, min_rows))]


def _centred(index: int, state: torch.Tensor, measure: str) -> torch.Tensor:
    # Dividing by the largest entry first keeps squares of tiny or huge values from under- or overflowing.
    scaled = state / state.abs().max().clamp_min(torch.finfo(torch.float64).tiny)
    spread = scaled - scaled.mean(dim=0)
    spread = torch.where(spread.norm(dim=0) <= _ROUNDING * scaled.norm(dim=0), 0.0, spread)
    if not spread.any():
        raise InputError(
            f"{measure} needs states that differ between rows; state {index} is constant over its {len(state)} rows: "
            "read it at a position where the users differ, not after a prompt's fixed end"
        )
    return spread
