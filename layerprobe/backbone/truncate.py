"""Layer surgery: keeps a selection of layers and cuts model and config together.

A config that disagrees with its layers reloads with random layers or the old depth, without an error. So one function
changes both, renumbers the layers for the key-value cache and cuts every per-layer list.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from layerprobe.arguments import require_kind
from layerprobe.backbone.architecture import Architecture, architecture_named, architecture_of, layers_of
from layerprobe.backbone.selection import LayerSelection, parse_selection
from layerprobe.errors import InputError, UnsupportedArchitecture

DEPTH = "num_hidden_layers"


def truncate(model: PreTrainedModel, selection: str | LayerSelection) -> PreTrainedModel:
    """Cuts `model` in place to the layers of `selection` and returns it; what it computes survives saving.

    Args:
        model: a transformers model of a supported family.
        selection: of its layers, or its text, such as `first:4`.

    Raises:
        InputError: the selection was made for another number of layers.
        UnsupportedArchitecture: the family is unknown, its config has a per-layer list the table does not name, or its
            arithmetic ties a layer to its index.
    """
    require_kind("model", model, PreTrainedModel, instead="of a Recommender, take its .backbone")
    require_kind("selection", selection, str, LayerSelection)
    if isinstance(selection, str):
        selection = parse_selection(selection, len(layers_of(model)))
    _refuse_moved_layers(model.config, selection, architecture_of(model))
    return _cut(model, selection)


def _cut(model: PreTrainedModel, selection: LayerSelection) -> PreTrainedModel:
    layers = layers_of(model)
    if len(layers) != selection.n_layers:
        raise InputError(f"{selection.text} was resolved for {selection.n_layers} layers; the model has {len(layers)}")
    _cut_lists(model.config, selection)
    _set_layers(model, nn.ModuleList(layers[index] for index in selection.layers))
    return model


@contextmanager
def layers_kept(model: PreTrainedModel, selection: LayerSelection) -> Iterator[PreTrainedModel]:
    """Cuts the model inside the block and restores layers, numbers and config afterwards, whatever happens there.

    In memory a layer computes the same wherever it moves, so layers that a saved model could not move may move here.
    """
    layers, config = layers_of(model), model.config
    names = (DEPTH, *architecture_of(model).per_layer_config)
    before = {name: getattr(config, name) for name in names if hasattr(config, name)}  # not every config has each list
    try:
        yield _cut(model, selection)
    finally:
        for name, value in before.items():
            setattr(config, name, value)
        _set_layers(model, layers)


def cut_config(config: PretrainedConfig, selection: LayerSelection) -> None:
    """Cuts depth and per-layer lists of `config` in place.

    Raises:
        UnsupportedArchitecture: as for `truncate`; the config is unchanged then.
    """
    _refuse_moved_layers(config, selection, architecture_named(config))
    _cut_lists(config, selection)


def _cut_lists(config: PretrainedConfig, selection: LayerSelection) -> None:
    architecture = architecture_named(config)
    for name, value in vars(config).items():  # all checks first: a refused config stays unchanged
        _refuse_unnamed(name, value, architecture, selection.n_layers)
    for name in architecture.per_layer_config:
        values = getattr(config, name, None)
        if values is not None:
            # By index, not by length: the library lets a list be longer than the depth and reads its beginning.
            setattr(config, name, [values[index] for index in selection.layers])
    setattr(config, DEPTH, len(selection.layers))


def _set_layers(model: PreTrainedModel, layers: nn.ModuleList) -> None:
    """Puts a list of layers into the model and numbers them, so that each finds its own place in a cache."""
    parent, _, name = architecture_of(model).layers.rpartition(".")
    setattr(model.get_submodule(parent), name, layers)
    for index, layer in enumerate(layers):
        for module in layer.modules():
            if getattr(module, "layer_idx", None) is not None:
                setattr(module, "layer_idx", index)  # noqa: B010 - modules type every attribute as a tensor


def _refuse_moved_layers(config: PretrainedConfig, selection: LayerSelection, architecture: Architecture) -> None:
    moved = selection.layers != tuple(range(selection.depth))
    bound = [name for name in architecture.index_bound if getattr(config, name, False)]
    if moved and bound:
        raise UnsupportedArchitecture(
            f"{bound[0]} scales each layer by its index, so only first:k keeps what the layers compute; "
            f"got {selection.text}"
        )


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
