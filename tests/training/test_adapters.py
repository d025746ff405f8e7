"""What is trained of a backbone in every family: all of it, LoRA matrices by role or name, or nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import families
import numpy as np
import pytest
import torch
from families import FAMILIES, INNER, POSITIONS, VOCABULARY, WIDTH, depth_of, layers_in, run, stock, vectors
from peft import PeftModel

from layerprobe.backbone.options import BackboneOptions
from layerprobe.backbone.prompt import PromptOptions, PromptTokens
from layerprobe.backbone.selection import parse_selection
from layerprobe.backbone.truncate import layers_kept, truncate
from layerprobe.data.batches import history_batch
from layerprobe.errors import InputError
from layerprobe.probing.variant import RecipeOptions, build_recommender, merged_size, parameter_counts
from layerprobe.recommender.model import Recommender, RecommenderOptions
from layerprobe.recommender.sequence_model import trainable_state
from layerprobe.training.adapters import TuningOptions, adapt, merged, unwrapped

every_family = pytest.mark.parametrize("family", FAMILIES)
HISTORIES = [np.array([3, 1, 4]), np.array([5]), np.array([9, 2, 6, 5, 3, 8])]
D, F, N_ITEMS, ITEM_DIM, RANK = WIDTH, INNER, 12, 6, 2
AROUND = (ITEM_DIM * D + D) + D * ITEM_DIM  # input map with bias, head without

GROUPED = 2 * D * D + 2 * D * 8  # queries and output of width 16, one key-value head of 8
WIDE = 2 * D * 24 + 2 * D * 12  # two heads of 12, one key-value head
GATED = 3 * D * F
CLASSIC = (4 * D * D + 4 * D) + (2 * D * F + F + D) + 2 * 2 * D  # attention, MLP, two norms, all with biases
LAYER = {
    "llama": GROUPED + (2 * D + 2 * 8) + GATED + (2 * F + D) + 2 * D,
    "mistral": GROUPED + GATED + 2 * D,
    "qwen2": GROUPED + (D + 2 * 8) + GATED + 2 * D,
    "qwen3": WIDE + GATED + 2 * D + 2 * 12,
    "gemma2": WIDE + GATED + 4 * D,
    "gemma3_text": WIDE + GATED + 4 * D + 2 * 12,
    "phi3": D * (D + 2 * 8) + D * D + D * 2 * F + F * D + 2 * D,
    "olmo2": GROUPED + GATED + 2 * D + (D + 8),
    "smollm3": GROUPED + GATED + 2 * D,
    "gpt2": CLASSIC,
    "gpt_neox": CLASSIC,
    "opt": CLASSIC,
    "bert": CLASSIC,
}
OUTSIDE = dict.fromkeys(FAMILIES, D) | {  # a norm without bias, or as written; token embeddings left out
    "gpt2": POSITIONS * D + 2 * D,
    "gpt_neox": 2 * D,
    "opt": (POSITIONS + 2) * D + 2 * D,
    "bert": POSITIONS * D + 2 * D + 2 * D,
}
SPLIT = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
GATES = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
ATTENTION = dict.fromkeys(FAMILIES, SPLIT) | {
    "phi3": ("self_attn.qkv_proj", "self_attn.o_proj"),
    "gpt2": ("attn.c_attn", "attn.c_proj"),
    "gpt_neox": ("attention.query_key_value", "attention.dense"),
    "opt": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"),
    "bert": ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
}
MLP = dict.fromkeys(FAMILIES, GATES) | {
    "phi3": ("mlp.gate_up_proj", "mlp.down_proj"),
    "gpt2": ("mlp.c_fc", "mlp.c_proj"),
    "gpt_neox": ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
    "opt": ("fc1", "fc2"),
    "bert": ("intermediate.dense", "output.dense"),
}
GROUPED_SIDES, WIDE_SIDES = 2 * (D + D) + 2 * (D + 8), 2 * (D + 24) + 2 * (D + 12)
ATTENTION_SIDES = dict.fromkeys(FAMILIES, GROUPED_SIDES) | {  # inputs + outputs of each map
    **dict.fromkeys(("qwen3", "gemma2", "gemma3_text"), WIDE_SIDES),
    "phi3": (D + D + 2 * 8) + (D + D),
    **dict.fromkeys(("gpt2", "gpt_neox"), (D + 3 * D) + (D + D)),
    **dict.fromkeys(("opt", "bert"), 4 * (D + D)),
}
MLP_SIDES = dict.fromkeys(FAMILIES, 3 * (D + F)) | {
    "phi3": (D + 2 * F) + (F + D),
    **dict.fromkeys(("gpt2", "gpt_neox", "opt", "bert"), 2 * (D + F)),
}
SIDES: dict[str, Callable[[str], int]] = {
    "attention": ATTENTION_SIDES.__getitem__,
    "mlp": MLP_SIDES.__getitem__,
    "all": lambda family: ATTENTION_SIDES[family] + MLP_SIDES[family],
}
NAMES: dict[str, Callable[[str], tuple[str, ...]]] = {
    "attention": ATTENTION.__getitem__,
    "mlp": MLP.__getitem__,
    "all": lambda family: ATTENTION[family] + MLP[family],
}


def lora(targets: str = "mlp", dropout: float = 0.0) -> TuningOptions:
    return TuningOptions("lora", rank=RANK, alpha=6, dropout=dropout, targets=targets)


METHODS = {"full": TuningOptions(), "frozen": TuningOptions("frozen"), "lora": lora("all")}
every_method = pytest.mark.parametrize("method", METHODS)


def table() -> torch.Tensor:
    values = torch.randn(N_ITEMS + 1, ITEM_DIM, generator=torch.Generator().manual_seed(3))
    values[0] = 0
    return values


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RecipeOptions]:
    """Returns the recipe of a family's stock checkpoint, written once."""
    folders: dict[str, Path] = {}

    def make(
        family: str, tuning: TuningOptions, keep: str | None = None, prompt: PromptOptions | None = None
    ) -> RecipeOptions:
        if family not in folders:
            folders[family] = tmp_path_factory.mktemp(family)
            stock(family).save_pretrained(folders[family])
        backbone = BackboneOptions(checkpoint=str(folders[family]), keep=keep)
        return RecipeOptions(backbone, tuning, prompt or PromptOptions(), RecommenderOptions(max_len=8))

    return make


def shake_lora(model: torch.nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.copy_(0.3 * torch.randn(value.shape, generator=generator))


@every_family
@every_method
@pytest.mark.parametrize("text", [None, "keep:0,2"])
def test_trainable_and_total_counts_equal_the_closed_form(
    family: str, method: str, text: str | None, recipe: Callable[..., RecipeOptions]
) -> None:
    counts = parameter_counts(build_recommender(recipe(family, METHODS[method]), table(), text, 0))
    depth = depth_of(family) if text is None else 2
    backbone = depth * LAYER[family] + OUTSIDE[family]
    trained = {"full": backbone, "frozen": 0, "lora": depth * RANK * SIDES["all"](family)}[method]
    assert counts == {
        "total": backbone + AROUND + (N_ITEMS + 1) * ITEM_DIM,
        "backbone": backbone,
        "layers": depth * LAYER[family],
        "input_adapter": ITEM_DIM * D + D,
        "head": D * ITEM_DIM,
        "item_table": (N_ITEMS + 1) * ITEM_DIM,
        "trainable": trained + AROUND,
    }


@every_family
def test_token_embeddings_count_where_a_prompt_reads_them(family: str) -> None:
    prompt = PromptTokens(torch.tensor([1, 2]), torch.tensor([3]))
    counts = [
        parameter_counts(Recommender(model, model, table(), RecommenderOptions(max_len=8), own))
        for model in [stock(family)]
        for own in (None, prompt, PromptTokens(learned=3))
    ]
    assert counts[1]["backbone"] - counts[0]["backbone"] == VOCABULARY * D
    assert counts[2]["backbone"] == counts[0]["backbone"]
    assert counts[2]["input_adapter"] - counts[0]["input_adapter"] == 3 * D


@every_family
@pytest.mark.parametrize("targets", ["mlp", "attention", "all"])
def test_a_role_puts_lora_on_exactly_its_maps_in_every_layer(family: str, targets: str) -> None:
    model = truncate(stock(family), parse_selection("keep:0,2", depth_of(family)))
    wrapped = adapt(model, lora(targets))
    own = {name.rpartition(".lora_A")[0] for name, _ in unwrapped(wrapped).named_parameters() if ".lora_A" in name}
    path = families.LAYERS.get(family, "layers")
    assert own == {f"{path}.{layer}.{name}" for layer in (0, 1) for name in NAMES[targets](family)}
    trained = {name: value.numel() for name, value in wrapped.named_parameters() if value.requires_grad}
    assert all("lora_A" in name or "lora_B" in name for name in trained)
    assert sum(trained.values()) == 2 * RANK * SIDES[targets](family)


BY_NAME = [
    ("llama", "q_proj,v_proj", ["self_attn.q_proj", "self_attn.v_proj"]),
    ("llama", "mlp.up_proj", ["mlp.up_proj"]),
    ("llama", "q_proj,self_attn.q_proj", ["self_attn.q_proj"]),
    ("gpt2", "c_proj", ["attn.c_proj", "mlp.c_proj"]),
    ("gpt2", "attn.c_proj", ["attn.c_proj"]),
    ("opt", "fc2", ["fc2"]),
    ("bert", "query", ["attention.self.query"]),
    ("bert", "attention.output.dense", ["attention.output.dense"]),
    ("bert", "intermediate.dense", ["intermediate.dense"]),
    ("phi3", "qkv_proj,down_proj", ["self_attn.qkv_proj", "mlp.down_proj"]),
]


@pytest.mark.parametrize(("family", "targets", "expected"), BY_NAME)
def test_names_inside_a_layer_choose_maps(family: str, targets: str, expected: list[str]) -> None:
    wrapped = unwrapped(adapt(stock(family), lora(targets)))
    for layer in layers_in(wrapped):
        own = {name.rpartition(".lora_A")[0] for name, _ in layer.named_parameters() if ".lora_A" in name}
        assert own == set(expected)


@every_family
@pytest.mark.parametrize("targets", ["nothing", "proj,norm", "0"])
def test_a_name_that_matches_no_map_is_refused_with_the_maps_there_are(family: str, targets: str) -> None:
    model = stock(family)
    with pytest.raises(InputError, match=f"must name linear maps of a {family} layer; ") as caught:
        adapt(model, lora(targets))
    assert [name for name in NAMES["all"](family) if name not in str(caught.value)] == []
    assert "\n" not in str(caught.value)
    assert not any("lora" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TuningOptions("lora", rank=0), "rank must be at least 1; got 0"),
        (lambda: TuningOptions("lora", alpha=0), "alpha must be at least 1; got 0"),
        (lambda: TuningOptions("lora", dropout=1.0), r"dropout must lie in \[0, 1\)"),
        (lambda: TuningOptions("lora", targets=""), "must be a role or names, comma separated; got ''"),
        (lambda: TuningOptions("lora", targets="q_proj, v_proj"), "comma separated"),
        (lambda: TuningOptions("lora", targets="q_proj,"), "comma separated"),
        (lambda: TuningOptions("lora", targets=".*"), "comma separated"),
        (lambda: TuningOptions("full", rank=2), r"tuning\.rank needs tuning\.method lora; the method is full"),
        (lambda: TuningOptions("frozen", targets="all"), r"tuning\.targets needs tuning\.method lora"),
        (lambda: adapt(stock("llama").bfloat16(), TuningOptions()), "hold the backbone in float32"),
        (lambda: adapt(stock("gpt2").half(), TuningOptions()), "low precision rounds small steps away"),
    ],
)
def test_bad_options_are_refused_in_one_line(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@every_family
def test_lora_starts_as_the_identity_and_merges_into_what_it_computes(family: str) -> None:
    plain = stock(family)
    wrapped = adapt(stock(family), lora("all", dropout=0.3)).eval()
    assert isinstance(wrapped, PeftModel)
    start = run(unwrapped(wrapped), vectors())
    assert torch.equal(start, run(plain, vectors()))
    shake_lora(wrapped)
    expected = run(unwrapped(wrapped), vectors())
    assert (expected - start).abs().max() > 0.05
    whole = merged(wrapped)
    assert type(whole) is type(plain)
    assert {name: value.shape for name, value in whole.state_dict().items()} == {
        name: value.shape for name, value in plain.state_dict().items()
    }
    torch.testing.assert_close(run(whole, vectors()), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_lora_adds_alpha_over_rank_times_its_product(family: str) -> None:
    wrapped = adapt(stock(family), lora("mlp")).eval()
    shake_lora(wrapped)
    path, name = families.LAYERS.get(family, "layers"), NAMES["mlp"](family)[0]
    parts = dict(unwrapped(wrapped).named_parameters())
    a, b = (parts[f"{path}.1.{name}.lora_{part}.default.weight"].detach() for part in "AB")
    added = 6 / RANK * b @ a  # [out, in]
    before = dict(stock(family).named_parameters())[f"{path}.1.{name}.weight"]
    after = dict(merged(wrapped).named_parameters())[f"{path}.1.{name}.weight"]
    torch.testing.assert_close(after - before, added.T if family == "gpt2" else added, atol=1e-6, rtol=1e-5)


def lora_starts(network: torch.nn.Module) -> list[dict[str, torch.Tensor]]:
    """Per layer the first LoRA matrices, by name."""
    layers = layers_in(unwrapped(network))
    return [{name: value.detach() for name, value in layer.named_parameters() if "lora_A" in name} for layer in layers]


def equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return set(ours) == set(theirs) and all(torch.equal(value, theirs[name]) for name, value in ours.items())


@every_family
def test_lora_of_a_layer_starts_alike_whatever_else_is_kept(family: str) -> None:
    whole = lora_starts(adapt(stock(family), lora("all")))
    cut = truncate(stock(family), parse_selection("keep:1,3", depth_of(family)))
    found = lora_starts(adapt(cut, lora("all"), origin=[1, 3]))
    assert equal(found[0], whole[1])
    assert equal(found[1], whole[3])
    values = [layer[name] for layer in whole for name in layer]
    assert len({tuple(value.flatten()[:4].tolist()) for value in values}) == len(values)
    for value in values:  # PEFT's own start: uniform in +-1 / sqrt(inputs)
        bound = value.shape[1] ** -0.5
        assert 0.5 * bound < value.abs().max() <= bound


@pytest.mark.parametrize(
    ("text", "keep", "stored"),
    [("keep:1,3", None, (1, 3)), ("first:2", None, (0, 1)), ("keep:0,2", "drop:1", (0, 3)), (None, "last:1", (3,))],
)
def test_lora_starts_by_the_stored_layer_and_the_seed(
    text: str | None, keep: str | None, stored: tuple[int, ...], recipe: Callable[..., RecipeOptions]
) -> None:
    whole = lora_starts(build_recommender(recipe("llama", lora("all")), table(), None, 0).network)
    found = lora_starts(build_recommender(recipe("llama", lora("all"), keep), table(), text, 0).network)
    assert all(equal(ours, whole[layer]) for layer, ours in zip(stored, found, strict=True))
    other = lora_starts(build_recommender(recipe("llama", lora("all"), keep), table(), text, 1).network)
    assert not any(torch.equal(ours[name], other[0][name]) for ours in found[:1] for name in ours)


@every_family
@every_method
def test_a_step_changes_what_is_trained_and_nothing_else(
    family: str, method: str, recipe: Callable[..., RecipeOptions]
) -> None:
    model = build_recommender(recipe(family, METHODS[method]), table(), "keep:0,2", 0).train()
    shake_lora(model)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimiser = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=1.0)
    model.read(history_batch(HISTORIES, 8)).square().sum().backward()
    optimiser.step()
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    around = {"input_adapter.weight", "input_adapter.bias", "head.weight"}
    # Keys shift all scores of a query alike by their bias, so its gradient is rounding, where there is one.
    trained = {name for name in trainable_state(model) if not name.endswith(("k_proj.bias", "key.bias"))}
    assert trained - changed == set()
    assert changed <= set(trainable_state(model))
    inside = changed - around
    if method == "frozen":
        assert not inside
    elif method == "lora":
        assert inside
        assert all("lora_" in name for name in inside)
    else:
        assert len(inside) > 10


@every_family
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_cut_that_starts_from_trained_parameters_equals_the_trained_model_cut(
    family: str, method: str, recipe: Callable[..., RecipeOptions]
) -> None:
    whole = build_recommender(recipe(family, METHODS[method]), table(), None, 0)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for value in trainable_state(whole).values():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    cut = build_recommender(recipe(family, METHODS[method]), table(), "keep:0,2", 7, trainable_state(whole)).eval()
    batch = history_batch(HISTORIES, 8)
    with torch.no_grad(), layers_kept(whole.backbone, parse_selection("keep:0,2", depth_of(family))):
        torch.testing.assert_close(cut.read(batch), whole.eval().read(batch), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
@pytest.mark.parametrize("method", ["frozen", "lora"])
def test_at_depth_0_only_what_surrounds_the_backbone_is_trained(
    family: str, method: str, recipe: Callable[..., RecipeOptions]
) -> None:
    model = build_recommender(recipe(family, METHODS[method]), table(), "first:0", 0)
    assert not isinstance(model.network, PeftModel)
    assert parameter_counts(model)["backbone"] == OUTSIDE[family]
    assert set(trainable_state(model)) == {"input_adapter.weight", "input_adapter.bias", "head.weight"}
    assert merged(model.network) is model.backbone


@every_family
def test_a_learned_prefix_trains_under_a_frozen_backbone(family: str, recipe: Callable[..., RecipeOptions]) -> None:
    prompt = PromptOptions(kind="learned", vectors=3)
    model = build_recommender(recipe(family, METHODS["frozen"], None, prompt), table(), "keep:0,2", 0).train()
    assert "prefix_vectors.weight" in trainable_state(model)
    before, backbone = model.prefix_vectors.weight.detach().clone(), copy.deepcopy(model.backbone.state_dict())
    optimiser = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=0.1)
    model.read(history_batch(HISTORIES, 8)).square().sum().backward()
    optimiser.step()
    assert ((model.prefix_vectors.weight - before).abs() > 0).all()
    assert all(torch.equal(value, backbone[name]) for name, value in model.backbone.state_dict().items())


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_lora_is_trained_in_float32_on_a_half_precision_backbone(family: str) -> None:
    wrapped = adapt(stock(family).bfloat16(), lora("all"))
    kinds = {("lora_" in name, value.dtype) for name, value in wrapped.named_parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
    model = Recommender(wrapped, unwrapped(wrapped), table(), RecommenderOptions(max_len=8))
    model.read(history_batch(HISTORIES, 8)).square().sum().backward()
    gradients = {name: value.grad for name, value in model.named_parameters() if value.requires_grad}
    assert all(value is not None and value.isfinite().all() for value in gradients.values())


def test_packed_bits_count_as_the_numbers_they_stand_for() -> None:
    class Packed(torch.nn.Parameter):
        quant_state = SimpleNamespace(shape=torch.Size([6, 4]))

    layer = torch.nn.Linear(4, 6, bias=False)
    layer.weight = Packed(torch.zeros(12, 1))  # two 4-bit numbers in each stored byte
    assert merged_size(layer) == 6 * 4
