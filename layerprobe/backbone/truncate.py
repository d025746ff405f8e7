"""Layer surgery: keeps a selection of layers and cuts model and config together.

A config that disagrees with its layers reloads with random layers or the old depth, without an error; so one function
changes both, renumbers the layers for the key-value cache and cuts every per-layer list.
"""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from layerprobe.backbone.architecture import Architecture, architecture_of
from layerprobe.backbone.selection import LayerSelection
from layerprobe.errors import InputError, UnsupportedArchitecture


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
        _refuse_unnamed(name, value, architecture, selection.n_layers)
        if (
            isinstance(value, (list, tuple))
            and len(value) == selection.n_layers
            and name in architecture.per_layer_config
        ):
            setattr(config, name, [value[index] for index in selection.layers])
    config.num_hidden_layers = len(selection.layers)


def _refuse_unnamed(name: str, value: object, architecture: Architecture, n_layers: int) -> None:
    """A list with one entry per layer that the table does not name could be anything, so it is an error.

    Lists of one or two entries, such as `architectures` or several end tokens, are too common to tell.
    """
    looks_per_layer = n_layers > 2 and isinstance(value, (list, tuple)) and len(value) == n_layers
    if looks_per_layer and name not in architecture.per_layer_config:
        raise UnsupportedArchitecture(
            f"the config's list {name} has one entry for each of {n_layers} layers, and the table of "
            f"{architecture.model_type} does not name it; add it to per_layer_config if it is cut with the layers"
        )
