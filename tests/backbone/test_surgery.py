"""Backbones built from a shape: the shape asked for, in every family, and layers that start alike at every depth."""

from __future__ import annotations

import pytest
import torch
from families import FAMILIES, layers_in, run, vectors
from transformers import PreTrainedModel

from layerprobe.backbone.load import BackboneOptions, count_layers, load_backbone
from layerprobe.backbone.selection import parse_selection

every_family = pytest.mark.parametrize("family", FAMILIES)


def shape(family: str, **changes: object) -> BackboneOptions:
    entries = {"layers": 4, "hidden_size": 16, "intermediate_size": 24, "heads": 2, "max_positions": 32}
    return BackboneOptions(family=family, **(entries | changes))


def build(family: str, selection: str | None = None, **changes: object) -> PreTrainedModel:
    return load_backbone(shape(family, **changes), None if selection is None else parse_selection(selection, 4))


@every_family
def test_a_shape_is_built_as_asked(family: str) -> None:
    model = build(family)
    config = model.config
    assert (config.model_type, config.num_hidden_layers, config.hidden_size) == (family, 4, 16)
    assert (config.num_attention_heads, config.max_position_embeddings) == (2, 32)
    assert count_layers(shape(family)) == len(layers_in(model)) == 4
    assert any(24 in value.shape or 48 in value.shape for value in layers_in(model).parameters())
    assert run(model, vectors(2, 32)).isfinite().all()
    # Embeddings are one row, never read, and frozen.
    assert model.get_input_embeddings().weight.shape == (1, 16)
    assert not model.get_input_embeddings().weight.requires_grad


@every_family
@pytest.mark.parametrize(("selection", "kept"), [("first:2", (0, 1)), ("keep:1,3", (1, 3)), ("first:0", ())])
def test_a_layer_of_a_shape_starts_alike_at_every_depth(family: str, selection: str, kept: tuple[int, ...]) -> None:
    full, cut = build(family), build(family, selection)
    assert len(layers_in(cut)) == len(kept)
    for layer, own in zip(kept, layers_in(cut), strict=True):
        expected = dict(layers_in(full)[layer].named_parameters())
        assert all(torch.equal(value, expected[name]) for name, value in own.named_parameters())
    outside = {name: value for name, value in full.named_parameters() if name in dict(cut.named_parameters())}
    around = [name for name in outside if not name.startswith(("layers.", "h.", "decoder.layers.", "encoder.layer."))]
    assert around
    assert all(torch.equal(outside[name], dict(cut.named_parameters())[name]) for name in around)


@every_family
def test_a_shape_is_drawn_from_its_seed_with_its_spread(family: str) -> None:
    def drawn(**changes: object) -> torch.Tensor:
        matrices = [value.flatten() for value in layers_in(build(family, **changes)).parameters() if value.dim() == 2]
        return torch.cat(matrices)

    assert torch.equal(drawn(), drawn())
    assert not torch.equal(drawn(), drawn(init_seed=1))
    assert (drawn(init_std=0.2).std() / drawn(init_std=0.02).std()).item() == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize(
    "family", ["llama", "mistral", "qwen2", "qwen3", "gemma2", "phi3", "olmo2", "smollm3", "gpt_neox"]
)
def test_the_rotary_base_of_a_shape_is_the_one_asked_for(family: str) -> None:
    near, far = build(family, rope_theta=20.0), build(family, rope_theta=10000.0)
    assert near.config.rope_parameters["rope_theta"] == 20.0
    assert not torch.equal(near.rotary_emb.inv_freq, far.rotary_emb.inv_freq) or len(near.rotary_emb.inv_freq) == 1
