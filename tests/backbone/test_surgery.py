"""Layers: what a cut backbone computes, and that it survives saving and stock loading in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from layerprobe.backbone.architecture import architecture_named, final_norm_of
from layerprobe.backbone.hidden import captured_hidden
from layerprobe.backbone.load import BackboneOptions, count_layers, load_backbone
from layerprobe.backbone.selection import parse_selection
from layerprobe.backbone.truncate import truncate
from layerprobe.errors import InputError, UnsupportedArchitecture

OPTIONS = BackboneOptions(layers=4, hidden_size=16, intermediate_size=24, heads=2, max_positions=64)
INPUTS = torch.randn(3, 7, 16, generator=torch.Generator().manual_seed(1))
ROW, POS = torch.arange(3), torch.tensor([6, 2, 4])


def output(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(inputs_embeds=INPUTS, use_cache=False).last_hidden_state


@pytest.mark.parametrize("depth", range(5))
def test_prefix_cut_equals_the_final_norm_of_hidden(depth: int) -> None:
    full = load_backbone(OPTIONS)
    with captured_hidden(full, ROW, POS) as found:
        output(full)
    expected = final_norm_of(full)(found.stacked()[depth])
    cut = truncate(load_backbone(OPTIONS), parse_selection(f"first:{depth}", 4))
    torch.testing.assert_close(output(cut)[ROW, POS], expected, atol=1e-6, rtol=0)


def test_keeping_every_layer_changes_nothing() -> None:
    cut = truncate(load_backbone(OPTIONS), parse_selection("keep:0,1,2,3", 4))
    assert torch.equal(output(cut), output(load_backbone(OPTIONS)))


def test_hidden_0_is_the_input_and_hooks_are_removed() -> None:
    model = load_backbone(OPTIONS)
    with captured_hidden(model, ROW, POS) as found:
        output(model)
    assert torch.equal(found.stacked()[0], INPUTS[ROW, POS])
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_hidden_states_equal_those_of_the_library_before_its_final_norm() -> None:
    model = load_backbone(OPTIONS).eval()
    with captured_hidden(model, ROW, POS) as found, torch.no_grad():
        result = model(inputs_embeds=INPUTS, use_cache=False, output_hidden_states=True)
    for k in range(4):
        assert torch.equal(found.stacked()[k], result.hidden_states[k][ROW, POS])


@pytest.mark.parametrize("text", ["first:2", "keep:0,2", "keep:1,2,3", "first:0"])
def test_cut_backbone_reloads_with_stock_tools_in_a_fresh_process(text: str, tmp_path: Path) -> None:
    cut = truncate(load_backbone(OPTIONS), parse_selection(text, 4))
    cut.save_pretrained(tmp_path / "cut")
    (tmp_path / "inputs.json").write_text(json.dumps(INPUTS.tolist()))
    code = """
import json, sys, torch
from transformers import AutoModel
folder = sys.argv[1]
model, report = AutoModel.from_pretrained(folder + "/cut", output_loading_info=True)
inputs = torch.tensor(json.load(open(folder + "/inputs.json")))
with torch.no_grad():
    states = model.eval()(inputs_embeds=inputs, use_cache=False).last_hidden_state
print(json.dumps({"layers": len(model.layers), "parameters": sum(p.numel() for p in model.parameters()),
    "bad": [sorted(map(str, report[k])) for k in ("missing_keys", "unexpected_keys", "mismatched_keys")],
    "states": states.tolist()}))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["layers"] == len(parse_selection(text, 4).layers)
    assert found["parameters"] == sum(value.numel() for value in cut.parameters())
    assert found["bad"] == [[], [], []]
    torch.testing.assert_close(torch.tensor(found["states"]), output(cut), atol=1e-6, rtol=0)


def test_spaced_layers_are_renumbered_so_that_cached_decoding_equals_the_full_pass() -> None:
    cut = truncate(load_backbone(OPTIONS), parse_selection("keep:0,3", 4)).eval()
    assert [layer.self_attn.layer_idx for layer in cut.layers] == [0, 1]
    with torch.no_grad():
        first = cut(inputs_embeds=INPUTS[:, :5], use_cache=True)
        rest = cut(inputs_embeds=INPUTS[:, 5:], past_key_values=first.past_key_values, use_cache=True)
    torch.testing.assert_close(rest.last_hidden_state, output(cut)[:, 5:], atol=1e-6, rtol=0)


def test_shallower_models_start_from_the_same_weights() -> None:
    shallow = truncate(load_backbone(OPTIONS), parse_selection("first:2", 4))
    full = dict(load_backbone(OPTIONS).named_parameters())
    assert all(torch.equal(value, full[name]) for name, value in shallow.named_parameters())


def checkpoint(folder: Path) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=11, hidden_size=16, intermediate_size=24, num_hidden_layers=4, num_attention_heads=2,
        num_key_value_heads=1, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return model


def test_causal_checkpoint_loads_without_its_head_and_keep_cuts_it(tmp_path: Path) -> None:
    saved = checkpoint(tmp_path)
    options = BackboneOptions(checkpoint=str(tmp_path), keep="first:3")
    loaded = load_backbone(options)
    assert count_layers(options) == len(loaded.layers) == 3
    assert torch.equal(loaded.layers[2].mlp.up_proj.weight, saved.model.layers[2].mlp.up_proj.weight)
    assert not loaded.get_input_embeddings().weight.requires_grad


def _config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 6, "layer_types": None}, "says 6 layers and its weights hold 4"),
        ({"num_hidden_layers": 2, "layer_types": None}, "says 2 layers and its weights hold 4"),
        ({"intermediate_size": 48}, "shape"),
    ],
)
def test_checkpoints_that_disagree_with_their_config_are_refused(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    checkpoint(tmp_path)
    _config(tmp_path, **changes)
    with pytest.raises(InputError, match=message):
        load_backbone(BackboneOptions(checkpoint=str(tmp_path)))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: load_backbone(BackboneOptions(checkpoint=str(p / "absent"))), InputError, "config.json"),
        (lambda _p: BackboneOptions(hidden_size=15, heads=4), InputError, "multiple of heads"),
        (lambda _p: BackboneOptions(layers=0), InputError, "at least 1"),
        (lambda _p: BackboneOptions(attention_dropout=1.0), InputError, "lie in"),
        (lambda _p: truncate(load_backbone(OPTIONS), parse_selection("first:2", 6)), InputError, "6 layers"),
        (
            lambda _p: architecture_named(
                type("C", (), {"model_type": "mamba"})(), torch.nn.Sequential(torch.nn.Tanh())
            ),
            UnsupportedArchitecture,
            "0: Tanh",
        ),
    ],
)
def test_bad_input(make, error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        make(tmp_path)
