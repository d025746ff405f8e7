"""Hidden states by hooks: `hidden[0..L]`, all before the final norm, at chosen positions only.

Hugging Face's own last hidden state is after the final norm while the others are before it, which looks like a jump at
the last layer that is not there. Here `hidden[k]` is the input of layer k and `hidden[L]` the input of the final norm.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

from layerprobe.backbone.architecture import architecture_of, final_norm_of, layers_of


def at_least_float32(values: torch.Tensor) -> torch.Tensor:
    """Returns half-precision values in float32 and others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


class HiddenStates:
    """The states of the last forward pass: `states[k]` is `hidden[k]` at the chosen positions.

    Args:
        n_layers: L.
        row, pos: positions that are kept, [read]; None keeps all of them, padding included, as part of the graph.
    """

    def __init__(self, n_layers: int, row: torch.Tensor | None, pos: torch.Tensor | None) -> None:
        self.row, self.pos = row, pos
        self.states: list[torch.Tensor | None] = [None] * (n_layers + 1)

    def keep(self, k: int, full: torch.Tensor) -> None:
        """Stores `hidden[k]` from the full tensor [batch, pos, dim]."""
        # Only what is read is kept: the states of all positions would take L + 1 times the memory of one layer's.
        self.states[k] = full if self.row is None else full[self.row, self.pos]  # [read, dim]

    def every(self) -> list[torch.Tensor]:
        """Returns `hidden[0..L]` as the pass made them, [read, dim] each, or [batch, pos, dim] where all are kept."""
        return [state for state in self.states if state is not None]

    def stacked(self) -> torch.Tensor:
        """Returns all states, float32 or better, [L + 1, read, dim]."""
        return at_least_float32(torch.stack(self.every()))  # [L + 1, read, dim]


@contextmanager
def captured_hidden(
    model: PreTrainedModel, row: torch.Tensor | None, pos: torch.Tensor | None
) -> Iterator[HiddenStates]:
    """Captures `hidden[0..L]` at (row, pos), or everywhere, of each forward pass inside; then removes its hooks."""
    layers = layers_of(model)
    states = HiddenStates(len(layers), row, pos)
    # The input of layer k, not the output of layer k - 1, since families differ in what a layer returns.
    handles = [layer.register_forward_pre_hook(_keeper(states, k), with_kwargs=True) for k, layer in enumerate(layers)]
    handles.append(_hook_last(model, states, len(layers)))
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()


def _hook_last(model: PreTrainedModel, states: HiddenStates, depth: int) -> torch.utils.hooks.RemovableHandle:
    """Captures `hidden[L]`: what enters the final norm or, where there is none, what the run of layers returns."""
    architecture = architecture_of(model)
    if architecture.final_norm is not None:
        return final_norm_of(model).register_forward_pre_hook(_keeper(states, depth), with_kwargs=True)
    stack = model.get_submodule(architecture.layers.rpartition(".")[0])  # the module that runs the list of layers
    return stack.register_forward_hook(lambda _module, _inputs, output: states.keep(depth, output.last_hidden_state))


def _keeper(states: HiddenStates, k: int) -> Any:
    def keep(_module: torch.nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        # Families pass the state by position or by name.
        states.keep(k, positional[0] if positional else named["hidden_states"])

    return keep
