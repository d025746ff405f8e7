"""The loss of the trained model without a layer: measured by skipping it, or predicted from one backward pass.

Takes a trained recommender; nothing is retrained. Values are per user, so that means have intervals.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from layerprobe.backbone.architecture import layers_of
from layerprobe.backbone.selection import LayerSelection
from layerprobe.backbone.truncate import layers_kept
from layerprobe.data.batches import SequenceBatch
from layerprobe.recommender.losses import next_item_loss
from layerprobe.recommender.model import Recommender


@contextmanager
def only_layers(model: Recommender, kept: tuple[int, ...]) -> Iterator[None]:
    """Runs the model with only these layers inside the block and restores the others afterwards.

    Args:
        model: the model to cut.
        kept: layers, 0-based, strictly ascending.

    Raises:
        InputError: they are not, or there is no such layer.
    """
    text = f"keep:{','.join(map(str, kept))}"
    with layers_kept(model.backbone, LayerSelection(kept, text, len(layers_of(model.backbone)))):
        yield


def predicted_rise(model: Recommender, batch: SequenceBatch) -> np.ndarray:
    """Returns, per user and layer, by how much the loss would rise without the layer, to first order, [users, L].

    `-sum over positions of <dLoss/dhidden[i + 1], hidden[i + 1] - hidden[i]>`: the gradient of the loss at the output
    of layer i, times the step from its output back to its input. In nats of the softmax over all items; below 0 where
    skipping the layer is predicted to help. One backward pass is enough for all layers. No weight gets a gradient, so
    adapters and quantized weights make no difference. A first-order estimate is poor for a layer that changes the state
    much, since the loss is not linear over such a step.

    Source: Molchanov et al. 2017, arXiv 1611.06440, section 2.2, equation 7, for the activations of a whole layer. How
    we differ: they take the absolute value per feature map, we return each user's signed sum. The Taylor score of
    Shortened LLaMA (Kim et al. 2024, arXiv 2402.02834) sums |weight x gradient| over a layer's weights instead, which
    predicts the removal of single weights, not of the layer.

    Args:
        model: a trained recommender in evaluation mode.
        batch: histories that are read once each, at their readout, with known targets.
    """
    with torch.enable_grad(), _with_graph(model):
        vectors, hidden = model.read_with_all_hidden(batch)
        loss = next_item_loss(vectors, model.item_vectors(), batch.targets) * len(batch)
        slopes = torch.autograd.grad(loss, hidden[1:]) if model.n_layers else ()
    rises = [
        (slope.double() * (before.detach().double() - after.detach().double())).sum(dim=(1, 2))
        for slope, before, after in zip(slopes, hidden, hidden[1:], strict=False)
    ]
    return torch.stack(rises, dim=1).cpu().numpy() if rises else np.empty((len(batch), 0))


@contextmanager
def _with_graph(model: Recommender) -> Iterator[None]:
    """Makes gradients with respect to the states of a frozen model possible: the graph starts at the input map."""
    first = model.input_adapter.weight
    before = first.requires_grad
    try:
        first.requires_grad_(True)
        yield
    finally:
        first.requires_grad_(before)
