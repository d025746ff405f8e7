"""The architecture table: where a family keeps its layers, final norm, positions and per-layer config entries.

No other code depends on the family. An unknown one is an error that prints the module tree, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from layerprobe.errors import UnsupportedArchitecture


@dataclass(frozen=True)
class Architecture:
    """Names inside a Hugging Face backbone of one family (token embeddings: every model names its own).

    Attributes:
        model_type: `config.model_type` of the family.
        layers: attribute path of the module list of layers; its parent runs them.
        final_norm: attribute path of the norm after the last layer; None where layers end normed, as in BERT.
        positions: attribute path of the module that knows positions: rotary parts or learned vectors.
        per_layer_config: config entries that are lists with one value per layer.
        lora_targets: names of linear maps by role (`attention`, `mlp`), inside a layer.
        attention_dropout: config entry of the dropout on attention weights.
        hidden_dropout: config entries of every other dropout.
        causal: whether a position sees earlier positions only. Without it a prompt cannot be shared between users
            (its states depend on their items), targets at every position would leak, and padding must be masked.
        index_bound: config switches that tie a layer's arithmetic to its index, so that it cannot move.
        dropped: beginnings of the names of weights that a checkpoint may hold beside the backbone: its heads.
        unread: attribute paths of stock parts that no readout reads; kept for stock loaders, frozen, not counted.
        shape: names of this family's config entries where they differ from those of `BackboneOptions`.
    """

    model_type: str
    layers: str = "layers"
    final_norm: str | None = "norm"
    positions: str = "rotary_emb"
    per_layer_config: tuple[str, ...] = ("layer_types",)
    lora_targets: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: {
            "attention": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
            "mlp": ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
        }
    )
    attention_dropout: str = "attention_dropout"
    hidden_dropout: tuple[str, ...] = ()
    causal: bool = True
    index_bound: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ("lm_head.",)
    unread: tuple[str, ...] = ()
    shape: dict[str, str] = field(default_factory=dict)


LLAMA = Architecture("llama")
ARCHITECTURES = {
    architecture.model_type: architecture
    for architecture in (
        LLAMA,
        replace(LLAMA, model_type="mistral"),
        replace(LLAMA, model_type="qwen2"),
        replace(LLAMA, model_type="qwen3"),
        replace(LLAMA, model_type="gemma2"),
        replace(LLAMA, model_type="gemma3_text"),
        replace(LLAMA, model_type="olmo2"),
        replace(LLAMA, model_type="smollm3", per_layer_config=("layer_types", "no_rope_layers")),
        replace(
            LLAMA,
            model_type="phi3",
            lora_targets={
                "attention": ("self_attn.qkv_proj", "self_attn.o_proj"),
                "mlp": ("mlp.gate_up_proj", "mlp.down_proj"),
            },
            hidden_dropout=("resid_pdrop", "embd_pdrop"),
        ),
        Architecture(
            model_type="gpt2",
            layers="h",
            final_norm="ln_f",
            positions="wpe",
            lora_targets={"attention": ("attn.c_attn", "attn.c_proj"), "mlp": ("mlp.c_fc", "mlp.c_proj")},
            attention_dropout="attn_pdrop",
            hidden_dropout=("resid_pdrop", "embd_pdrop"),
            index_bound=("scale_attn_by_inverse_layer_idx",),
            shape={"intermediate_size": "n_inner"},
        ),
        Architecture(
            model_type="gpt_neox",
            final_norm="final_layer_norm",
            lora_targets={
                "attention": ("attention.query_key_value", "attention.dense"),
                "mlp": ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
            },
            hidden_dropout=("hidden_dropout",),
            dropped=("lm_head.", "embed_out."),
        ),
        Architecture(
            model_type="opt",
            layers="decoder.layers",
            final_norm="decoder.final_layer_norm",
            positions="decoder.embed_positions",
            lora_targets={
                "attention": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"),
                "mlp": ("fc1", "fc2"),
            },
            hidden_dropout=("dropout",),
            shape={"intermediate_size": "ffn_dim"},
        ),
        Architecture(
            model_type="bert",
            layers="encoder.layer",
            final_norm=None,
            positions="embeddings.position_embeddings",
            lora_targets={
                "attention": (
                    "attention.self.query",
                    "attention.self.key",
                    "attention.self.value",
                    "attention.output.dense",
                ),
                "mlp": ("intermediate.dense", "output.dense"),
            },
            attention_dropout="attention_probs_dropout_prob",
            hidden_dropout=("hidden_dropout_prob",),
            causal=False,
            dropped=("cls.",),
            unread=("pooler",),
        ),
    )
}

REFUSED_VALUES: tuple[tuple[str, Any, str], ...] = (
    ("use_bidirectional_attention", (None, False), "its decoder layers look ahead"),
    ("is_causal", (None, True), "its decoder layers look ahead"),
    ("layerdrop", (None, 0), "it skips layers at random in training, so its depth is not one number"),
    ("add_cross_attention", (None, False), "its layers read a second sequence"),
    ("do_layer_norm_before", (None, True), "it has no final norm, so its states cannot be read alike"),
    ("_remove_final_layer_norm", (None, False), "its final norm is taken out"),
)
"""Config entries with the values that are understood; any other changes what the layers compute."""


def architecture_of(model: PreTrainedModel) -> Architecture:
    """Returns the table's entry for a loaded model.

    Raises:
        UnsupportedArchitecture: the family is not in the table; the message holds the top of the module tree.
    """
    return architecture_named(model.config, model)


def architecture_named(config: PretrainedConfig, model: nn.Module | None = None) -> Architecture:
    """Returns the table's entry for a config; `model`, where it exists already, is shown in the error.

    Raises:
        UnsupportedArchitecture: the family is not in the table, or a switch of the config makes it another one.
    """
    architecture = ARCHITECTURES.get(config.model_type)
    if architecture is None:
        tree = (
            "" if model is None else "; its modules: " + ", ".join(f"{n}: {type(m).__name__}" for n, m in _top(model))
        )
        raise UnsupportedArchitecture(
            f"the backbone's family must be one of {', '.join(ARCHITECTURES)}; got {config.model_type!r}{tree}; "
            "to add it, describe it in layerprobe/backbone/architecture.py (CONTRIBUTING.md, How to add)"
        )
    for name, understood, reason in REFUSED_VALUES:
        value = getattr(config, name, None)
        if value not in understood:
            raise UnsupportedArchitecture(f"{architecture.model_type} with {name}: {value} is not supported: {reason}")
    if getattr(config, "quantization_config", None) is not None:
        raise UnsupportedArchitecture(
            "the checkpoint must hold plain weights, and its config.json has a quantization_config: use the original "
            "checkpoint, with backbone.quantize if it has to be small"
        )
    # OPT 350M takes narrower vectors and projects them, so item vectors of the hidden width would not fit.
    if getattr(config, "word_embed_proj_dim", config.hidden_size) != config.hidden_size:
        raise UnsupportedArchitecture(
            f"{architecture.model_type} must embed in its own width, {config.hidden_size}; "
            f"word_embed_proj_dim is {config.word_embed_proj_dim}"
        )
    if architecture.causal is False and getattr(config, "is_decoder", False):
        raise UnsupportedArchitecture(f"{architecture.model_type} is supported as an encoder; is_decoder is true")
    return architecture


def _top(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in model.named_modules() if name and name.count(".") < 2][:20]


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """Returns the model's own list of layers."""
    layers = model.get_submodule(architecture_of(model).layers)
    assert isinstance(layers, nn.ModuleList)
    return layers


def final_norm_of(model: PreTrainedModel) -> nn.Module:
    """Returns the norm after the last layer; the identity where layers end normed."""
    path = architecture_of(model).final_norm
    return nn.Identity() if path is None else model.get_submodule(path)


def unread_parts(model: PreTrainedModel) -> list[nn.Module]:
    """Returns the parts of the stock model that no readout reads, such as BERT's pooler."""
    return [model.get_submodule(path) for path in architecture_of(model).unread]
