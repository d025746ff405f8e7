"""Parameters of a checkpoint, part by part, and those a selection of its layers keeps: from config and names alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from layerprobe.backbone.architecture import architecture_of, final_norm_of, layers_of, unread_parts
from layerprobe.backbone.build import model_without_weights
from layerprobe.backbone.checkpoint import INDEX, SINGLE, Checkpoint, check_weights
from layerprobe.backbone.foreign import other_weights
from layerprobe.backbone.options import BackboneOptions
from layerprobe.backbone.read import check_layers
from layerprobe.backbone.selection import LayerSelection, parse_selection

TRAINED_BYTES = 16
"""Bytes of a trained float32 parameter: weight, gradient and the two moments of AdamW."""


@dataclass(frozen=True)
class Weights:
    """Numbers of parameters of a backbone without its head.

    Attributes:
        family: `config.model_type`.
        causal: whether a position sees earlier ones only.
        n_layers, width, max_positions: its shape.
        parts: parameters by part; they add up to `total`.
        per_layer: parameters of each layer.
        frozen: parameters that are never trained: token embeddings and what no readout reads.
    """

    family: str
    causal: bool
    n_layers: int
    width: int
    max_positions: int
    parts: dict[str, int]
    per_layer: tuple[int, ...]
    frozen: int

    @property
    def total(self) -> int:
        """Parameters at full depth."""
        return sum(self.parts.values())

    def kept(self, selection: LayerSelection) -> int:
        """Returns the parameters that remain under a selection."""
        return self.total - sum(self.per_layer) + sum(self.per_layer[layer] for layer in selection.layers)

    def training_bytes(self, selection: LayerSelection) -> int:
        """Returns the memory of full fine-tuning in float32 under a selection, in bytes, without activations."""
        return TRAINED_BYTES * (self.kept(selection) - self.frozen) + 4 * self.frozen


def weigh_checkpoint(where: str, revision: str | None = None) -> Weights:
    """Counts the parameters of a checkpoint; reads its config and, where it has weights, their names and shapes.

    Raises:
        InputError: there is no readable config at `where`, or it disagrees with the weights.
        UnsupportedArchitecture: its family is not in the table.
    """
    checkpoint = Checkpoint(where, revision)
    config = checkpoint.config()
    if not checkpoint.is_local:
        check_weights(checkpoint, config)
    elif other_weights(checkpoint) and not any(checkpoint.find(name) is not None for name in (SINGLE, INDEX)):
        check_weights(checkpoint, config)  # refuses: there are weights, but none that could be read
    elif any(checkpoint.find(name) is not None for name in (SINGLE, INDEX)):
        everything = parse_selection(f"first:{config.num_hidden_layers}", config.num_hidden_layers)
        check_layers(checkpoint, config, BackboneOptions(), everything)
    with torch.device("meta"):
        return weigh(model_without_weights(config, BackboneOptions()))


def weigh(model: PreTrainedModel) -> Weights:
    """Counts the parameters of a model."""
    architecture, layers = architecture_of(model), layers_of(model)
    by_role = {role: _in_roles(layers, names) for role, names in architecture.lora_targets.items()}
    inside = sum(map(_size, layers))
    tokens = _size(model.get_input_embeddings())
    unread = sum(map(_size, unread_parts(model)))
    parts = {
        "token embeddings": tokens,
        "learned positions": _size(model.get_submodule(architecture.positions)),
        "attention of the layers": by_role["attention"],
        "MLPs of the layers": by_role["mlp"],
        "rest of the layers (norms)": inside - sum(by_role.values()),
        "final norm": _size(final_norm_of(model)),
        "not read (kept for loaders)": unread,
    }
    parts["other inputs"] = _size(model) - sum(parts.values())  # what no part names, so that the sum is right
    return Weights(
        family=architecture.model_type,
        causal=architecture.causal,
        n_layers=len(layers),
        width=model.config.hidden_size,
        max_positions=model.config.max_position_embeddings,
        parts=parts,
        per_layer=tuple(map(_size, layers)),
        frozen=tokens + unread,
    )


def _size(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


def _in_roles(layers: nn.ModuleList, names: tuple[str, ...]) -> int:
    return sum(_size(layer.get_submodule(name)) for layer in layers for name in names)
