"""How a backbone starts and is held: random layers in a checkpoint's shape, precision, attention, recomputation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import families
import pytest
import torch
from families import FAMILIES, depth_of, layers_in, run, vectors
from transformers import AutoModel, PreTrainedModel

from layerprobe.backbone.hidden import captured_hidden
from layerprobe.backbone.load import BackboneOptions, count_layers, load_backbone
from layerprobe.backbone.selection import parse_selection
from layerprobe.errors import InputError

INPUTS = vectors()
every_family = pytest.mark.parametrize("family", FAMILIES)
Saved = Callable[[str], Path]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Returns the folder of a family's bare checkpoint, written once; read only."""
    folders: dict[str, Path] = {}

    def write(family: str) -> Path:
        if family not in folders:
            folders[family] = tmp_path_factory.mktemp(family)
            families.stock(family).save_pretrained(folders[family])
        return folders[family]

    return write


def load(folder: Path, selection: str | None = None, **options: Any) -> PreTrainedModel:
    made = BackboneOptions(checkpoint=str(folder), **options)
    return load_backbone(made, None if selection is None else parse_selection(selection, count_layers(made)))


def same(ours: torch.nn.Module, theirs: torch.nn.Module) -> bool:
    expected = dict(theirs.named_parameters())
    return all(torch.equal(value, expected[name]) for name, value in ours.named_parameters())


@every_family
def test_random_weights_have_the_checkpoints_shape_and_none_of_its_values(family: str, saved: Saved) -> None:
    own, drawn = load(saved(family)), load(saved(family), init="random")
    ours, theirs = dict(own.named_parameters()), dict(drawn.named_parameters())
    assert {name: value.shape for name, value in ours.items()} == {n: value.shape for n, value in theirs.items()}
    assert not any(torch.equal(value, ours[name]) for name, value in theirs.items())
    assert same(drawn, load(saved(family), init="random"))
    other = dict(load(saved(family), init="random", init_seed=1).named_parameters())
    assert all(not torch.equal(value, other[name]) for name, value in theirs.items() if value.std() > 0)


@every_family
@pytest.mark.parametrize("selection", ["first:1", "keep:1,3", "last:2", "first:0"])
def test_a_random_layer_starts_alike_whatever_else_is_kept(family: str, selection: str, saved: Saved) -> None:
    whole, cut = load(saved(family), init="random"), load(saved(family), selection, init="random")
    kept = parse_selection(selection, depth_of(family)).layers
    assert all(same(layer, layers_in(whole)[i]) for i, layer in zip(kept, layers_in(cut), strict=True))


@every_family
def test_random_embeddings_and_positions_start_alike_whatever_is_kept(family: str, saved: Saved) -> None:
    whole, cut = load(saved(family), init="random"), load(saved(family), "keep:1,3", init="random")
    path = families.LAYERS.get(family, "layers")
    expected = dict(whole.named_parameters())
    outside = {name: value for name, value in cut.named_parameters() if not name.startswith(f"{path}.")}
    assert all(torch.equal(value, expected[name]) for name, value in outside.items())


@every_family
@pytest.mark.parametrize("selection", [None, "first:1"])
def test_random_layers_have_the_spread_of_the_stock_start(family: str, selection: str | None, saved: Saved) -> None:
    torch.manual_seed(0)
    expected = dict(layers_in(AutoModel.from_config(families.own_config(family)))[0].named_parameters())
    drawn = layers_in(load(saved(family), selection, init="random"))[0]
    for name, value in drawn.named_parameters():
        assert value.std().item() == pytest.approx(expected[name].std().item(), rel=0.25), name


def test_random_and_own_layers_leave_the_callers_random_stream_alone(saved: Saved) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    for init in ("random", "pretrained"):
        torch.manual_seed(3)
        load(saved("bert"), "keep:1", init=init)
        assert torch.rand(1) == expected


@every_family
def test_bfloat16_weights_are_the_rounded_ones_and_hidden_states_are_float32(family: str, saved: Saved) -> None:
    full, half = load(saved(family)), load(saved(family), dtype="bfloat16")
    expected = dict(full.named_parameters())
    for name, value in half.named_parameters():
        assert value.dtype == torch.bfloat16
        assert torch.equal(value, expected[name].bfloat16())
    row, pos = torch.tensor([0, 2]), torch.tensor([8, 3])
    with captured_hidden(half, row, pos) as found:
        output = run(half, INPUTS)
    assert output.dtype == torch.bfloat16
    assert found.stacked().dtype == torch.float32
    assert (output.float() - run(full, INPUTS)).abs().mean() < 0.1


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "gemma2"])
def test_eager_and_sdpa_attention_give_the_same_numbers(family: str, saved: Saved) -> None:
    expected = run(load(saved(family)), INPUTS)
    for attention in ("eager", "sdpa"):
        found = load(saved(family), "keep:0-" + str(depth_of(family) - 1), attention=attention)
        assert found.config._attn_implementation == attention
        torch.testing.assert_close(run(found, INPUTS), expected, atol=1e-5, rtol=1e-5)


@every_family
def test_recomputed_layers_give_the_same_loss_and_gradients(family: str, saved: Saved) -> None:
    found = []
    for checkpointing in (False, True):
        model = load(saved(family), "keep:0,2", gradient_checkpointing=checkpointing).train()
        loss = model(inputs_embeds=INPUTS, use_cache=False).last_hidden_state.square().mean()
        loss.backward()
        gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
        found.append((loss.detach(), gradients))
        assert len(gradients) > 10
    assert found[0][0] == found[1][0]
    assert set(found[0][1]) == set(found[1][1])
    for name, value in found[0][1].items():
        torch.testing.assert_close(value, found[1][1][name], atol=1e-7, rtol=1e-5)


def test_recomputed_layers_really_run_twice(saved: Saved) -> None:
    model = load(saved("llama"), gradient_checkpointing=True).train()
    calls: list[int] = []
    # The second run stops before its end, once all that the gradient needs is there again.
    model.layers[1].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    model(inputs_embeds=INPUTS, use_cache=False).last_hidden_state.sum().backward()
    assert len(calls) == 2


@every_family
def test_dropouts_are_those_of_the_options_whatever_the_checkpoint_says(family: str, tmp_path: Path) -> None:
    families.stock(family).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    known = json.loads(path.read_text())
    path.write_text(
        json.dumps({name: 0.5 if "drop" in name and name != "layerdrop" else known[name] for name in known})
    )
    model = load(tmp_path).train()
    once, again = (model(inputs_embeds=INPUTS, use_cache=False).last_hidden_state for _ in range(2))
    assert torch.equal(once, again)
    model = load(tmp_path, attention_dropout=0.4).train()
    once, again = (model(inputs_embeds=INPUTS, use_cache=False).last_hidden_state for _ in range(2))
    assert not torch.equal(once, again)


@every_family
def test_buffers_such_as_rotary_frequencies_keep_their_precision(family: str, saved: Saved) -> None:
    full = dict(load(saved(family)).named_buffers())
    half = dict(load(saved(family), dtype="bfloat16").named_buffers())
    assert half.keys() == full.keys()
    for name, value in half.items():
        assert torch.equal(value, full[name]), name


FLASH = BackboneOptions(attention="flash_attention_2", dtype="bfloat16")
BAD: list[tuple[Callable[[Callable[[str], str]], Any], str]] = [
    (lambda _: BackboneOptions(family="mamba"), r"backbone\.family must be one of llama, .*; got 'mamba'"),
    (lambda _: BackboneOptions(layers=0), r"BackboneOptions\.layers must be at least 1; got 0"),
    (lambda _: BackboneOptions(max_positions=0), r"max_positions must be at least 1"),
    (lambda _: BackboneOptions(hidden_size=18, heads=4), "even multiple of heads; got 18 and 4"),
    (lambda _: BackboneOptions(hidden_size=12, heads=4), "even multiple of heads; got 12 and 4"),
    (lambda _: BackboneOptions(rope_theta=0.0), "rope_theta must be at least 1; got 0.0"),
    (lambda _: BackboneOptions(init_seed=-1), "must be at least 0, or null; got -1"),
    (lambda _: BackboneOptions(init_std=0.0), "init_std must lie between 0 and 1"),
    (lambda _: BackboneOptions(attention_dropout=1.0), r"attention_dropout must lie in \[0, 1\)"),
    (lambda _: BackboneOptions(hidden_dropout=-0.1), r"hidden_dropout must lie in \[0, 1\)"),
    (lambda _: BackboneOptions(revision="v1"), r"backbone\.revision needs backbone\.checkpoint"),
    (lambda _: BackboneOptions(init="random"), r"backbone\.init needs backbone\.checkpoint"),
    (lambda _: BackboneOptions(quantize="4bit"), r"backbone\.quantize needs backbone\.checkpoint"),
    (lambda _: BackboneOptions(checkpoint="x", layers=2), r"backbone\.layers has no use with backbone\.checkpoint"),
    (lambda _: BackboneOptions(checkpoint="x", family="gpt2"), r"backbone\.family has no use"),
    (lambda _: BackboneOptions(checkpoint="x", init_std=0.1), r"backbone\.init_std has no use"),
    (lambda _: BackboneOptions(checkpoint="x", init_seed=3), "init_seed has no use .* whose weights are stored"),
    (lambda _: BackboneOptions(checkpoint="x", quantize="8bit", dtype="bfloat16"), "leave out backbone.init and dtype"),
    (lambda _: BackboneOptions(checkpoint="x", quantize="8bit", init="random"), "leave out backbone.init and dtype"),
    (lambda at: load_backbone(BackboneOptions(at("llama"), keep="first:9")), "depth must lie in 0 to 4"),
    (
        lambda at: load_backbone(BackboneOptions(at("llama"), keep="bi:2")),
        "needs the measured importance of a teacher's layers",
    ),
    (lambda at: load_backbone(BackboneOptions(at("llama"), hidden_dropout=0.1)), "no use with family llama"),
    (lambda _: load_backbone(BackboneOptions(family="gpt2", rope_theta=5.0)), "no single rotary base"),
    (lambda _: load_backbone(BackboneOptions(family="gemma3_text", rope_theta=5.0)), "no single rotary base"),
    (
        lambda _: load_backbone(FLASH),
        "flash_attention_2 cannot be used here",
    ),
    (lambda _: load_backbone(BackboneOptions(family="gemma2", attention="sdpa")), "sdpa cannot be used here"),
]
BAD_ATTENTION = [
    ("llama", "flash_attention_2"),
    ("gemma2", "sdpa"),
]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        *BAD,
        *(
            pytest.param(
                lambda at, family=family, code=code: load_backbone(
                    BackboneOptions(at(family), attention=code, dtype="bfloat16")
                ),
                f"backbone.attention {code} cannot be used here",
            )
            for family, code in BAD_ATTENTION
        ),
    ],
)
def test_an_option_that_does_not_fit_is_refused_in_one_line(
    make: Callable[..., Any], message: str, saved: Saved
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make(lambda family: str(saved(family)))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine could quantize")
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_bits_need_what_this_machine_lacks(bits: str, saved: Saved) -> None:
    with pytest.raises(InputError, match=f"backbone.quantize {bits} needs .*an NVIDIA GPU; not available") as caught:
        load(saved("llama"), quantize=bits)
    assert "\n" not in str(caught.value)
