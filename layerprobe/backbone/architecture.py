"""The architecture table: where layers, final norm, embeddings and per-layer config entries of a family lie.

The rest of the code never asks for a family. An unknown one is an error that prints the module tree, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from layerprobe.errors import UnsupportedArchitecture


@dataclass(frozen=True)
class Architecture:
    """Names inside a Hugging Face backbone of one family.

    Attributes:
        model_type: `config.model_type` of the family.
        layers: attribute path of the module list of layers.
        final_norm: attribute path of the norm after the last layer.
        layer_index: attribute paths, inside a layer, that hold its own index (for the key-value cache).
        per_layer_config: config entries that are lists with one value per layer.
        lora_targets: module names by role (`attention`, `mlp`).
    """

    model_type: str
    layers: str
    final_norm: str
    layer_index: tuple[str, ...]
    per_layer_config: tuple[str, ...]
    lora_targets: dict[str, tuple[str, ...]]


ARCHITECTURES = {
    "llama": Architecture(
        model_type="llama",
        layers="layers",
        final_norm="norm",
        layer_index=("self_attn.layer_idx",),
        per_layer_config=("layer_types",),
        lora_targets={
            "attention": ("q_proj", "k_proj", "v_proj", "o_proj"),
            "mlp": ("gate_proj", "up_proj", "down_proj"),
        },
    ),
}


def architecture_of(model: PreTrainedModel) -> Architecture:
    """Returns the table's entry for a loaded model.

    Raises:
        UnsupportedArchitecture: the family is not in the table; the message holds the top of the module tree.
    """
    return architecture_named(model.config, model)


def architecture_named(config: PretrainedConfig, model: nn.Module | None = None) -> Architecture:
    """Returns the table's entry for a config; `model`, where it exists already, is shown in the error."""
    found = ARCHITECTURES.get(config.model_type)
    if found is None:
        tree = (
            "" if model is None else "; its modules: " + ", ".join(f"{n}: {type(m).__name__}" for n, m in _top(model))
        )
        raise UnsupportedArchitecture(
            f"the backbone's family must be one of {', '.join(ARCHITECTURES)}; got {config.model_type!r}{tree}; "
            "to add it, describe it in layerprobe/backbone/architecture.py"
        )
    return found


def _top(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in model.named_modules() if name and name.count(".") < 2][:20]


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """Returns the model's own list of layers."""
    layers = model.get_submodule(architecture_of(model).layers)
    assert isinstance(layers, nn.ModuleList)
    return layers


def final_norm_of(model: PreTrainedModel) -> nn.Module:
    """Returns the norm after the last layer."""
    return model.get_submodule(architecture_of(model).final_norm)
