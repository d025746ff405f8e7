"""Backbones without stored weights: configs from a shape, and models with seeded random weights.

Takes options and a selection, hands on a Hugging Face model with just the kept layers. A layer starts from the same
weights whatever else is kept.
"""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from layerprobe.backbone.architecture import ARCHITECTURES, layers_of
from layerprobe.backbone.checkpoint import first_line
from layerprobe.backbone.config_rules import NONSENSE
from layerprobe.backbone.options import BackboneOptions
from layerprobe.backbone.selection import LayerSelection
from layerprobe.backbone.truncate import cut_config, truncate
from layerprobe.errors import InputError


def shape_config(options: BackboneOptions) -> PretrainedConfig:
    """Returns the config of a backbone that is built from a shape.

    Raises:
        InputError: the family has no single rotary base, or no dropout to set.
    """
    architecture = ARCHITECTURES[options.family]
    head_dim = options.hidden_size // options.heads
    entries = {
        "vocab_size": 1,  # items enter as vectors; stock loaders need one row, which is never read
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
    # Families differ in which entries they have and what they call them; the config itself says which it knows.
    named = {architecture.shape.get(name, name): value for name, value in entries.items()}
    config = AutoConfig.for_model(
        options.family, **{name: value for name, value in named.items() if hasattr(default, name)}
    )
    set_dropouts(config, options)
    return config


def set_dropouts(config: PretrainedConfig, options: BackboneOptions) -> None:
    """Puts the options' dropout rates into the config.

    Raises:
        InputError: the family has no dropout inside its layers, and `hidden_dropout` is above 0.
    """
    architecture = ARCHITECTURES[config.model_type]
    if options.hidden_dropout and not architecture.hidden_dropout:
        raise InputError(
            f"backbone.hidden_dropout has no use with family {config.model_type}, whose layers have none; "
            "recommender.input_dropout and head_dropout are there for every family"
        )
    setattr(config, architecture.attention_dropout, options.attention_dropout)
    for name in architecture.hidden_dropout:
        setattr(config, name, options.hidden_dropout)


def attention_arguments(options: BackboneOptions) -> dict[str, str]:
    """Returns what the library's loaders take for `options.attention`."""
    return {} if options.attention == "auto" else {"attn_implementation": options.attention}


def model_without_weights(config: PretrainedConfig, options: BackboneOptions) -> PreTrainedModel:
    """Builds a config's model on the current device, its weights as the library draws them.

    Raises:
        InputError: the attention code is not installed, or the config holds a value the library does not know.
    """
    if options.attention == "flex_attention" and not torch.cuda.is_available():
        raise InputError("backbone.attention flex_attention trains on a GPU only, and there is none: use auto")
    try:
        return AutoModel.from_config(config, **attention_arguments(options))
    except (ImportError, ValueError, KeyError, AttributeError, TypeError, *NONSENSE) as error:
        cause = f"{type(error).__name__}: {first_line(error)}"
        if options.attention != "auto":
            raise InputError(f"backbone.attention {options.attention} cannot be used here ({cause})") from error
        raise InputError(
            f"the config of this {config.model_type} describes no model the library knows ({cause})"
        ) from error


def with_random_weights(config: PretrainedConfig, options: BackboneOptions, kept: LayerSelection) -> PreTrainedModel:
    """Builds a shape at full depth and cuts it, so layer i starts from the same weights at every depth."""
    with torch.random.fork_rng(devices=[]):  # the seed must not reach the random numbers of the caller
        torch.manual_seed(options.init_seed or 0)
        model = model_without_weights(config, options)
    return truncate(model, kept)


def with_random_layers(config: PretrainedConfig, options: BackboneOptions, kept: LayerSelection) -> PreTrainedModel:
    """Builds only the kept layers of a checkpoint's shape, with the weights they would have at full depth.

    Layer i draws from (seed, i), everything else from the seed alone. In some families the spread of the draws depends
    on the depth, so the config holds the stored depth while weights are drawn.
    """
    depth = config.num_hidden_layers
    cut_config(config, kept)
    with torch.random.fork_rng(devices=[]):
        model = model_without_weights(config, options)
        layers = layers_of(model)
        model.config.num_hidden_layers = depth
        torch.manual_seed(options.init_seed or 0)
        _draw_again(model, model, layers)
        for layer, module in zip(kept.layers, layers, strict=True):
            # A seed per stored layer: what is drawn for it does not depend on which other layers are kept.
            torch.manual_seed(1_000_003 * (layer + 1) + (options.init_seed or 0))
            _draw_again(model, module)
        model.config.num_hidden_layers = kept.depth
    return model


def _draw_again(model: PreTrainedModel, module: torch.nn.Module, skipped: torch.nn.Module | None = None) -> None:
    """Draws the weights of `module` by the library's rule: children first, since their parent may draw them again."""
    for child in module.children():
        if child is not skipped:
            _draw_again(model, child, skipped)
    for value in module.parameters(recurse=False):  # the library skips what it has marked as drawn
        value._is_hf_initialized = False  # pyright: ignore[reportAttributeAccessIssue]
    model._init_weights(module)
