"""From a recipe and a selection to a recommender: joins backbone, adapter, item table and selection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import torch

from layerprobe import processes
from layerprobe.arguments import checked, require_kind, require_whole
from layerprobe.backbone.architecture import architecture_named, architecture_of, layers_of, unread_parts
from layerprobe.backbone.keys import kept_names
from layerprobe.backbone.load import empty_backbone, kept_layers, load_backbone
from layerprobe.backbone.options import BackboneOptions
from layerprobe.backbone.prompt import PromptOptions, prompt_tokens
from layerprobe.backbone.selection import LayerSelection, parse_selection
from layerprobe.errors import InputError
from layerprobe.recommender.model import Recommender, RecommenderOptions, check_length
from layerprobe.recommender.prefix import why_repeated
from layerprobe.recommender.sequence_model import load_trainable_state
from layerprobe.training.adapters import TuningOptions, adapt, lora_names, unwrapped


@dataclass(frozen=True)
@checked
class RecipeOptions:
    """Everything a recommender is built from, except its layers and seed."""

    backbone: BackboneOptions = field(default_factory=BackboneOptions)
    tuning: TuningOptions = field(default_factory=TuningOptions)
    prompt: PromptOptions = field(default_factory=PromptOptions)
    recommender: RecommenderOptions = field(default_factory=RecommenderOptions)


def build_recommender(
    recipe: RecipeOptions,
    item_table: torch.Tensor,
    selection: str | int | LayerSelection | None = None,
    seed: int = 0,
    start: Mapping[str, torch.Tensor] | None = None,
) -> Recommender:
    """Builds a recommender cut to `selection`, ready for training.

    Only the kept layers are built or read. A layer starts from the same weights, LoRA included, in every selection.

    Args:
        recipe: backbone, adapter, prompt and readout.
        item_table: frozen vectors [n_items + 1, dim].
        selection: a selection of the full-depth model's layers, its text, such as `first:2`, or the number k of
            `first:k`; None keeps every layer.
        seed: draws the input map, the head, learned prefix vectors and the adapter, and the random weights of a
            backbone without `init_seed`.
        start: trained parameters of the full-depth model to start from; None starts from the backbone's own.

    Raises:
        InputError: the selection does not parse or reaches beyond the backbone; an option does not fit the family.
    """
    require_kind("recipe", recipe, RecipeOptions)
    require_kind("item_table", item_table, torch.Tensor, instead="take the .item_vectors() of a trained SASRec")
    if item_table.ndim != 2 or len(item_table) < 2:
        raise InputError(f"item_table must have the shape [n_items + 1, dim]; got {list(item_table.shape)}")
    if not item_table.is_meta and not bool(torch.isfinite(item_table).all()):
        raise InputError("item_table must be finite; it holds NaN or infinity")
    require_whole("seed", seed, 0)
    full_depth = kept_layers(recipe.backbone)
    chosen = _chosen(selection, len(full_depth))
    layers = range(len(full_depth)) if chosen is None else chosen.layers
    backbone = load_backbone(recipe.backbone.drawn_with(seed), chosen)
    prompt = prompt_tokens(recipe.prompt, recipe.backbone.checkpoint, recipe.backbone.revision)
    network = adapt(backbone, recipe.tuning, seed, [full_depth[layer] for layer in layers])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Recommender(network, unwrapped(network), item_table, recipe.recommender, prompt)
    if start is not None:
        renamed = kept_names(start, architecture_of(backbone), layers)
        load_trainable_state(model, {new: start[old] for old, new in renamed.items()})
    return model


def _chosen(selection: str | int | LayerSelection | None, n_layers: int) -> LayerSelection | None:
    if selection is None or isinstance(selection, LayerSelection):
        return selection
    require_kind("selection", selection, str, int, LayerSelection)
    return parse_selection(f"first:{selection}" if isinstance(selection, int) else selection, n_layers)


def check_recipe(recipe: RecipeOptions, supervisions: Mapping[str, str]) -> list[str]:
    """Checks a recipe without reading weights, and returns notes on how it will run.

    Args:
        recipe: what recommenders are built from.
        supervisions: per key of the study, such as `training.supervision`, its value.

    Raises:
        InputError: the backbone lacks what its options name; the prompt has no tokenizer or does not fit the positions;
            targets at every position with a prompt suffix, or with a family that sees later items; a LoRA target that
            matches nothing; low precision with tuning.method full.
    """
    options = recipe.backbone
    model = empty_backbone(options)
    config = model.config
    causal = architecture_named(config).causal
    prompt = prompt_tokens(recipe.prompt, options.checkpoint, options.revision)
    for name, value in supervisions.items():
        if value == "all" and recipe.prompt.has_suffix:
            raise InputError(f"prompt.suffix stands after the whole history, so {name} must be last; got all")
        if value == "all" and not causal:
            raise InputError(
                f"{config.model_type} sees later items, so targets at every position would leak: {name} must be last; "
                "got all"
            )
    if recipe.tuning.method == "full" and (options.dtype != "float32" or options.quantize is not None):
        raise InputError(
            "tuning.method full needs weights in float32: leave out backbone.dtype and quantize, or use lora or frozen"
        )
    if recipe.tuning.method == "lora" and len(layers_of(model)):
        lora_names(model, recipe.tuning.targets)
    largest = max([-1, *prompt.prefix.tolist(), *prompt.suffix.tolist()])
    if largest >= config.vocab_size:
        raise InputError(
            f"the tokenizer gives token {largest} and the backbone embeds {config.vocab_size} tokens: they do not "
            "fit; check the checkpoint's tokenizer"
        )
    check_length(prompt, recipe.recommender.max_len, config.max_position_embeddings)
    reason = why_repeated(prompt, causal, options.gradient_checkpointing, processes.slice_models())
    return [f"the prompt is repeated for every user: {reason}"] if prompt.n_before and reason else []


def repeated_positions(recipe: RecipeOptions) -> int:
    """Returns the number of prompt tokens in every row of a training batch; a shared prefix does not count."""
    options = recipe.backbone
    prompt = prompt_tokens(recipe.prompt, options.checkpoint, options.revision)
    causal = architecture_named(empty_backbone(options).config).causal
    shared = why_repeated(prompt, causal, options.gradient_checkpointing, processes.slice_models()) is None
    return len(prompt.suffix) + (0 if shared else prompt.n_before)


def parameter_counts(model: Recommender) -> dict[str, int]:
    """Returns parameters by part; `total` is what is needed to answer a request, the item table included.

    Token embeddings count only where a prompt reads them. Parts that no readout reads never count. LoRA matrices do not
    count either, since export merges them. Learned prefix vectors count as input adapter.
    """
    embeddings = sum(value.numel() for value in model.backbone.get_input_embeddings().parameters())
    unread = sum(merged_size(part) for part in unread_parts(model.backbone))
    layers = merged_size(layers_of(model.backbone))
    reads_tokens = len(model.prefix) or len(model.suffix)
    backbone = merged_size(model.network) - unread - (0 if reads_tokens else embeddings)
    learned = 0 if model.prefix_vectors is None else model.prefix_vectors.weight.numel()
    counts = {
        "backbone": backbone,
        "layers": layers,
        "input_adapter": sum(value.numel() for value in model.input_adapter.parameters()) + learned,
        "head": sum(value.numel() for value in model.head.parameters()),
        "item_table": model.item_table.numel(),
        "trainable": sum(value.numel() for value in model.parameters() if value.requires_grad),
    }
    return {"total": sum(counts[name] for name in ("backbone", "input_adapter", "head", "item_table")), **counts}


def merged_size(module: torch.nn.Module) -> int:
    """Returns the number of parameters of a module once LoRA is merged."""
    return sum(_count(value) for name, value in module.named_parameters() if "lora_" not in name)


def _count(value: torch.nn.Parameter) -> int:
    """Counts the numbers in a parameter; with 4 bits, two of them are packed into each stored byte."""
    packed = getattr(value, "quant_state", None)
    return value.numel() if packed is None else prod(packed.shape)
