"""From a recipe and a selection to a recommender: where backbone, adapter, item table and selection come together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from layerprobe.backbone.architecture import layers_of
from layerprobe.backbone.load import BackboneOptions, load_backbone
from layerprobe.backbone.prompt import PromptOptions, prompt_tokens
from layerprobe.backbone.selection import parse_selection
from layerprobe.backbone.truncate import truncate
from layerprobe.recommender.model import Recommender, RecommenderOptions
from layerprobe.recommender.sequence_model import load_trainable_state
from layerprobe.training.adapters import TuningOptions, adapt, unwrapped


@dataclass(frozen=True)
class RecipeOptions:
    """Everything a recommender is built from, but for its depth and seed."""

    backbone: BackboneOptions
    tuning: TuningOptions
    prompt: PromptOptions
    recommender: RecommenderOptions


def build_recommender(
    recipe: RecipeOptions,
    item_table: torch.Tensor,
    selection: str | None,
    seed: int,
    start: Mapping[str, torch.Tensor] | None = None,
) -> Recommender:
    """Builds a recommender cut to `selection`, ready for training.

    The full-depth model is built first and cut afterwards, so layer i starts from the same weights at every depth.

    Args:
        recipe: backbone, adapter, prompt and readout.
        item_table: frozen vectors [n_items + 1, dim].
        selection: text such as `first:2`; None keeps every layer.
        seed: draws the input map, the head and the adapter.
        start: trained parameters of the full-depth model to start from; None starts from the backbone's own.

    Raises:
        InputError: the selection does not parse or reaches beyond the backbone.
    """
    backbone = load_backbone(recipe.backbone)
    chosen = None if selection is None else parse_selection(selection, len(layers_of(backbone)))
    prompt = prompt_tokens(recipe.prompt, recipe.backbone.checkpoint, recipe.backbone.revision)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = adapt(backbone, recipe.tuning)
        model = Recommender(network, unwrapped(network), item_table, recipe.recommender, prompt)
    if start is not None:
        load_trainable_state(model, dict(start))
    if chosen is not None:
        truncate(model.backbone, chosen)
    return model


def parameter_counts(model: Recommender) -> dict[str, int]:
    """Returns parameters by part; `total` is what answering a request needs, the item table included.

    Token embeddings count only where a prompt reads them; LoRA matrices do not, since export merges them.
    """
    embeddings = sum(value.numel() for value in model.backbone.get_input_embeddings().parameters())
    inside = _merged_size(model.network)
    layers = _merged_size(layers_of(model.backbone))
    backbone = inside - (0 if len(model.prefix) or len(model.suffix) else embeddings)
    counts = {
        "backbone": backbone,
        "layers": layers,
        "input_adapter": sum(value.numel() for value in model.input_adapter.parameters()),
        "head": sum(value.numel() for value in model.head.parameters()),
        "item_table": model.item_table.numel(),
        "trainable": sum(value.numel() for value in model.parameters() if value.requires_grad),
    }
    return {"total": sum(counts[name] for name in ("backbone", "input_adapter", "head", "item_table")), **counts}


def _merged_size(module: torch.nn.Module) -> int:
    return sum(value.numel() for name, value in module.named_parameters() if "lora_" not in name)
