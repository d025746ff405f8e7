"""Single-layer removal: what the trained model loses when one layer is skipped and nothing is retrained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel

from layerprobe.backbone.architecture import layers_of
from layerprobe.backbone.selection import LayerSelection
from layerprobe.backbone.truncate import layers_kept


@contextmanager
def layer_removed(model: PreTrainedModel, layer: int) -> Iterator[None]:
    """Takes layer `layer` (0-based) out of the model inside the block and puts it back afterwards.

    Raises:
        IndexError: there is no such layer.
    """
    depth = len(layers_of(model))
    if not 0 <= layer < depth:
        raise IndexError(f"layer must lie in [0, {depth}); got {layer}")
    rest = tuple(index for index in range(depth) if index != layer)
    with layers_kept(model, LayerSelection(rest, f"drop:{layer}", depth)):
        yield
