"""Single-layer removal: what the trained model loses when one layer is skipped and nothing is retrained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers import PreTrainedModel

from layerprobe.backbone.architecture import architecture_of


@contextmanager
def layer_removed(model: PreTrainedModel, layer: int) -> Iterator[None]:
    """Takes layer `layer` (0-based) out of the model inside the block and puts it back afterwards.

    Meant for full forward passes without a key-value cache, so layers are not renumbered.
    """
    parent_path, _, name = architecture_of(model).layers.rpartition(".")
    parent = model.get_submodule(parent_path)
    layers = getattr(parent, name)
    if not 0 <= layer < len(layers):
        raise IndexError(f"layer must lie in [0, {len(layers)}); got {layer}")
    setattr(parent, name, nn.ModuleList(module for index, module in enumerate(layers) if index != layer))
    try:
        yield
    finally:
        setattr(parent, name, layers)
