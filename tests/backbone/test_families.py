"""Every family of the table: what is cut computes what the kept layers compute, here and after a stock reload."""

from __future__ import annotations

import contextlib
import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import families
import pytest
import torch
from families import CAUSAL, FAMILIES, depth_of, hand_cut, layers_in, normed, run, stock, vectors
from safetensors.torch import load_file, save_file
from transformers import AutoModel, GPTJConfig, MambaConfig, PreTrainedModel

from layerprobe.backbone.architecture import ARCHITECTURES
from layerprobe.backbone.hidden import captured_hidden
from layerprobe.backbone.load import BackboneOptions, load_backbone
from layerprobe.backbone.selection import LayerSelection, parse_selection
from layerprobe.backbone.truncate import layers_kept, truncate
from layerprobe.errors import InputError, UnsupportedArchitecture

INPUTS = vectors()
ROW, POS = torch.tensor([0, 1, 2, 2]), torch.tensor([8, 2, 5, 0])
SELECTIONS = ("first:2", "keep:0,2", "keep:1,2,3", "first:0")
EXACT = {"atol": 0, "rtol": 0}
ROUNDING = {"atol": 2e-6, "rtol": 2e-6}
every_family = pytest.mark.parametrize("family", FAMILIES)


class Interrupted(BaseException):
    """Nothing inside may catch it."""


def selection_of(family: str, text: str) -> LayerSelection:
    return parse_selection(text, depth_of(family))


def cut(family: str, text: str) -> PreTrainedModel:
    return truncate(stock(family), selection_of(family, text))


def per_layer_lists(model: PreTrainedModel) -> dict[str, list[Any]]:
    return {name: list(getattr(model.config, name)) for name in families.PER_LAYER if hasattr(model.config, name)}


def layer_numbers(model: PreTrainedModel) -> list[set[int]]:
    """Per layer every number that a module inside it holds of itself."""
    return [
        {module.layer_idx for module in layer.modules() if getattr(module, "layer_idx", None) is not None}
        for layer in layers_in(model)
    ]


def test_the_table_holds_thirteen_families_and_each_is_tested() -> None:
    expected = "llama mistral qwen2 qwen3 gemma2 gemma3_text phi3 olmo2 smollm3 gpt2 gpt_neox opt bert"
    assert set(ARCHITECTURES) == set(FAMILIES) == set(expected.split())
    assert len(FAMILIES) == 13


@every_family
def test_the_tiny_models_tell_layers_positions_and_windows_apart(family: str) -> None:
    """Else the other tests would pass on models in which nothing matters."""
    model, depth = stock(family), depth_of(family)
    assert not any(value.std() == 0 for value in model.parameters())
    outputs = [run(hand_cut(family, keep), INPUTS) for keep in ([0, 1], [1, 2], [2, 3], [0, 2], range(depth))]
    assert all((a - b).abs().max() > 0.05 for i, a in enumerate(outputs) for b in outputs[:i])
    swapped = run(model, INPUTS[:, [1, 0, *range(2, 9)]])
    assert (swapped - outputs[-1])[:, -1].abs().max() > 1e-3
    if "sliding_window" in families.OWN[family]:
        changes = {"sliding_window": 64}
        wide = AutoModel.from_config(families.own_config(family, **changes)).eval()
        wide.load_state_dict(model.state_dict())
        assert (run(wide, INPUTS) - outputs[-1])[:, -1].abs().max() > 0.01


@every_family
def test_prefix_cut_reads_out_as_the_final_norm_of_hidden_at_every_depth(family: str) -> None:
    full = stock(family)
    with captured_hidden(full, ROW, POS) as found:
        run(full, INPUTS)
    states = found.stacked()
    assert len(states) == depth_of(family) + 1
    for k, state in enumerate(states):
        output = run(cut(family, f"first:{k}"), INPUTS)
        with torch.no_grad():
            torch.testing.assert_close(output[ROW, POS], normed(full, state), **ROUNDING)


@every_family
def test_hidden_states_are_those_of_the_library_before_its_final_norm(family: str) -> None:
    model, entered = stock(family), []
    handle = layers_in(model)[0].register_forward_pre_hook(
        lambda _m, args, named: entered.append(args[0] if args else named["hidden_states"]), with_kwargs=True
    )
    with captured_hidden(model, ROW, POS) as found, torch.no_grad():
        theirs = model(inputs_embeds=INPUTS, use_cache=False, output_hidden_states=True)
    handle.remove()
    states = found.stacked()
    assert torch.equal(states[0], entered[0][ROW, POS])
    before_norm = theirs.hidden_states if families.FINAL_NORM.get(family, "norm") is None else theirs.hidden_states[:-1]
    assert len(before_norm) >= depth_of(family)
    for k, state in enumerate(before_norm):
        assert torch.equal(states[k], state[ROW, POS])
    with torch.no_grad():
        torch.testing.assert_close(normed(model, states[-1]), theirs.last_hidden_state[ROW, POS], **EXACT)


@every_family
def test_hooks_are_removed_also_after_an_error(family: str) -> None:
    model = stock(family)
    with contextlib.suppress(Interrupted), captured_hidden(model, ROW, POS):
        run(model, INPUTS)
        raise Interrupted
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


@every_family
def test_keeping_every_layer_changes_nothing(family: str) -> None:
    kept = truncate(stock(family), selection_of(family, f"keep:0-{depth_of(family) - 1}"))
    assert torch.equal(run(kept, INPUTS), run(stock(family), INPUTS))
    assert kept.config.to_dict() == stock(family).config.to_dict()


@every_family
@pytest.mark.parametrize("text", ["keep:0,2", "keep:1,2,3", "keep:1,3", "first:0"])
def test_a_cut_equals_a_stock_model_of_a_config_cut_by_hand(family: str, text: str) -> None:
    made, by_hand = cut(family, text), hand_cut(family, selection_of(family, text).layers)
    torch.testing.assert_close(run(made, INPUTS), run(by_hand, INPUTS), **EXACT)
    assert [name for name, _ in made.named_parameters()] == [name for name, _ in by_hand.named_parameters()]


@every_family
@pytest.mark.parametrize("text", SELECTIONS)
def test_config_lists_and_layer_numbers_are_cut_together(family: str, text: str) -> None:
    layers = selection_of(family, text).layers
    made = cut(family, text)
    assert made.config.num_hidden_layers == len(layers_in(made)) == len(layers)
    own = families.OWN[family]
    assert per_layer_lists(made) == {
        name: [own[name][layer] for layer in layers] for name in families.PER_LAYER if name in own
    }
    assert layer_numbers(made) == [{index} for index in range(len(layers))]


RELOAD = """
import sys, torch
from pathlib import Path
from safetensors.torch import load_file, save_file
from transformers import AutoModel
folder, found = Path(sys.argv[1]), {}
inputs = load_file(folder / "inputs.safetensors")["inputs"]
for path in sorted(folder.glob("*/*/config.json")):
    model, report = AutoModel.from_pretrained(path.parent, output_loading_info=True)
    name = f"{path.parent.parent.name} {path.parent.name}"
    with torch.no_grad():
        found[name] = model.eval()(inputs_embeds=inputs, use_cache=False).last_hidden_state.contiguous()
    misfits = sum(len(report[key]) for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    parameters = sum(value.numel() for value in model.parameters())
    found[name + " counts"] = torch.tensor([model.config.num_hidden_layers, parameters, misfits])
save_file(found, folder / "found.safetensors")
"""


def test_every_cut_reloads_with_stock_tools_in_a_fresh_process(tmp_path: Path) -> None:
    made = {(family, text): cut(family, text) for family in FAMILIES for text in SELECTIONS}
    for (family, text), model in made.items():
        model.save_pretrained(tmp_path / family / text)
    save_file({"inputs": INPUTS}, tmp_path / "inputs.safetensors")
    subprocess.run([sys.executable, "-W", "ignore", "-c", RELOAD, str(tmp_path)], check=True, capture_output=True)
    found = load_file(tmp_path / "found.safetensors")
    assert len(found) == 2 * 13 * 4
    for (family, text), model in made.items():
        parameters = sum(value.numel() for value in model.parameters())
        assert found[f"{family} {text} counts"].tolist() == [len(selection_of(family, text).layers), parameters, 0]
        torch.testing.assert_close(found[f"{family} {text}"], run(model, INPUTS), **ROUNDING, msg=f"{family} {text}")


@pytest.mark.parametrize("family", CAUSAL)
@pytest.mark.parametrize("text", ["keep:0,2", "keep:1,3", "keep:1,2,3"])
def test_cached_decoding_of_a_spaced_cut_equals_the_full_pass(family: str, text: str) -> None:
    made, cache, parts = cut(family, text), None, []
    for chunk in (INPUTS[:, :5], INPUTS[:, 5:7], INPUTS[:, 7:8], INPUTS[:, 8:]):
        with torch.no_grad():
            found = made(inputs_embeds=chunk, past_key_values=cache, use_cache=True)
        cache = found.past_key_values
        parts.append(found.last_hidden_state)
    torch.testing.assert_close(torch.cat(parts, 1), run(made, INPUTS), atol=1e-5, rtol=1e-5)
    assert len(cache.layers) == len(layers_in(made))


@every_family
@pytest.mark.parametrize(
    ("block", "kept", "raises"),
    [
        (lambda m: layers_kept(m, parse_selection("keep:1,2", len(layers_in(m)))), [1, 2], True),
        (lambda m: layers_kept(m, parse_selection("first:0", len(layers_in(m)))), [], False),
        (lambda m: layers_kept(m, parse_selection("drop:2", len(layers_in(m)))), None, True),
        (lambda m: layers_kept(m, parse_selection("drop:2", len(layers_in(m)))), None, False),
    ],
    ids=["keep raises", "nothing kept", "removed raises", "removed"],
)
def test_a_block_with_fewer_layers_restores_everything(
    block: Callable[..., Any], kept: list[int] | None, raises: bool, family: str
) -> None:
    model = stock(family)
    layers, config = list(layers_in(model)), copy.deepcopy(model.config.to_dict())
    state = {name: value.clone() for name, value in model.state_dict().items()}
    output = run(model, INPUTS)
    expected = hand_cut(family, [i for i in range(len(layers)) if i != 2] if kept is None else kept)
    with contextlib.suppress(Interrupted), block(model):
        assert torch.equal(run(model, INPUTS), run(expected, INPUTS))
        if raises:
            raise Interrupted
    assert all(a is b for a, b in zip(layers_in(model), layers, strict=True))
    assert model.config.to_dict() == config
    assert layer_numbers(model) == [{index} for index in range(len(layers))]
    after = model.state_dict()
    assert list(after) == list(state)
    assert all(torch.equal(after[name], value) for name, value in state.items())
    assert torch.equal(run(model, INPUTS), output)


@every_family
@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_with_one_entry_per_layer_that_the_table_does_not_name_is_refused(family: str, kind: type) -> None:
    model = stock(family)
    model.config.block_strengths = kind(range(depth_of(family)))
    before = copy.deepcopy(model.config.to_dict())
    with pytest.raises(UnsupportedArchitecture, match="block_strengths has one entry for each of") as caught:
        truncate(model, selection_of(family, "first:2"))
    assert "\n" not in str(caught.value)
    assert model.config.to_dict() == before
    assert len(layers_in(model)) == depth_of(family)


def scaled_gpt2() -> PreTrainedModel:
    torch.manual_seed(0)
    return families.shaken(AutoModel.from_config(families.own_config("gpt2", scale_attn_by_inverse_layer_idx=True)))


@pytest.mark.parametrize("text", ["keep:0,2", "keep:1,2,3", "last:2", "drop:0"])
def test_layers_that_scale_by_their_index_cannot_move(text: str) -> None:
    model = scaled_gpt2()
    with pytest.raises(UnsupportedArchitecture, match="scale_attn_by_inverse_layer_idx scales each layer by its index"):
        truncate(model, parse_selection(text, 4))
    assert model.config.num_hidden_layers == len(model.h) == 4


def test_layers_that_scale_by_their_index_can_be_cut_behind(tmp_path: Path) -> None:
    full = scaled_gpt2()
    with captured_hidden(full, ROW, POS) as found:
        run(full, INPUTS)
    made = truncate(full, parse_selection("keep:0,1,2", 4))
    made.save_pretrained(tmp_path)
    for model in (made, AutoModel.from_pretrained(tmp_path).eval(), load_backbone(BackboneOptions(str(tmp_path)))):
        with torch.no_grad():
            expected = model.ln_f(found.stacked()[3])
        torch.testing.assert_close(run(model, INPUTS)[ROW, POS], expected, **ROUNDING)


REFUSED = [
    ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention: True is not supported"),
    ("gemma3_text", {"use_bidirectional_attention": True}, "its decoder layers look ahead"),
    ("opt", {"layerdrop": 0.1}, "layerdrop: 0.1 is not supported: it skips layers at random"),
    ("gpt2", {"add_cross_attention": True}, "its layers read a second sequence"),
    ("bert", {"add_cross_attention": True, "is_decoder": True}, "its layers read a second sequence"),
    ("opt", {"do_layer_norm_before": False}, "do_layer_norm_before: False is not supported"),
    ("opt", {"_remove_final_layer_norm": True}, "its final norm is taken out"),
    ("opt", {"word_embed_proj_dim": 8}, "opt must embed in its own width, 16; word_embed_proj_dim is 8"),
    ("bert", {"is_decoder": True}, "bert is supported as an encoder; is_decoder is true"),
]


@pytest.mark.parametrize(("family", "changes", "message"), REFUSED)
def test_a_switch_that_changes_what_layers_compute_is_refused_in_memory_and_on_disk(
    family: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    model = AutoModel.from_config(families.own_config(family, **changes))
    model.save_pretrained(tmp_path)
    for refused in (
        lambda: truncate(model, selection_of(family, "first:2")),
        lambda: load_backbone(BackboneOptions(str(tmp_path))),
        lambda: load_backbone(BackboneOptions(str(tmp_path)), selection_of(family, "first:1")),
    ):
        with pytest.raises(UnsupportedArchitecture) as caught:
            refused()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


UNKNOWN = [
    (
        MambaConfig(vocab_size=11, hidden_size=16, num_hidden_layers=2, state_size=4, expand=1),
        ["'mamba'", "embeddings: Embedding", "layers: ModuleList", "norm_f: MambaRMSNorm"],
    ),
    (
        GPTJConfig(vocab_size=11, n_embd=16, n_layer=2, n_head=2, rotary_dim=4),
        ["'gptj'", "wte: Embedding", "h.0: GPTJBlock", "ln_f: LayerNorm"],
    ),
]


@pytest.mark.parametrize(("config", "parts"), UNKNOWN, ids=["mamba", "gptj"])
def test_an_unknown_family_is_refused_with_its_module_tree(config: Any, parts: list[str], tmp_path: Path) -> None:
    model = AutoModel.from_config(config)
    model.save_pretrained(tmp_path)
    for refused in (
        lambda: truncate(model, parse_selection("first:1", 2)),
        lambda: load_backbone(BackboneOptions(str(tmp_path))),
    ):
        with pytest.raises(UnsupportedArchitecture) as caught:
            refused()
        assert [part for part in [*parts, "must be one of llama, mistral"] if part not in str(caught.value)] == []
        assert "\n" not in str(caught.value)


def test_a_selection_of_another_depth_is_refused_and_changes_nothing() -> None:
    model = stock("llama")
    with pytest.raises(InputError, match="resolved for 6 layers; the model has 4"):
        truncate(model, parse_selection("first:2", 6))
    assert torch.equal(run(model, INPUTS), run(stock("llama"), INPUTS))


def test_a_per_layer_list_longer_than_the_depth_is_cut_by_index(tmp_path: Path) -> None:
    # The library allows no_rope_layers "with at least the same length as the number of layers".
    config = families.own_config("smollm3", no_rope_layers=[1, 0, 1, 1, 0, 1, 1, 1])
    model = families.shaken(AutoModel.from_config(config))
    truncate(model, parse_selection("keep:0,2", 6)).save_pretrained(tmp_path)
    assert model.config.no_rope_layers == [1, 1]
    torch.testing.assert_close(run(AutoModel.from_pretrained(tmp_path).eval(), INPUTS), run(model, INPUTS), **EXACT)
