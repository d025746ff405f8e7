"""Stored weights of a backbone: only the kept layers are read, and every name and shape has to fit.

Takes a checkpoint and a selection, hands on a Hugging Face model. Before anything is trained the same code checks a
local checkpoint, down to the last name and shape, without reading data.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from transformers import MODEL_MAPPING, BitsAndBytesConfig, PretrainedConfig, PreTrainedModel

from layerprobe import processes
from layerprobe.backbone.architecture import architecture_named
from layerprobe.backbone.build import attention_arguments, model_without_weights
from layerprobe.backbone.checkpoint import Checkpoint, first_line, kept_weights
from layerprobe.backbone.keys import stored_name
from layerprobe.backbone.options import BackboneOptions
from layerprobe.backbone.selection import LayerSelection
from layerprobe.backbone.truncate import cut_config
from layerprobe.errors import InputError

HINTS = {
    "missing": "the file is not complete, or of another shape than config.json says",
    "unexpected": "config.json is of another model, or there is a task head beside the backbone: save the base model",
    "of another shape": "the shape in config.json disagrees with the file",
}


def read_layers(
    checkpoint: Checkpoint, config: PretrainedConfig, options: BackboneOptions, kept: LayerSelection
) -> PreTrainedModel:
    """Returns the model of the kept layers with their stored weights.

    Raises:
        InputError: a weight is missing, unexpected or of another shape, or the file cannot be read.
    """
    extra: dict[str, Any] = {"dtype": getattr(torch, options.dtype), **attention_arguments(options)}
    if options.quantize is not None:
        extra |= quantization(options.quantize)
    weights = kept_weights(checkpoint, config, kept.layers)
    model = _loaded(checkpoint, _cut(config, kept, options), weights, kept, extra)
    _require_finite(checkpoint, model.named_parameters(), config, kept)
    return model


def check_values(checkpoint: Checkpoint, config: PretrainedConfig, kept: LayerSelection) -> None:
    """Reads the weights of kept layers once, one after the other, and makes sure that all are numbers.

    Raises:
        InputError: one is NaN or infinite, or as `kept_weights`.
    """
    weights = kept_weights(checkpoint, config, kept.layers)
    _require_finite(checkpoint, ((name, part[:]) for name, part in weights.items()), config, kept)


def _require_finite(
    checkpoint: Checkpoint, weights: Iterable[tuple[str, torch.Tensor]], config: PretrainedConfig, kept: LayerSelection
) -> None:
    architecture = architecture_named(config)
    for name, values in weights:
        if values.is_floating_point() and not torch.isfinite(values).all():
            count = int((~torch.isfinite(values)).sum())
            stored = stored_name(name, architecture, kept.layers)
            raise InputError(
                f"the weights of {checkpoint.where} must be finite; {stored} has {count:,} of {values.numel():,} "
                "values that are NaN or infinite: copy the checkpoint again, or use another"
            )


def check_layers(
    checkpoint: Checkpoint, config: PretrainedConfig, options: BackboneOptions, kept: LayerSelection
) -> None:
    """Does the same as `read_layers` with shapes instead of data; raises the same errors."""
    weights = kept_weights(checkpoint, config, kept.layers)
    shapes = {name: torch.empty(part.get_shape(), device="meta") for name, part in weights.items()}
    extra = {"device_map": "meta", "dtype": torch.float32, **attention_arguments(options)}
    _loaded(checkpoint, _cut(config, kept, options), shapes, kept, extra)


def _cut(config: PretrainedConfig, kept: LayerSelection, options: BackboneOptions) -> PretrainedConfig:
    """Returns the cut config once a model can be built from it: its errors must not look like errors of weights."""
    cut = copy.deepcopy(config)
    cut_config(cut, kept)
    with torch.device("meta"):
        model_without_weights(copy.deepcopy(cut), options)  # a copy: building sets entries of the config
    return cut


def _loaded(
    checkpoint: Checkpoint,
    config: PretrainedConfig,
    weights: dict[str, Any],
    kept: LayerSelection,
    extra: dict[str, Any],
) -> PreTrainedModel:
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
    architecture = architecture_named(config)
    unread = tuple(f"{path}." for path in architecture.unread)
    missing = sorted(report["missing_keys"])
    _fill_unread(model, [name for name in missing if name.startswith(unread)])
    misfits = {
        "missing": [name for name in missing if not name.startswith(unread)],
        "unexpected": sorted(report["unexpected_keys"]),
        "of another shape": sorted(str(entry[0]) for entry in report["mismatched_keys"]),
    }
    for rule, names in misfits.items():
        if names:
            shown = ", ".join(stored_name(name, architecture, kept.layers) for name in names[:3])
            raise InputError(
                f"the weights of {checkpoint.where} must fit its config.json; {len(names)} {rule}: {shown}; "
                f"{HINTS[rule]}"
            )
    return model


def _fill_unread(model: PreTrainedModel, names: Sequence[str]) -> None:
    """Zeroes parts that no readout reads and the file lacks: the library would draw random values for them."""
    with torch.no_grad():
        for name in names:
            model.get_parameter(name).zero_()


def quantization(bits: str) -> dict[str, Any]:
    """Returns the loader's arguments for 8 or 4 bits.

    Raises:
        InputError: bitsandbytes or an NVIDIA GPU is not there.
    """
    lacking = [] if find_spec("bitsandbytes") else ["the package bitsandbytes"]
    if not torch.cuda.is_available():
        lacking.append("an NVIDIA GPU")
    if lacking:
        raise InputError(f"backbone.quantize {bits} needs {' and '.join(lacking)}; not available: leave it out")
    config = BitsAndBytesConfig(
        load_in_8bit=bits == "8bit",
        load_in_4bit=bits == "4bit",
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    # The whole model on this process's own GPU: "auto" would spread it over all of them.
    return {"quantization_config": config, "device_map": {"": processes.local_index()}}
