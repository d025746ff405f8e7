"""Layer surgery: keeps a selection of layers and cuts model and config together.

A config that disagrees with its layers reloads with random layers or the old depth, without an error; so one function
changes both, renumbers the layers for the key-value cache and cuts every per-layer list.
"""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from layerprobe.backbone.architecture import Architecture, architecture_of
from layerprobe.backbone.selection import LayerSelection
from layerprobe.errors import InputError


def truncate(model: PreTrainedModel, selection: LayerSelection) -> PreTrainedModel:
    """Cuts `model` in place to the layers of `selection` and returns it.

    Raises:
        InputError: the selection was made for another number of layers.
        UnsupportedArchitecture: the family is unknown, or its config has a per-layer list the table does not name.
    """
    architecture = architecture_of(model)
    layers = model.get_submodule(architecture.layers)
    assert isinstance(layers, nn.ModuleList)
    if len(layers) != selection.n_layers:
        raise InputError(f"{selection.text} was resolved for {selection.n_layers} layers; the model has {len(layers)}")
    kept = nn.ModuleList(layers[index] for index in selection.layers)
    parent, _, name = architecture.layers.rpartition(".")
    setattr(model.get_submodule(parent), name, kept)
    _renumber(kept, architecture)
    _cut_config(model, architecture, selection)
    return model


def _renumber(layers: nn.ModuleList, architecture: Architecture) -> None:
    for index, layer in enumerate(layers):
        for path in architecture.layer_index:
            parent, _, name = path.rpartition(".")
            setattr(layer.get_submodule(parent), name, index)


def _cut_config(model: PreTrainedModel, architecture: Architecture, selection: LayerSelection) -> None:
    config = model.config
    for name, value in list(vars(config).items()):
        if (
            isinstance(value, (list, tuple))
            and len(value) == selection.n_layers
            and name in architecture.per_layer_config
        ):
            setattr(config, name, [value[index] for index in selection.layers])
    config.num_hidden_layers = len(selection.layers)
