"""The prompt's prefix, computed once and used for every user of a batch.

Under causal attention the prefix's states do not depend on what follows, so its keys and values are right for every
user. They are computed once per step with gradients, and once per model without; a repeated prompt gives the same
numbers.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from transformers.cache_utils import DynamicCache, DynamicLayer

from layerprobe.backbone.prompt import PromptTokens

KeysValues = list[tuple[torch.Tensor, torch.Tensor]]
"""Per layer the keys and values of the prefix, each [1, heads, prefix, head dim]."""


def why_repeated(prompt: PromptTokens, causal: bool, checkpointed: bool, sliced: bool) -> str | None:
    """Returns why a prefix must be repeated for every user, in words; None where it can be shared.

    Args:
        prompt: the prompt.
        causal: whether the family's positions see earlier positions only, as its table entry says.
        checkpointed: whether training runs layers again, which keeps no keys and values.
        sliced: whether processes hold slices of the layers, which are gathered for one run per pass.
    """
    if not prompt.shared:
        return "prompt.shared is false"
    if not causal:
        return "in this family the prompt's states depend on the items that follow"
    if sliced:
        return "layers in slices are run once per pass"
    return "gradient checkpointing keeps no keys and values in training" if checkpointed else None


def prefix_states(network: nn.Module, vectors: torch.Tensor) -> KeysValues:
    """Runs the prefix [prefix, width] alone and returns the keys and values that later positions attend to."""
    # Without a config the cache keeps every position; a sliding window is then applied by the mask alone.
    cache = DynamicCache()
    places = torch.arange(len(vectors), device=vectors.device)[None]
    # A batch of one: [1, prefix, width].
    network(inputs_embeds=vectors[None], past_key_values=cache, position_ids=places, use_cache=True)
    return [(layer.keys, layer.values) for layer in cast("list[DynamicLayer]", cache.layers)]  # pyright: ignore[reportReturnType]


class PrefixLayer(DynamicLayer):
    """One layer's prefix for a single forward pass, put before the new keys and values, which are not kept.

    The library's own layer keeps what it returns until the pass ends: the memory of all layers instead of one.
    """

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: object, **_kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns keys and values of prefix and new positions, [users, heads, prefix + new, head dim]."""
        assert self.keys is not None
        assert self.values is not None
        return torch.cat([self.keys, key_states], dim=-2), torch.cat([self.values, value_states], dim=-2)


def cache_for_users(states: KeysValues, n_users: int) -> DynamicCache:
    """Returns a cache in which the prefix stands before each of `n_users` users; nothing is copied yet."""
    cache = DynamicCache()
    cache.layers = []
    for keys, values in states:
        layer = PrefixLayer()
        layer.lazy_initialization(keys, values)
        # Views: gradients of all users add up in the one prefix they share.
        layer.keys = keys.expand(n_users, -1, -1, -1)  # [users, heads, prefix, head dim]
        layer.values = values.expand(n_users, -1, -1, -1)
        cache.layers.append(layer)
    return cache


class PrefixMemory:
    """Remembers the prefix's states while neither the network's parameters nor its layers change."""

    def __init__(self) -> None:
        self._key: object = None
        self._states: KeysValues = []

    def states(self, network: nn.Module, source: torch.Tensor, vectors: torch.Tensor) -> KeysValues:
        """Returns the prefix's states: remembered in evaluation without gradients, computed otherwise.

        Args:
            network: the backbone, possibly wrapped by an adapter.
            source: what `vectors` are looked up from beside the network's own parameters.
            vectors: the prefix, [prefix, width].
        """
        if torch.is_grad_enabled() or network.training:
            return prefix_states(network, vectors)
        device = vectors.device.type
        # A tensor's version rises with every change in place, so no optimiser step and no loading is overlooked.
        key = (
            torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else vectors.dtype,
            *((id(value), value.data_ptr(), value._version) for value in (source, *network.parameters())),
        )
        if key != self._key:
            # Tensors made in inference mode could not be used outside it later, so it is left for this pass.
            with torch.inference_mode(False), torch.no_grad():
                self._states = prefix_states(network, vectors.clone())
            self._key = key
        return self._states
