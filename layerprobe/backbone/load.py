"""Backbones: built from a shape with seeded random weights, or read from a local folder or a hub id.

Takes options and a selection, hands on a Hugging Face model without LM head that has just the kept layers, with token
embeddings frozen. Of a checkpoint only the kept layers are read. Weights that are missing, unexpected or of another
shape are errors.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, BitsAndBytesConfig, PretrainedConfig, PreTrainedModel

from layerprobe.backbone.architecture import ARCHITECTURES, architecture_of, layers_of, unread_parts
from layerprobe.backbone.checkpoint import Checkpoint, check_weights, first_line, kept_weights
from layerprobe.backbone.keys import stored_name
from layerprobe.backbone.options import BackboneOptions
from layerprobe.backbone.selection import LayerSelection, parse_selection
from layerprobe.backbone.truncate import cut_config, truncate
from layerprobe.errors import InputError


def load_backbone(options: BackboneOptions, selection: LayerSelection | None = None) -> PreTrainedModel:
    """Returns the backbone cut to `keep` and then to `selection`; token embeddings frozen, evaluation mode.

    Args:
        options: which backbone.
        selection: layers of the full-depth teacher (what `keep` leaves) to build; None builds all of them.

    Raises:
        InputError: the checkpoint is absent, unreadable, or its weights do not fit its config; a selection does not fit
            the depth; an option asks for what this machine or family lacks.
        UnsupportedArchitecture: its family is not in the table.
    """
    if options.checkpoint is None:
        config = shape_config(options)
        model = _with_random_weights(config, options, composed(options, config.num_hidden_layers, selection))
    else:
        checkpoint = Checkpoint(options.checkpoint, options.revision)
        config = checkpoint.config()
        kept = composed(options, config.num_hidden_layers, selection)
        _set_dropouts(config, options)
        if options.init == "random":
            model = _with_random_layers(config, options, kept)
        else:
            model = _read(checkpoint, config, options, kept)
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


def backbone_config(options: BackboneOptions) -> PretrainedConfig:
    """Returns the config at full stored depth, without reading weights; raises as `kept_layers`."""
    if options.checkpoint is None:
        return shape_config(options)
    return Checkpoint(options.checkpoint, options.revision).config()


def empty_backbone(options: BackboneOptions) -> PreTrainedModel:
    """Builds the module tree of the teacher without memory for its weights, with every check but the weights' own.

    Raises:
        InputError: what `load_backbone` would refuse before it reads a weight.
        UnsupportedArchitecture: the family is not in the table.
    """
    config = backbone_config(options)
    kept = composed(options, config.num_hidden_layers, None)
    if options.checkpoint is not None and options.init == "pretrained":
        check_weights(Checkpoint(options.checkpoint, options.revision), config)
    if options.quantize is not None:
        _quantization(options.quantize)
    _set_dropouts(config, options)
    cut_config(config, kept)
    with torch.device("meta"):
        return _from_config(config, options)


def shape_config(options: BackboneOptions) -> PretrainedConfig:
    """Returns the config of a backbone that is built from a shape.

    Raises:
        InputError: the family has no single rotary base, or no dropout to set.
    """
    architecture = ARCHITECTURES[options.family]
    head_dim = options.hidden_size // options.heads
    entries = {
        "vocab_size": 1,  # items enter as vectors; one row, never read, keeps stock loaders content
        "hidden_size": options.hidden_size,
        "intermediate_size": options.intermediate_size,
        "num_hidden_layers": options.layers,
        "num_attention_heads": options.heads,
        "num_key_value_heads": options.heads,
        "head_dim": head_dim,
        "query_pre_attn_scalar": head_dim,
        "word_embed_proj_dim": options.hidden_size,
        "max_position_embeddings": options.max_positions,
        "original_max_position_embeddings": options.max_positions,
        "initializer_range": options.init_std,
        "init_std": options.init_std,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": options.rope_theta},
    }
    default = AutoConfig.for_model(options.family)
    if "rope_theta" not in (getattr(default, "rope_parameters", None) or {}):
        del entries["rope_parameters"]
        if options.rope_theta != BackboneOptions.rope_theta:
            raise InputError(
                f"backbone.rope_theta has no use with family {options.family}, which has no single rotary base"
            )
    named = {architecture.shape.get(name, name): value for name, value in entries.items()}
    config = AutoConfig.for_model(
        options.family, **{name: value for name, value in named.items() if hasattr(default, name)}
    )
    _set_dropouts(config, options)
    return config


def _set_dropouts(config: PretrainedConfig, options: BackboneOptions) -> None:
    architecture = ARCHITECTURES[config.model_type]
    if options.hidden_dropout and not architecture.hidden_dropout:
        raise InputError(
            f"backbone.hidden_dropout has no use with family {config.model_type}, whose layers have none; "
            "recommender.input_dropout and head_dropout are there for every family"
        )
    setattr(config, architecture.attention_dropout, options.attention_dropout)
    for name in architecture.hidden_dropout:
        setattr(config, name, options.hidden_dropout)


def _attention(options: BackboneOptions) -> dict[str, str]:
    return {} if options.attention == "auto" else {"attn_implementation": options.attention}


def _with_random_weights(config: PretrainedConfig, options: BackboneOptions, kept: LayerSelection) -> PreTrainedModel:
    """Builds a shape at full depth and cuts it, so layer i starts from the same weights at every depth."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.init_seed)
        model = _from_config(config, options)
    return truncate(model, kept)


def _from_config(config: PretrainedConfig, options: BackboneOptions) -> PreTrainedModel:
    try:
        return AutoModel.from_config(config, **_attention(options))
    except (ImportError, ValueError) as error:
        raise InputError(f"backbone.attention {options.attention} cannot be used here: {first_line(error)}") from error


def _with_random_layers(config: PretrainedConfig, options: BackboneOptions, kept: LayerSelection) -> PreTrainedModel:
    """Builds only the kept layers of a checkpoint's shape, with the weights they would have at full depth.

    Layer i draws from (seed, i), the rest from the seed alone. Some families draw narrower the deeper they are, so the
    stored depth stands in the config meanwhile.
    """
    depth = config.num_hidden_layers
    cut_config(config, kept)
    with torch.random.fork_rng(devices=[]):
        model = _from_config(config, options)
        layers = layers_of(model)
        model.config.num_hidden_layers = depth
        torch.manual_seed(options.init_seed)
        _draw_again(model, model, layers)
        for layer, module in zip(kept.layers, layers, strict=True):
            torch.manual_seed(1_000_003 * (layer + 1) + options.init_seed)
            _draw_again(model, module)
        model.config.num_hidden_layers = kept.depth
    return model


def _draw_again(model: PreTrainedModel, module: torch.nn.Module, skipped: torch.nn.Module | None = None) -> None:
    """Draws the weights of `module` by the library's rule: what lies inside first, since its parent may overrule it."""
    for child in module.children():
        if child is not skipped:
            _draw_again(model, child, skipped)
    for value in module.parameters(recurse=False):
        value._is_hf_initialized = False  # pyright: ignore[reportAttributeAccessIssue]
    model._init_weights(module)


def _read(
    checkpoint: Checkpoint, config: PretrainedConfig, options: BackboneOptions, kept: LayerSelection
) -> PreTrainedModel:
    extra: dict[str, Any] = {"dtype": getattr(torch, options.dtype), **_attention(options)}
    if options.quantize is not None:
        extra |= _quantization(options.quantize)
    weights = kept_weights(checkpoint, config, kept.layers)
    config = copy.deepcopy(config)
    cut_config(config, kept)
    with torch.device("meta"):
        _from_config(copy.deepcopy(config), options)  # an attention code that is not there is no fault of the file
    family: Any = MODEL_MAPPING[type(config)]
    try:
        with torch.random.fork_rng(devices=[]):  # the library draws values for missing weights, refused below
            model, report = family.from_pretrained(
                None,
                config=config,
                state_dict=weights,
                ignore_mismatched_sizes=True,  # so that they are reported, and refused, with the other misfits
                output_loading_info=True,
                **extra,
            )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise InputError(f"backbone.checkpoint {checkpoint.where} cannot be read: {first_line(error)}") from error
    unread = tuple(f"{path}." for path in architecture_of(model).unread)
    missing = sorted(report["missing_keys"])
    _fill_unread(model, [name for name in missing if name.startswith(unread)])
    architecture = architecture_of(model)
    found = {
        "missing": [name for name in missing if not name.startswith(unread)],
        "unexpected": sorted(report["unexpected_keys"]),
        "of another shape": sorted(str(entry[0]) for entry in report["mismatched_keys"]),
    }
    for rule, names in found.items():
        _refuse_misfit(checkpoint.where, rule, [stored_name(name, architecture, kept.layers) for name in names])
    if options.quantize is None:
        for value in model.parameters():
            value.data = value.data.clone()  # else it stays a view of the file, and changes if that is overwritten
    return model


def _fill_unread(model: PreTrainedModel, names: Sequence[str]) -> None:
    """Zeroes parts that no readout reads and the file does not hold, where the library would draw random values."""
    with torch.no_grad():
        for name in names:
            model.get_parameter(name).zero_()


def _refuse_misfit(where: str, rule: str, names: Sequence[str]) -> None:
    if names:
        raise InputError(
            f"the weights of {where} must fit its config.json; {len(names)} {rule}: {', '.join(names[:3])}; "
            "the shape in config.json disagrees with the file"
        )


def _quantization(bits: str) -> dict[str, Any]:
    lacking = [] if find_spec("bitsandbytes") else ["the package bitsandbytes"]
    if not torch.cuda.is_available():
        lacking.append("an NVIDIA GPU")
    if lacking:
        raise InputError(f"backbone.quantize {bits} needs {' and '.join(lacking)}; not here: leave it out")
    config = BitsAndBytesConfig(
        load_in_8bit=bits == "8bit",
        load_in_4bit=bits == "4bit",
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": config, "device_map": {"": 0}}


def _prepared(model: PreTrainedModel, options: BackboneOptions) -> PreTrainedModel:
    if options.quantize is None:
        model.to(getattr(torch, options.dtype))  # pyright: ignore[reportArgumentType]
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
