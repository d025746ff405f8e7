"""What of a backbone is trained: everything, or LoRA matrices through PEFT.

LoRA starts as the identity, trains only its own matrices, and is merged into the weights on export.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, cast

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from layerprobe.backbone.architecture import architecture_of
from layerprobe.errors import InputError


@dataclass(frozen=True)
class TuningOptions:
    """How the backbone is adapted. The defaults of LoRA are the paper's."""

    method: Literal["full", "lora"] = "full"
    """Train every layer weight, or LoRA matrices only."""
    rank: int = 16
    """LoRA rank."""
    alpha: int = 16
    """LoRA scale: the update is multiplied by alpha / rank."""
    dropout: float = 0.05
    """LoRA dropout, in [0, 1)."""
    targets: Literal["mlp", "attention", "all"] = "mlp"
    """Which matrices get LoRA; the paper's choice is the MLP's."""

    def __post_init__(self) -> None:
        if self.method == "full":
            self._refuse_lora_options()
        if self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise InputError(
                "tuning needs rank >= 1, alpha > 0 and dropout in [0, 1); "
                f"got {self.rank}, {self.alpha} and {self.dropout}"
            )

    def _refuse_lora_options(self) -> None:
        set_anyway = [entry.name for entry in fields(self)[1:] if getattr(self, entry.name) != entry.default]
        if set_anyway:
            raise InputError(f"tuning.{set_anyway[0]} needs tuning.method lora; the method is full")


def adapt(model: PreTrainedModel, options: TuningOptions) -> PreTrainedModel | PeftModel:
    """Returns the backbone ready for training: as it is, or wrapped with LoRA with everything else frozen.

    A backbone with no layers has nothing to adapt; its head and input map are trained all the same.
    """
    if options.method == "full" or model.config.num_hidden_layers == 0:
        return model
    roles = architecture_of(model).lora_targets
    chosen = ("attention", "mlp") if options.targets == "all" else (options.targets,)
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        bias="none",
        target_modules=[name for role in chosen for name in roles[role]],
    )
    return get_peft_model(model, config)


def unwrapped(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """Returns the Hugging Face model inside, LoRA matrices still in place."""
    return cast("PreTrainedModel", model.get_base_model()) if isinstance(model, PeftModel) else model


def merged(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """Returns the Hugging Face model with LoRA merged into its weights and removed."""
    if not isinstance(model, PeftModel):
        return model
    return cast("PreTrainedModel", model.merge_and_unload())
