"""`BackboneOptions`: which backbone a study takes, and how it is held in memory."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated, Literal

from layerprobe.arguments import checked
from layerprobe.backbone.architecture import ARCHITECTURES
from layerprobe.errors import InputError
from layerprobe.ranges import DROPOUT, PATH, SEED, SET_TEXT, SHARE, Range

OF_CHECKPOINT = {
    "checkpoint", "revision", "init", "keep", "attention_dropout", "hidden_dropout", "dtype", "attention",
    "gradient_checkpointing", "quantize",
}  # fmt: skip
UNUSED_BEFORE = {"init_seed": (0,)}
"""Defaults of older versions, which their files name: of no use, and no harm."""


@dataclass(frozen=True)
@checked
class BackboneOptions:
    """Which backbone, and how much of it is the teacher."""

    checkpoint: Annotated[str | None, PATH] = None
    """Local folder or hub id of a checkpoint; null builds the shape below with random weights."""
    revision: Annotated[str | None, SET_TEXT] = None
    """Branch, tag or commit of a hub checkpoint; null takes its main branch."""
    init: Literal["pretrained", "random"] = "pretrained"
    """Weights of a checkpoint: its own, or seeded random ones in its shape (the control that shows what pretraining
    adds). A backbone built from a shape is random anyway."""
    keep: Annotated[str | None, SET_TEXT] = None
    """Selection applied before anything else, such as `first:8`: the full-depth teacher is what it keeps."""
    family: Annotated[str, SET_TEXT] = "llama"
    """Family of a backbone built from the shape below."""
    layers: Annotated[int, Range(1, 1000)] = 4
    """Layers of a backbone built from a shape."""
    hidden_size: Annotated[int, Range(1, 2**18)] = 64
    """Width."""
    intermediate_size: Annotated[int, Range(1, 2**20)] = 172
    """Width inside the MLP."""
    heads: Annotated[int, Range(1, 2**14)] = 4
    """Attention heads."""
    rope_theta: Annotated[float, Range(1, 10**12)] = 10000.0
    """Base of the rotary positions; for families whose layers share one."""
    max_positions: Annotated[int, Range(1, 2**24)] = 2048
    """Longest input in positions, prompt included."""
    init_seed: Annotated[int | None, SEED] = None
    """Seed of random initial weights. Null draws them with the training seed, so that seeds differ in them, too; a
    number gives every training the same ones."""
    init_std: Annotated[float, SHARE] = 0.02
    """Standard deviation of random weights; a checkpoint's shape has its own."""
    attention_dropout: Annotated[float, DROPOUT] = 0.0
    """Dropout on attention weights, in [0, 1); a checkpoint's own is not used."""
    hidden_dropout: Annotated[float, DROPOUT] = 0.0
    """Dropout inside and before the layers where the family has any, in [0, 1); a checkpoint's own is not used."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """How frozen weights are held; tuning.method full takes float32 alone (a GPU computes in bfloat16 anyway)."""
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2", "flex_attention"] = "auto"
    """Attention code; `auto` is the library's choice for the family. All give the same numbers up to rounding."""
    gradient_checkpointing: bool = False
    """Keeps only the layers' inputs in training and runs each layer again: less memory, more time, same numbers."""
    quantize: Literal["8bit", "4bit"] | None = None
    """Holds a checkpoint's linear maps in 8 or 4 bits; needs bitsandbytes, an NVIDIA GPU, and tuning lora or frozen."""

    @property
    def is_random(self) -> bool:
        """Whether the weights are drawn, not read."""
        return self.checkpoint is None or self.init == "random"

    def drawn_with(self, seed: int) -> BackboneOptions:
        """Returns the options of one training: random weights are drawn with its seed, unless `init_seed` is set."""
        return replace(self, init_seed=seed) if self.is_random and self.init_seed is None else self

    def __post_init__(self) -> None:
        if self.family not in ARCHITECTURES:
            raise InputError(f"backbone.family must be one of {', '.join(ARCHITECTURES)}; got {self.family!r}")
        # Even: rotary positions turn the dimensions of a head in pairs.
        if self.hidden_size % self.heads or (self.hidden_size // self.heads) % 2:
            raise InputError(
                f"backbone.hidden_size must be an even multiple of heads; got {self.hidden_size} and {self.heads} heads"
            )
        if self.attention == "flash_attention_2" and self.dtype == "float32" and self.quantize is None:
            raise InputError(
                "backbone.attention flash_attention_2 works in half precision: set backbone.dtype bfloat16"
            )
        self._refuse_unused()

    def _refuse_unused(self) -> None:
        """A checkpoint has its own shape, and only a checkpoint has a revision, stored weights or bits."""
        if self.checkpoint is None:
            for name, unset in (("revision", None), ("init", "pretrained"), ("quantize", None)):
                if getattr(self, name) != unset:
                    raise InputError(
                        f"backbone.{name} needs backbone.checkpoint; got {getattr(self, name)} for a backbone that is "
                        "built from a shape with random weights"
                    )
            return
        used = OF_CHECKPOINT | ({"init_seed"} if self.init == "random" else set())
        unused = [
            entry.name
            for entry in fields(self)
            if entry.name not in used
            and getattr(self, entry.name) not in (entry.default, *UNUSED_BEFORE.get(entry.name, ()))
        ]
        if unused:
            reason = "whose weights are stored" if unused[0] == "init_seed" else "which has its own shape"
            raise InputError(f"backbone.{unused[0]} has no use with backbone.checkpoint, {reason}")
        if self.quantize is not None and (self.init == "random" or self.dtype != "float32"):
            raise InputError("backbone.quantize decides how weights are held: leave out backbone.init and dtype")
