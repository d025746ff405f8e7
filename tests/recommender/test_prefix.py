"""The prompt's prefix, shared or repeated, and the independence of users, in every family."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import families
import numpy as np
import pytest
import torch
from families import CAUSAL, FAMILIES, depth_of, layers_in, run, stock

from layerprobe.backbone.prompt import PromptTokens
from layerprobe.backbone.selection import parse_selection
from layerprobe.backbone.truncate import layers_kept, truncate
from layerprobe.data.batches import SequenceBatch, history_batch
from layerprobe.errors import InputError
from layerprobe.recommender import model as recommender
from layerprobe.recommender.model import Recommender, RecommenderOptions
from layerprobe.recommender.prefix import why_repeated
from layerprobe.recommender.sequence_model import load_trainable_state, trainable_state
from layerprobe.training.adapters import TuningOptions, adapt, unwrapped

HISTORIES = [np.array([3, 1, 4]), np.array([5]), np.array([9, 2, 6, 5, 3, 8]), np.array([12, 11])]
PREFIX, SUFFIX = torch.tensor([7, 3, 3, 11, 2, 9]), torch.tensor([4, 10])
assert len(PREFIX) > families.WINDOW
SUFFIXED, OPEN, LEARNED = PromptTokens(PREFIX, SUFFIX), PromptTokens(PREFIX), PromptTokens(learned=6)
PROMPTS = {"suffix": SUFFIXED, "no suffix": OPEN, "learned": LEARNED}
every_prompt = pytest.mark.parametrize("kind", PROMPTS)
every_family = pytest.mark.parametrize("family", FAMILIES)
every_causal = pytest.mark.parametrize("family", CAUSAL)
NORM_PRECISION = 2e-5  # transformers' norms compute in float32 whatever comes in


def table() -> torch.Tensor:
    values = torch.randn(13, 6, generator=torch.Generator().manual_seed(3))
    values[0] = 0
    return values


def build(
    family: str, prompt: PromptTokens | None = None, text: str | None = None, lora: bool = False, double: bool = True
) -> Recommender:
    backbone = stock(family)
    if text is not None:
        truncate(backbone, parse_selection(text, depth_of(family)))
    backbone.get_input_embeddings().requires_grad_(False)
    network = adapt(backbone, TuningOptions("lora", rank=2, dropout=0.0, targets="all")) if lora else backbone
    torch.manual_seed(2)
    model = Recommender(network, unwrapped(network), table(), RecommenderOptions(max_len=8), prompt)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "prefix_vectors" in name or "lora_B" in name:
                value.normal_(std=0.5)
    return (model.double() if double else model).eval()


def repeated(model: Recommender) -> Recommender:
    made = copy.deepcopy(model)
    object.__setattr__(made, "backbone", unwrapped(made.network))
    made.prompt = dataclasses.replace(model.prompt, shared=False)
    return made


def batch_of(kind: str) -> SequenceBatch:
    """The last position of each user or, where nothing stands behind the items, every position."""
    batch = history_batch(HISTORIES, 8)
    if kind == "suffix":
        return batch
    row = torch.repeat_interleave(torch.arange(4), batch.lengths)
    pos = torch.cat([torch.arange(int(length)) for length in batch.lengths])
    return dataclasses.replace(batch, row=row, pos=pos)


def results(model: Recommender, batch: SequenceBatch) -> dict[str, torch.Tensor]:
    """User vectors, hidden states and the gradient of every parameter."""
    model.zero_grad()
    vectors, hidden = model.read_with_hidden(batch)
    # Each user pulls another way, so that a gradient that loses one of them differs.
    pull = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(5), dtype=vectors.dtype)
    (vectors * pull).sum().backward()
    found = {"vectors": vectors.detach(), "hidden": hidden.detach()}
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    return found | {
        f"gradient of {name}": torch.zeros_like(value) if value.grad is None else value.grad
        for name, value in trained.items()
    }


def distance(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """Largest difference of all results, relative to the largest entry of each."""
    assert set(ours) == set(theirs)
    return max(
        ((value - theirs[name]).abs().max() / theirs[name].abs().max().clamp(min=1e-3)).item()
        for name, value in ours.items()
    )


@every_causal
@every_prompt
@pytest.mark.parametrize("text", [None, "keep:0,3", "first:0"])
def test_a_shared_prefix_equals_a_repeated_one_in_outputs_states_and_gradients(
    family: str, kind: str, text: str | None
) -> None:
    model, batch = build(family, PROMPTS[kind], text), batch_of(kind)
    assert model.shares_prefix
    assert not repeated(model).shares_prefix
    shared, plain = results(model, batch), results(repeated(model), batch)
    assert distance(shared, plain) < NORM_PRECISION
    assert len(shared["hidden"]) == len(layers_in(model.backbone)) + 1
    if text != "first:0" and kind == "learned":
        assert shared["gradient of prefix_vectors.weight"].abs().min() > 1e-6


@every_causal
def test_a_shared_prefix_equals_a_repeated_one_under_lora(family: str) -> None:
    model = build(family, SUFFIXED, "keep:0,3", lora=True)
    batch = batch_of("suffix")
    shared = results(model, batch)
    assert any("lora_A" in name for name in shared)
    assert distance(shared, results(repeated(model), batch)) < NORM_PRECISION


def moved_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Recommender._arguments

    def arguments(self: Recommender, *args: torch.Tensor) -> dict[str, object]:
        found = own(self, *args)
        return found | {"position_ids": found["position_ids"] - 1}

    monkeypatch.setattr(Recommender, "_arguments", arguments)


def one_user_loses_its_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    own = recommender.cache_for_users

    def cache(states: list, n_users: int):
        found = own(states, n_users)
        for layer in found.layers:
            layer.keys = torch.cat([layer.keys[:-1], layer.keys[-1:].detach()])
            layer.values = torch.cat([layer.values[:-1], layer.values[-1:].detach()])
        return found

    monkeypatch.setattr(recommender, "cache_for_users", cache)


def prefix_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    own = recommender.cache_for_users
    short = lambda states, n: own([(k[:, :, :-1], v[:, :, :-1]) for k, v in states], n)  # noqa: E731
    monkeypatch.setattr(recommender, "cache_for_users", short)


@every_causal
@pytest.mark.parametrize("fault", [moved_by_one, one_user_loses_its_gradient, prefix_is_cut_short])
def test_the_comparison_notices_a_wrong_prefix(
    family: str, fault: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = build(family, OPEN), batch_of("no suffix")
    plain = results(repeated(model), batch)
    fault(monkeypatch)
    assert distance(results(model, batch), plain) > 200 * NORM_PRECISION


@every_family
def test_prompt_text_enters_as_the_stock_model_embeds_it(family: str) -> None:
    model = build(family, PromptTokens(PREFIX, SUFFIX, shared=False))
    batch = history_batch([np.array([5])], 8)
    found = model._input(batch).arguments["inputs_embeds"]
    entered: list[torch.Tensor] = []
    layers_in(model.backbone)[0].register_forward_pre_hook(
        lambda _m, args, named: entered.append(args[0] if args else named["hidden_states"]), with_kwargs=True
    )
    with torch.no_grad():
        model.backbone(input_ids=torch.cat([PREFIX, PREFIX[:1], SUFFIX])[None])
        model.backbone(inputs_embeds=found)
    theirs, ours = entered
    assert torch.equal(ours[:, :6], theirs[:, :6])
    assert torch.equal(ours[:, 7:], theirs[:, 7:])
    assert not torch.equal(ours[:, 6], theirs[:, 6])


@every_family
@pytest.mark.parametrize("kind", ["plain", "suffix", "learned"])
def test_a_user_depends_on_nothing_but_the_own_history(family: str, kind: str) -> None:
    model = build(family, PROMPTS.get(kind))
    with torch.no_grad():
        alone = torch.cat([model.read(history_batch([history], 8)) for history in HISTORIES])
        together = model.read(history_batch(HISTORIES, 8))
        backwards = model.read(history_batch(HISTORIES[::-1], 8)).flip(0)
        neighbours = model.read(history_batch([HISTORIES[3], np.arange(1, 9), HISTORIES[1]], 8))
        batch = history_batch(HISTORIES, 8)
        filler = torch.full((4, 5), 7)  # padding is no item, but if it were one it would change nothing either
        padded = model.read(dataclasses.replace(batch, items=torch.cat([batch.items, filler], 1)))
    for found in (together, backwards, padded):
        torch.testing.assert_close(found, alone, atol=NORM_PRECISION, rtol=NORM_PRECISION)
    torch.testing.assert_close(neighbours[[0, 2]], alone[[3, 1]], atol=NORM_PRECISION, rtol=NORM_PRECISION)
    assert (alone[0] - alone[3]).abs().max() > 0.01


@every_family
def test_a_user_depends_on_the_own_history_and_prompt(family: str) -> None:
    histories = [np.array([3, 1, 4]), np.array([1, 3, 4]), np.array([3, 1, 5]), np.array([2, 1, 4])]
    other = PromptTokens(PREFIX.flip(0), SUFFIX)
    with torch.no_grad():
        found = build(family, SUFFIXED).read(history_batch(histories, 8))
        changed = build(family, other).read(history_batch(histories, 8))
    assert all((found[i] - found[j]).abs().max() > 1e-3 for i in range(4) for j in range(i))
    assert (found - changed).abs().max() > 1e-3


@every_causal
@pytest.mark.parametrize("kind", ["plain", "no suffix", "learned"])
def test_later_items_do_not_change_earlier_positions(family: str, kind: str) -> None:
    model = build(family, PROMPTS.get(kind))
    long = history_batch([np.array([3, 1, 4, 7, 7])], 8)
    every = dataclasses.replace(long, row=torch.zeros(5, dtype=torch.int64), pos=torch.arange(5))
    with torch.no_grad():
        found = model.read(every)
        expected = [model.read(history_batch([np.array([3, 1, 4, 7, 7][: i + 1])], 8))[0] for i in range(5)]
    torch.testing.assert_close(found, torch.stack(expected), atol=NORM_PRECISION, rtol=NORM_PRECISION)


def test_bert_repeats_the_prefix_says_why_and_refuses_targets_at_every_position() -> None:
    for prompt in (SUFFIXED, OPEN, LEARNED):
        model = build("bert", prompt)
        assert not model.shares_prefix
        found = model._input(history_batch(HISTORIES, 8))
        assert found.before == 6
        real = torch.tensor([len(history) for history in HISTORIES]) + 6 + len(prompt.suffix)
        assert torch.equal(found.arguments["attention_mask"].sum(1), real)
        assert "past_key_values" not in found.arguments
    assert "depend on the items that follow" in why_repeated(OPEN, causal=False, checkpointed=False, sliced=False)
    for prompt in (None, OPEN):
        with pytest.raises(InputError, match="sees later items, so targets at every position would leak") as caught:
            build("bert", prompt).read(batch_of("all"))
        assert "\n" not in str(caught.value)


@every_causal
def test_a_suffix_with_targets_at_every_position_is_refused(family: str) -> None:
    with pytest.raises(InputError, match="needs supervision 'last'; got 'all'"):
        build(family, SUFFIXED).read(batch_of("all"))


@pytest.mark.parametrize(
    ("prompt", "causal", "checkpointed", "sliced", "part"),
    [
        (OPEN, True, False, False, None),
        (LEARNED, True, False, False, None),
        (dataclasses.replace(OPEN, shared=False), True, False, False, "prompt.shared is false"),
        (OPEN, False, False, False, "depend on the items that follow"),
        (OPEN, True, True, False, "gradient checkpointing keeps no keys and values"),
        (OPEN, True, False, True, "layers in slices are run once per pass"),
    ],
)
def test_why_a_prefix_is_repeated(
    prompt: PromptTokens, causal: bool, checkpointed: bool, sliced: bool, part: str | None
) -> None:
    reason = why_repeated(prompt, causal, checkpointed, sliced)
    assert reason is None if part is None else part in reason


def test_recomputation_repeats_the_prefix_in_training_alone() -> None:
    model = build("llama", OPEN)
    expected = model.read(batch_of("no suffix"))
    backbone = model.backbone  # the library renamed it within version 5
    enable = getattr(backbone, "activation_checkpointing_enable", None) or backbone.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    assert model.shares_prefix
    assert not model.train().shares_prefix
    torch.testing.assert_close(model.read(batch_of("no suffix")), expected, atol=1e-5, rtol=1e-5)


@contextmanager
def recorded_calls(model: Recommender) -> Iterator[list[tuple[int, int]]]:
    """Batch size and length of each call of the backbone."""
    calls: list[tuple[int, int]] = []
    handle = model.backbone.register_forward_pre_hook(
        lambda _m, _args, named: calls.append(tuple(named["inputs_embeds"].shape[:2])), with_kwargs=True
    )
    yield calls
    handle.remove()


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_prefix_runs_once_a_step_with_gradients_and_once_a_model_without(family: str, lora: bool) -> None:
    model, batch = build(family, OPEN, lora=lora), batch_of("no suffix")
    with recorded_calls(model) as calls:
        for _ in range(2):
            model.read(batch)
        assert calls == [(1, 6), (4, 6), (1, 6), (4, 6)]
        calls.clear()
        with torch.no_grad():
            for _ in range(3):
                model.read(batch)
            model.hidden(batch)
            model.hidden_at_items(batch)
        with torch.inference_mode():
            model.read(batch)
        assert calls == [(1, 6)] + [(4, 6)] * 6
        calls.clear()
        with torch.no_grad():
            model.train().read(batch)
        assert calls == [(1, 6), (4, 6)]


def test_states_remembered_in_inference_mode_serve_without_gradients_too() -> None:
    model, batch = build("llama", LEARNED), batch_of("learned")
    expected = results(model, batch)["vectors"]
    with torch.inference_mode():
        model.read(batch)
    with torch.no_grad():
        assert torch.equal(model.read(batch), expected)
    assert distance(results(model, batch), results(repeated(model), batch)) < NORM_PRECISION


@torch.enable_grad()
def optimiser_step(model: Recommender) -> None:
    optimiser = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=0.1)
    model.read(batch_of("learned")).square().sum().backward()
    optimiser.step()


def loaded(model: Recommender) -> None:
    load_trainable_state(model, {name: value + 0.1 for name, value in trainable_state(model).items()})


def stock_loaded(model: Recommender) -> None:
    model.load_state_dict({name: value + 0.1 for name, value in model.state_dict().items()})


def cut(model: Recommender) -> None:
    truncate(model.backbone, parse_selection("keep:0,2", 4))


def through_half(model: Recommender) -> None:
    model.bfloat16().double()


def through_training(model: Recommender) -> None:
    model.train()
    optimiser_step(model)
    model.eval()


CHANGES = [optimiser_step, loaded, stock_loaded, cut, through_half, through_training]


@pytest.mark.parametrize("kind", ["learned", "no suffix"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_memory_is_renewed_after_every_change_of_the_model(
    family: str, kind: str, change: Callable[[Recommender], None]
) -> None:
    model, batch = build(family, PROMPTS[kind]), batch_of(kind)
    with torch.no_grad():
        before = model.read(batch)
        change(model)
        after = model.read(batch)
        expected = repeated(model).read(batch)
    torch.testing.assert_close(after, expected, atol=NORM_PRECISION, rtol=NORM_PRECISION)
    assert (after - before).abs().max() > 100 * NORM_PRECISION


def test_the_memory_follows_learned_vectors_that_change_alone() -> None:
    model, batch = build("llama", LEARNED), batch_of("learned")
    with torch.no_grad():
        before = model.read(batch)
        model.prefix_vectors.weight.mul_(2)
        after = model.read(batch)
    torch.testing.assert_close(after, repeated(model).read(batch), atol=NORM_PRECISION, rtol=NORM_PRECISION)
    assert (after - before).abs().max() > 1e-3


@every_causal
def test_the_memory_follows_layers_out_and_back(family: str) -> None:
    model, batch = build(family, OPEN), batch_of("no suffix")
    with torch.no_grad():
        whole = model.read(batch)
        with layers_kept(model.backbone, parse_selection("drop:1", depth_of(family))):
            cut_read, expected = model.read(batch), repeated(model).read(batch)
        assert torch.equal(model.read(batch), whole)
    torch.testing.assert_close(cut_read, expected, atol=NORM_PRECISION, rtol=NORM_PRECISION)
    assert (cut_read - whole).abs().max() > 1e-3


def test_the_memory_follows_precision_down_and_to_half() -> None:
    model, batch = build("llama", OPEN), batch_of("no suffix")
    with torch.no_grad():
        double = model.read(batch)
        assert model.float().read(batch).dtype == torch.float32
        torch.testing.assert_close(model.read(batch).double(), double, atol=1e-4, rtol=1e-4)
        half = model.bfloat16().read(batch)
    assert half.dtype == torch.float32
    assert 1e-4 < (half.double() - double).abs().max() < 1.0


def test_the_memory_follows_autocast() -> None:
    model, batch = build("llama", OPEN, double=False), batch_of("no suffix")
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            found, expected = model.read(batch), repeated(model).read(batch)
        torch.testing.assert_close(found, expected, atol=0.05, rtol=0.05)
        torch.testing.assert_close(model.read(batch), repeated(model).read(batch), atol=1e-5, rtol=1e-5)


@every_causal
def test_half_precision_takes_a_shared_prefix(family: str) -> None:
    model, batch = build(family, SUFFIXED, double=False).bfloat16(), batch_of("suffix")
    with torch.no_grad():
        found, expected = model.read(batch), repeated(model).read(batch)
    assert found.dtype == torch.float32
    assert (found - expected).abs().mean() < 0.1


@every_family
def test_what_is_read_is_a_plain_run_of_the_stock_model_between_two_maps(family: str) -> None:
    model = build(family, SUFFIXED)
    with torch.no_grad():
        found = model.read(history_batch(HISTORIES, 8))
        tokens = model.backbone.get_input_embeddings()
        for user, history in enumerate(HISTORIES):
            items = model.item_table[torch.from_numpy(history)]
            mapped = items @ model.input_adapter.weight.T + model.input_adapter.bias
            inputs = torch.cat([tokens(PREFIX), mapped, tokens(SUFFIX)])[None]
            expected = run(model.backbone, inputs)[0, -1] @ model.head.weight.T
            torch.testing.assert_close(found[user], expected, atol=NORM_PRECISION, rtol=NORM_PRECISION)
