"""Parameters and bytes of a study's models, counted on models without memory for their weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import nn

from layerprobe.backbone.selection import LayerSelection
from layerprobe.backbone.truncate import layers_kept
from layerprobe.pipeline.dry_run.step_costs import weightless
from layerprobe.probing.variant import RecipeOptions, build_recommender, parameter_counts
from layerprobe.recommender.model import Recommender
from layerprobe.training.measure import ModelBytes, model_bytes

FLOAT32 = 4
QUANTIZED = {"8bit": 1.0, "4bit": 0.5 + 4 / 64}
"""Bytes of a quantized weight; in 4 bits, 64 of them share a float32 scale."""


@dataclass(frozen=True)
class Size:
    """Parameters by part, as in `metrics.json`, and bytes of a model."""

    parameters: dict[str, int]
    bytes: ModelBytes


@dataclass(frozen=True, eq=False)
class Sizes:
    """Sizes of the recommenders of one recipe, from its full-depth model on the device `meta`."""

    recipe: RecipeOptions
    full: Recommender

    @staticmethod
    def of(recipe: RecipeOptions, n_items: int, dim: int) -> Sizes:
        """Builds the full-depth model of a recipe without memory for its weights."""
        with torch.device("meta"):
            return Sizes(recipe, build_recommender(weightless(recipe), torch.empty(n_items + 1, dim), None, 0))

    def at(self, selection: LayerSelection | None) -> Size:
        """Returns the size of the model that keeps `selection`; None keeps every layer."""
        cut = nullcontext() if selection is None else layers_kept(self.full.backbone, selection)
        with cut:
            sizes = model_bytes(self.full)
            saved = 0 if self.recipe.backbone.quantize is None else self._saved(self.recipe.backbone.quantize)
            return Size(parameter_counts(self.full), replace(sizes, weights=sizes.weights - saved))

    def student(self, selection: LayerSelection, blocks: int) -> Size:
        """Returns the size of a student in training; `parameters` counts those of the exported student alone."""
        plain, head = self.at(selection), self.full.head.weight
        heads = (blocks - 1) * head.numel() * FLOAT32
        return Size(plain.parameters, ModelBytes(plain.bytes.weights + heads, plain.bytes.trained + heads))

    def _saved(self, quantize: str) -> int:
        """Returns by how many bytes the linear maps, counted in bfloat16, shrink."""
        linear = [
            (name, module) for name, module in self.full.backbone.named_modules() if isinstance(module, nn.Linear)
        ]
        held = sum(module.weight.numel() for name, module in linear if "lora_" not in name)
        return int(held * (2 - QUANTIZED[quantize]))


def size_without_memory(build: Callable[[], nn.Module]) -> Size:
    """Returns the size of a model all of whose parameters are trained, such as SASRec."""
    with torch.device("meta"):
        model = build()
    total = sum(value.numel() for value in model.parameters())
    return Size({"total": total, "trainable": total}, model_bytes(model))
