"""Which part of a backbone is trained: everything, LoRA matrices through PEFT, or nothing.

LoRA starts as the identity, trains only its own matrices, and is merged into the weights on export.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Literal, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from layerprobe.arguments import checked
from layerprobe.backbone.architecture import architecture_of, layers_of
from layerprobe.backbone.quiet import quiet
from layerprobe.errors import InputError
from layerprobe.ranges import DROPOUT, Range

ROLES = {"mlp": ("mlp",), "attention": ("attention",), "all": ("attention", "mlp")}


@dataclass(frozen=True)
@checked
class TuningOptions:
    """How the backbone is adapted. The defaults of LoRA are the paper's."""

    method: Literal["full", "lora", "frozen"] = "full"
    """Train every layer weight, LoRA matrices only, or nothing of the backbone (input map and head are trained in any
    case)."""
    rank: Annotated[int, Range(1, 100_000)] = 16
    """LoRA rank."""
    alpha: Annotated[int, Range(1, 1_000_000)] = 16
    """LoRA scale: the update is multiplied by alpha / rank."""
    dropout: Annotated[float, DROPOUT] = 0.05
    """LoRA dropout, in [0, 1)."""
    targets: str = "mlp"
    """Which linear maps get LoRA: `mlp` (the paper's choice), `attention` or `all`, in every family; or names inside a
    layer as the family spells them, comma separated, such as `q_proj,v_proj`."""

    def __post_init__(self) -> None:
        if self.method != "lora":
            self._refuse_lora_options()
        if not all(re.fullmatch(r"\w[\w.]*", name) for name in self.targets.split(",")):
            raise InputError(f"tuning.targets must be a role or names, comma separated; got {self.targets!r}")

    def _refuse_lora_options(self) -> None:
        unused = [entry.name for entry in fields(self)[1:] if getattr(self, entry.name) != entry.default]
        if unused:
            raise InputError(f"tuning.{unused[0]} needs tuning.method lora; the method is {self.method}")


@quiet()
def adapt(
    model: PreTrainedModel, options: TuningOptions, seed: int = 0, origin: Sequence[int] | None = None
) -> PreTrainedModel | PeftModel:
    """Returns the backbone ready for training: unchanged, frozen, or wrapped with LoRA and otherwise frozen.

    Args:
        model: the (cut) backbone.
        options: what is trained.
        seed: draws the LoRA matrices; a matrix depends on layer, name and seed only, so a layer starts the same at any
            depth.
        origin: which layer of the full model each layer was; None is 0, 1, 2, ...

    Raises:
        InputError: a LoRA target matches no linear map, or all weights of a backbone in low precision would be trained.
    """
    if options.method == "full":
        _require_full_precision(model)
        return model
    model.requires_grad_(False)
    if options.method == "frozen" or not len(layers_of(model)):  # at depth 0 there is no map for LoRA
        return model
    if getattr(model, "is_quantized", False):
        # Norms go to float32. Checkpointing is an option of the backbone, which PEFT must not switch on by itself.
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    names = lora_names(model, options.targets)
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        bias="none",
        target_modules=names,
        fan_in_fan_out=any(isinstance(model.get_submodule(name), Conv1D) for name in names),  # GPT-2: W transposed
    )
    wrapped = cast("PeftModel", get_peft_model(model, config))
    _draw_lora(wrapped, seed, range(len(layers_of(model))) if origin is None else origin)
    return wrapped


def lora_names(model: PreTrainedModel, targets: str) -> list[str]:
    """Returns the full names of the linear maps that get LoRA.

    Args:
        model: the backbone, with at least one layer.
        targets: `TuningOptions.targets`.

    Raises:
        InputError: a name matches no linear map; the message lists the maps of a layer.
    """
    architecture, first = architecture_of(model), layers_of(model)[0]
    linear = [name for name, module in first.named_modules() if isinstance(module, (torch.nn.Linear, Conv1D))]
    roles = ROLES.get(targets)
    target_names = (
        targets.split(",") if roles is None else [name for role in roles for name in architecture.lora_targets[role]]
    )
    chosen = []
    for name in target_names:
        # A role names the map exactly: in BERT `output.dense` is the MLP's, and a map of attention has that ending too.
        matches = [path for path in linear if path == name or (roles is None and path.endswith(f".{name}"))]
        if not matches:
            raise InputError(
                f"tuning.targets must name linear maps of a {architecture.model_type} layer; {name} matches none of "
                f"{', '.join(linear)}"
            )
        chosen += matches
    depth = len(layers_of(model))
    # Full names: PEFT would match a short one outside the layers, too. Each once, if two targets match the same map.
    return [f"{architecture.layers}.{layer}.{name}" for layer in range(depth) for name in dict.fromkeys(chosen)]


def _require_full_precision(model: PreTrainedModel) -> None:
    if getattr(model, "is_quantized", False) or model.dtype != torch.float32 and model.dtype != torch.float64:
        raise InputError(
            "tuning.method full trains every weight, and low precision rounds small steps away: hold the backbone in "
            "float32 (leave out backbone.dtype and quantize), or use tuning.method lora or frozen"
        )


def _draw_lora(model: PeftModel, seed: int, origin: Sequence[int]) -> None:
    """Draws each LoRA A as PEFT does, uniform in +-1 / sqrt(fan-in), but from (seed, layer, name) alone."""
    for layer, module in zip(origin, layers_of(unwrapped(model)), strict=True):
        for name, value in module.named_parameters():
            if "lora_A" in name:  # B stays 0, so LoRA starts as the identity
                digest = hashlib.sha256(f"{seed}:{layer}:{name}".encode()).digest()
                generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
                drawn = torch.rand(value.shape, generator=generator) * 2 - 1
                with torch.no_grad():
                    value.copy_(drawn / value.shape[1] ** 0.5)


def unwrapped(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """Returns the Hugging Face model inside, with its LoRA matrices."""
    return cast("PreTrainedModel", model.get_base_model()) if isinstance(model, PeftModel) else model


def merged(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """Returns the Hugging Face model with LoRA merged into its weights and removed."""
    if not isinstance(model, PeftModel):
        return model
    return cast("PreTrainedModel", model.merge_and_unload())
