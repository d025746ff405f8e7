"""Backbones: built from a shape with seeded random weights, or read from a local folder or a hub id.

Takes options and a selection, hands on a Hugging Face model without LM head that has just the kept layers, with token
embeddings frozen. Of a checkpoint only the kept layers are read. Weights that are missing, unexpected or of another
shape are errors.
"""

from __future__ import annotations

import torch
from transformers import PretrainedConfig, PreTrainedModel

from layerprobe.backbone.architecture import unread_parts
from layerprobe.backbone.build import (
    model_without_weights,
    set_dropouts,
    shape_config,
    with_random_layers,
    with_random_weights,
)
from layerprobe.backbone.checkpoint import Checkpoint, check_weights, fingerprint
from layerprobe.backbone.options import BackboneOptions
from layerprobe.backbone.quiet import quiet
from layerprobe.backbone.read import check_layers, check_values, quantization, read_layers
from layerprobe.backbone.selection import LayerSelection, parse_selection
from layerprobe.backbone.truncate import cut_config
from layerprobe.errors import InputError


@quiet()
def load_backbone(options: BackboneOptions, selection: LayerSelection | None = None) -> PreTrainedModel:
    """Returns the backbone cut to `keep` and then to `selection`; token embeddings frozen, evaluation mode.

    Args:
        options: which backbone.
        selection: layers of the full-depth teacher (what `keep` leaves) to build; None builds all of them.

    Raises:
        InputError: the checkpoint is absent, unreadable, or its weights do not fit its config; a selection does not fit
            the depth; an option needs something that this machine or family lacks.
        UnsupportedArchitecture: its family is not in the table.
    """
    if options.checkpoint is None:
        config = shape_config(options)
        model = with_random_weights(config, options, composed(options, config.num_hidden_layers, selection))
    else:
        checkpoint = Checkpoint(options.checkpoint, options.revision)
        config = checkpoint.config()
        kept = composed(options, config.num_hidden_layers, selection)
        set_dropouts(config, options)
        if options.init == "random":
            model = with_random_layers(config, options, kept)
        else:
            model = read_layers(checkpoint, config, options, kept)
    return _prepared(model, options)


def composed(options: BackboneOptions, n_layers: int, selection: LayerSelection | None) -> LayerSelection:
    """Returns which of the `n_layers` stored layers remain after `keep` and then `selection`.

    Raises:
        InputError: one of the two does not fit.
    """
    first = parse_selection(options.keep or f"first:{n_layers}", n_layers)
    if selection is None:
        return first
    if selection.n_layers != first.depth:
        raise InputError(
            f"{selection.text} was resolved for {selection.n_layers} layers; the teacher has {first.depth}"
        )
    # `selection` counts the layers that `keep` left; the result counts the stored ones.
    return LayerSelection(tuple(first.layers[layer] for layer in selection.layers), selection.text, n_layers)


def kept_layers(options: BackboneOptions, selection: LayerSelection | None = None) -> tuple[int, ...]:
    """Returns the stored layers that `load_backbone` would build, from the config alone.

    Raises:
        InputError: the checkpoint's config is absent, or a selection does not fit it.
        UnsupportedArchitecture: its family is not in the table.
    """
    return composed(options, backbone_config(options).num_hidden_layers, selection).layers


def count_layers(options: BackboneOptions) -> int:
    """Returns the depth of the teacher, from the config alone; raises as `kept_layers`."""
    return len(kept_layers(options))


def backbone_content(options: BackboneOptions) -> dict[str, str]:
    """Returns what identifies the stored weights of the teacher; empty where no stored weights are read.

    Raises:
        InputError: the checkpoint is absent or cannot be read.
    """
    if options.checkpoint is None or options.init == "random":
        return {}
    checkpoint = Checkpoint(options.checkpoint, options.revision)
    return fingerprint(checkpoint, checkpoint.config(), kept_layers(options))


def backbone_config(options: BackboneOptions) -> PretrainedConfig:
    """Returns the config at full stored depth, without reading weights; raises as `kept_layers`."""
    if options.checkpoint is None:
        return shape_config(options)
    return Checkpoint(options.checkpoint, options.revision).config()


@quiet()
def empty_backbone(options: BackboneOptions) -> PreTrainedModel:
    """Builds the module tree of the teacher without memory for its weights, after every check that needs no data.

    A local checkpoint is checked down to the last name and shape. A hub checkpoint is not downloaded: only its config
    and, where it has one, its index are read.

    Raises:
        InputError: what `load_backbone` would refuse.
        UnsupportedArchitecture: the family is not in the table.
    """
    config = backbone_config(options)
    kept = composed(options, config.num_hidden_layers, None)
    if options.quantize is not None:
        quantization(options.quantize)
    set_dropouts(config, options)
    if options.checkpoint is not None and options.init == "pretrained":
        checkpoint = Checkpoint(options.checkpoint, options.revision)
        check_weights(checkpoint, config)
        if checkpoint.is_local:
            check_layers(checkpoint, config, options, kept)
    cut_config(config, kept)
    with torch.device("meta"):  # shapes without memory
        return model_without_weights(config, options)


def check_stored_values(options: BackboneOptions) -> None:
    """Makes sure that the weights of a local checkpoint's kept layers are finite; reads each of them once.

    A hub checkpoint is not downloaded for this; `load_backbone` checks it as well.

    Raises:
        InputError: one is NaN or infinite.
    """
    if options.checkpoint is None or options.init == "random":
        return
    checkpoint = Checkpoint(options.checkpoint, options.revision)
    if checkpoint.is_local:
        config = checkpoint.config()
        check_values(checkpoint, config, composed(options, config.num_hidden_layers, None))


def _prepared(model: PreTrainedModel, options: BackboneOptions) -> PreTrainedModel:
    if options.quantize is None:
        for parameter in model.parameters():  # not buffers: rotary frequencies rounded to bfloat16 lose their phase
            parameter.data = parameter.data.to(getattr(torch, options.dtype))
    model.get_input_embeddings().requires_grad_(False)
    for part in unread_parts(model):
        part.requires_grad_(False)
    if options.gradient_checkpointing:
        # The library renamed it within version 5.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    return model.eval()


def read_stock_backbone(where: str) -> PreTrainedModel:
    """Reads a backbone folder as it is, weights checked against its config.

    Raises:
        InputError: the folder is absent, unreadable, or its weights do not fit its config.
    """
    return load_backbone(BackboneOptions(checkpoint=where))
