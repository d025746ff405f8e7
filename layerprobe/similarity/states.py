"""What every measure may assume about its input: finite float64 matrices, one per state, with the same rows.

Takes the states a hidden-state pass hands on, `hidden` [L + 1, rows, dim] or a sequence of matrices [rows, dim]; hands
checked matrices to the measures and, from them, one score per pair of states to the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from layerprobe.errors import InputError

States = torch.Tensor | Sequence[torch.Tensor]
Pairs = tuple[torch.Tensor, torch.Tensor]
"""Indices a and b of the pairs of states to compare, int64, each of shape (pairs,)."""


@dataclass(frozen=True, eq=False)
class PairScores:
    """A measure over pairs of states, in the order of the requested pairs; by default `layer_pairs(S)` of S states.

    Attributes:
        estimates: float64, one score per pair, shape (pairs,).
        row_parts: float64, each row's part of the score: their mean over rows is the score, up to a bias of order
            1 / rows, and resampling them resamples it; shape (rows, pairs).
    """

    estimates: np.ndarray
    row_parts: np.ndarray


def layer_pairs(n_states: int) -> Pairs:
    """Returns the indices a and b of all pairs a <= b, each of shape (n_states * (n_states + 1) / 2,)."""
    first, second = torch.triu_indices(n_states, n_states)
    return first, second


def checked_pairs(n_states: int, pairs: Pairs | None = None) -> Pairs:
    """Returns the requested pairs, by default all pairs a <= b, on the CPU.

    Raises:
        InputError: they are not two equally long lists, or one names a state outside 0..n_states - 1.
    """
    first, second = layer_pairs(n_states) if pairs is None else pairs
    if first.ndim != 1 or first.shape != second.shape or not len(first):
        raise InputError(
            "pairs must be two equally long lists of state indices, at least one each; got shapes "
            f"{tuple(first.shape)} and {tuple(second.shape)}"
        )
    first, second = first.cpu().long(), second.cpu().long()
    named = torch.cat([first, second])
    outside = named[(named < 0) | (named >= n_states)]
    if len(outside):
        raise InputError(f"pairs must name states 0 to {n_states - 1}; got state {int(outside[0])}")
    return first, second


def as_states(hidden: States, min_rows: int = 1) -> list[torch.Tensor]:
    """Returns the states as float64 matrices [rows, dim] on their own device; dims may differ between states.

    Casting comes before any product: in bfloat16 the angular distance of neighbouring layers doubles.

    Raises:
        InputError: as for `checked_states`.
    """
    return [as_float64(state) for state in checked_states(hidden, min_rows)]


def checked_states(hidden: States, min_rows: int = 1) -> list[torch.Tensor]:
    """Returns the states as tensors, checked, for measures that cast a slice of rows at a time; arrays are accepted.

    Raises:
        InputError: no state, a state that is not a matrix, different row counts, fewer than `min_rows` rows, no
            columns, or values that are NaN or infinite.
    """
    if not len(hidden):
        raise InputError("similarity needs at least one state [rows, dim]; got none")
    states = [torch.as_tensor(state).detach() for state in hidden]
    if any(state.ndim != 2 or not state.shape[1] for state in states):
        shapes = [tuple(state.shape) for state in states]
        raise InputError(f"each state must be a matrix [rows, dim >= 1]; got {shapes}")
    n_rows = sorted({len(state) for state in states})
    if len(n_rows) > 1:
        raise InputError(f"all states must hold the same rows; got row counts {n_rows}")
    if n_rows[0] < min_rows:
        raise InputError(f"this measure needs at least {min_rows} rows; got {n_rows[0]}: read more users")
    _check_finite(states)
    return states


def as_float64(state: torch.Tensor) -> torch.Tensor:
    """Returns the state, or rows of it, in float64: on its own device, or on the CPU if that has no float64."""
    device = "cpu" if state.device.type == "mps" else state.device  # Apple's GPUs
    return state.detach().to(device, torch.float64)


def _check_finite(states: list[torch.Tensor]) -> None:
    for index, state in enumerate(states):
        n_bad = state.numel() - int(state.isfinite().sum())
        if n_bad:
            raise InputError(
                f"states must be finite; state {index} holds {n_bad} NaN or infinite values of {state.numel()}: "
                "run the backbone in float32 or look for the row that overflows"
            )
