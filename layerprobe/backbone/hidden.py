"""Hidden states by hooks: `hidden[0..L]`, all before the final norm, at chosen positions only.

Hugging Face's own last hidden state is after the final norm while the others are before it, which draws a false jump
at the last layer. Here `hidden[k]` is the input of layer k and `hidden[L]` the input of the final norm.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from layerprobe.backbone.architecture import final_norm_of, layers_of


class HiddenStates:
    """The states of the last forward pass, `states[k]` being `hidden[k]` at the chosen positions, [read, dim]."""

    def __init__(self, n_layers: int, row: torch.Tensor, pos: torch.Tensor) -> None:
        self.row, self.pos = row, pos
        self.states: list[torch.Tensor | None] = [None] * (n_layers + 1)

    def keep(self, k: int, full: torch.Tensor) -> None:
        """Stores `hidden[k]` from the full tensor [batch, pos, dim]."""
        self.states[k] = full[self.row, self.pos]

    def stacked(self) -> torch.Tensor:
        """Returns all states, float32 [L + 1, read, dim]."""
        return torch.stack([state.float() for state in self.states if state is not None])


@contextmanager
def captured_hidden(model: PreTrainedModel, row: torch.Tensor, pos: torch.Tensor) -> Iterator[HiddenStates]:
    """Captures `hidden[0..L]` at (row, pos) of every forward pass inside the block, then removes its hooks."""
    layers = layers_of(model)
    found = HiddenStates(len(layers), row, pos)
    modules: list[nn.Module] = [*layers, final_norm_of(model)]
    handles = [
        module.register_forward_pre_hook(_keeper(found, k), with_kwargs=True) for k, module in enumerate(modules)
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _keeper(found: HiddenStates, k: int) -> Any:
    def keep(_module: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        found.keep(k, positional[0] if positional else named["hidden_states"])

    return keep
