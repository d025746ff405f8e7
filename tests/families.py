"""Tiny stock models of every family, made from transformers' own config classes, none of them at a symmetric start.

Each family carries what makes it itself: mixed layer types with a window shorter than the inputs, layers without rotary
positions, grouped key-value heads, biases, its own rotary scheme. Every weight is moved by seeded noise.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PretrainedConfig,
    PreTrainedModel,
)

WIDTH, INNER, HEADS, VOCABULARY, WINDOW, POSITIONS = 16, 24, 2, 13, 4, 64
FULL, SLIDING = "full_attention", "sliding_attention"
PERIODIC = {"rope_type": "default", "rope_theta": 40.0}
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": 4,
    "num_attention_heads": HEADS,
    "max_position_embeddings": POSITIONS,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
GROUPED = {"num_key_value_heads": 1, "rope_parameters": PERIODIC}
WINDOWED = {"use_sliding_window": True, "sliding_window": WINDOW, "layer_types": [FULL, SLIDING, SLIDING, FULL]}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 40.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
TWO_BASES = {SLIDING: {"rope_type": "default", "rope_theta": 10.0}, FULL: {"rope_type": "default", "rope_theta": 90.0}}
OWN: dict[str, dict[str, Any]] = {
    "llama": GROUPED | {"rope_parameters": LLAMA3, "attention_bias": True, "mlp_bias": True},
    "mistral": GROUPED | {"sliding_window": WINDOW},
    "qwen2": GROUPED | WINDOWED,
    "qwen3": GROUPED | WINDOWED | {"head_dim": 12},
    "gemma2": GROUPED
    | {"sliding_window": WINDOW, "layer_types": [SLIDING, FULL, SLIDING, FULL], "head_dim": 12}
    | {"query_pre_attn_scalar": 12, "attn_logit_softcapping": 4.0},
    "gemma3_text": GROUPED
    | {"num_hidden_layers": 6, "sliding_window": WINDOW, "head_dim": 12, "query_pre_attn_scalar": 12}
    | {"rope_parameters": TWO_BASES, "layer_types": [SLIDING, SLIDING, SLIDING, FULL, SLIDING, FULL]},
    "phi3": GROUPED | {"sliding_window": WINDOW, "rope_parameters": PERIODIC | {"partial_rotary_factor": 0.5}},
    "olmo2": GROUPED,
    "smollm3": GROUPED
    | {"num_hidden_layers": 6, "no_rope_layers": [1, 0, 1, 1, 0, 1], "use_sliding_window": True}
    | {"sliding_window": WINDOW, "layer_types": [FULL, SLIDING, SLIDING, FULL, FULL, SLIDING]},
    "gpt2": {"n_inner": INNER},
    "gpt_neox": {"rope_parameters": PERIODIC | {"partial_rotary_factor": 0.5}},
    "opt": {"ffn_dim": INNER, "word_embed_proj_dim": WIDTH},
    "bert": {},
}
FAMILIES = tuple(OWN)
CAUSAL = tuple(name for name in FAMILIES if name != "bert")
PER_LAYER = ("layer_types", "no_rope_layers")
LAYERS = {"gpt2": "h", "opt": "decoder.layers", "bert": "encoder.layer"}
FINAL_NORM = {"gpt2": "ln_f", "gpt_neox": "final_layer_norm", "opt": "decoder.final_layer_norm", "bert": None}


def own_config(family: str, **changes: Any) -> PretrainedConfig:
    """Returns the family's config."""
    entries = {**SHAPE, **OWN[family]}
    if family in ("gpt2", "opt"):
        del entries["intermediate_size"]
    return AutoConfig.for_model(family, **copy.deepcopy({**entries, **changes}))


def shaken(model: PreTrainedModel, seed: int = 0) -> PreTrainedModel:
    """Moves every weight by seeded noise, so that no norm is 1, no bias 0 and no two layers alike."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.2 * torch.randn(value.shape, generator=generator).to(value.dtype))
    return model.eval()


@functools.cache
def _stock(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return shaken(AutoModel.from_config(own_config(family)))


def stock(family: str) -> PreTrainedModel:
    """Returns a fresh copy of the family's bare model, in evaluation mode."""
    return copy.deepcopy(_stock(family))


def with_head(family: str, **changes: Any) -> PreTrainedModel:
    """Returns a causal or, for BERT, masked language model of the family, in evaluation mode."""
    torch.manual_seed(1)
    kind = AutoModelForMaskedLM if family == "bert" else AutoModelForCausalLM
    return shaken(kind.from_config(own_config(family, **changes)), 1)


def depth_of(family: str) -> int:
    """Returns the number of layers of the family's model."""
    return OWN[family].get("num_hidden_layers", SHAPE["num_hidden_layers"])


def layers_in(model: PreTrainedModel) -> torch.nn.ModuleList:
    """Returns the layers, by a table of this file."""
    return model.get_submodule(LAYERS.get(model.config.model_type, "layers"))


def normed(model: PreTrainedModel, states: torch.Tensor) -> torch.Tensor:
    """Returns states through the final norm, by a table of this file."""
    path = FINAL_NORM.get(model.config.model_type, "norm")
    return states if path is None else model.get_submodule(path)(states)


def hand_cut(family: str, layers: Sequence[int]) -> PreTrainedModel:
    """Returns a stock model built anew from a config cut by hand, with the kept layers' weights copied by name."""
    lists = {name: [OWN[family][name][i] for i in layers] for name in PER_LAYER if name in OWN[family]}
    made = AutoModel.from_config(own_config(family, num_hidden_layers=len(layers), **lists)).eval()
    pattern = re.compile(rf"^{re.escape(LAYERS.get(family, 'layers'))}\.(\d+)\.(.*)$")
    place = {layer: index for index, layer in enumerate(layers)}
    state = {}
    for name, value in _stock(family).state_dict().items():
        found = pattern.match(name)
        if found is None:
            state[name] = value
        elif int(found[1]) in place:
            state[f"{LAYERS.get(family, 'layers')}.{place[int(found[1])]}.{found[2]}"] = value
    made.load_state_dict(state, strict=True)
    return made


def vectors(n_rows: int = 3, n_positions: int = 9, seed: int = 1) -> torch.Tensor:
    """Returns seeded input vectors, longer than the window."""
    return torch.randn(n_rows, n_positions, WIDTH, generator=torch.Generator().manual_seed(seed))


def run(model: PreTrainedModel, inputs: torch.Tensor, **arguments: Any) -> torch.Tensor:
    """Returns the model's last hidden state of input vectors, without a cache."""
    with torch.no_grad():
        return model(inputs_embeds=inputs.to(model.dtype), use_cache=False, **arguments).last_hidden_state
