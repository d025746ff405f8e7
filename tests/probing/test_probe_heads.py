"""Probe heads: linear readers of a frozen teacher's states, one per depth, from one stream of training data."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.nn.functional import cross_entropy

from layerprobe import processes
from layerprobe.backbone.architecture import layers_of
from layerprobe.backbone.prompt import PromptOptions
from layerprobe.data.batches import SequenceBatch, query_batch
from layerprobe.data.sequences import Sequences
from layerprobe.data.splits import Split
from layerprobe.data.train_batches import TrainBatches
from layerprobe.errors import InputError
from layerprobe.probing.exits import ExitScorer
from layerprobe.probing.probe_heads import ProbeHeadOptions, ProbeHeads, fit_probe_heads, own_heads
from layerprobe.probing.variant import RecipeOptions, build_recommender
from layerprobe.recommender.losses import LossOptions
from layerprobe.recommender.model import Recommender
from layerprobe.training.adapters import TuningOptions
from layerprobe.training.options import TrainingOptions, train_batches

TRAINING = TrainingOptions(batch_size=8)
QUICK = ProbeHeadOptions(epochs=2, step_size=1.0, least_steps=4)


@pytest.fixture
def model(item_table: torch.Tensor, recipe: RecipeOptions) -> Recommender:
    return build_recommender(recipe, item_table, None, 0).eval().requires_grad_(False)


def stream(split: Split, model: Recommender, **changes: object) -> TrainBatches:
    return train_batches(split, model.max_len, replace(TRAINING, **changes), 0, model.extra_positions)


def fit(split: Split, model: Recommender, options: ProbeHeadOptions = QUICK, **changes: object) -> torch.Tensor:
    training = replace(TRAINING, **changes)
    return fit_probe_heads(model, stream(split, model, **changes), options, training.loss).weights


def training_states(split: Split, model: Recommender) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the normed states at every supervised training position, float64 [L + 1, n, width], and the targets."""
    batches = stream(split, model)
    batch = batches.build(np.arange(len(batches.examples)))
    with torch.no_grad():
        return model.normed(model.hidden(batch)).double(), batch.targets


def losses(split: Split, model: Recommender, weights: torch.Tensor) -> list[float]:
    """Returns each head's mean cross-entropy over the catalogue, written out in float64."""
    states, targets = training_states(split, model)
    scores = states @ weights.double().transpose(1, 2) @ model.item_vectors()[1:].double().T
    return [float(cross_entropy(found, targets - 1)) for found in scores]


def optimum(states: torch.Tensor, targets: torch.Tensor, items: torch.Tensor) -> float:
    """Returns the smallest cross-entropy that any linear head reaches, by SciPy."""
    shape = (items.shape[1], states.shape[1])

    def loss_and_slope(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight = torch.from_numpy(flat).reshape(shape).requires_grad_()
        loss = cross_entropy(states @ weight.T @ items.T, targets - 1)
        loss.backward()
        assert weight.grad is not None
        return loss.item(), weight.grad.numpy().ravel()

    return float(
        minimize(loss_and_slope, np.zeros(np.prod(shape)), jac=True, method="L-BFGS-B", options={"maxiter": 200}).fun
    )


def test_long_fits_reach_the_optimum_of_softmax_regression_on_the_states(
    split: Split, model: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The criterion is convex, so an outside optimiser on the collected states says where every head must end."""
    states, targets = training_states(split, model)
    table = torch.zeros(5, len(split.sequences.items), 16)
    batches = stream(split, model)
    table[:, batches.build(np.arange(len(batches.examples))).flat] = states.float()
    monkeypatch.setattr(model, "hidden", lambda batch: table[:, batch.flat])  # known by now: no need to run layers
    monkeypatch.setattr(model, "normed", lambda found: found)
    found = losses(split, model, fit(split, model, ProbeHeadOptions(300, 10.0, 1), batch_size=64))
    best = [optimum(of_depth, targets, model.item_vectors()[1:].double()) for of_depth in states]
    start = losses(split, model, own_heads(model).weights)
    for k, (value, low, own) in enumerate(zip(found, best, start, strict=True)):
        assert low - 0.01 <= value <= low + 0.1 * (own - low), k


def test_every_training_target_counts_and_no_other_item_does(split: Split, model: Recommender) -> None:
    """Validation and test items change nothing, to the bit; a training item changes the heads."""
    kept, expected = split.train_mask(), fit(split, model)
    generator = np.random.default_rng(1)
    items = np.where(kept, split.sequences.items, generator.integers(1, 13, size=len(kept)))
    assert (items != split.sequences.items).sum() > 30
    other = Split(Sequences(items, split.sequences.offsets, 12))
    assert torch.equal(fit(other, model), expected)
    once = ProbeHeadOptions(epochs=1, least_steps=1)
    expected = fit(split, model, once, batch_size=64)
    for user in range(0, split.sequences.n_users, 3):
        last = split.train_ends[user] - 1
        if last <= split.sequences.offsets[user]:
            continue  # one training item is no transition
        items = split.sequences.items.copy()
        items[last] = items[last] % 12 + 1
        other = Split(Sequences(items, split.sequences.offsets, 12))
        assert not torch.equal(fit(other, model, once, batch_size=64), expected), user


def test_a_head_finds_what_is_linear_in_its_state(
    split: Split, model: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From layer 2 on the state spells the target, in directions the model's own head does not know."""
    generator = torch.Generator().manual_seed(2)
    codes, noise = torch.randn(13, 16, generator=generator), torch.randn(500, 16, generator=generator)

    def planted(batch: SequenceBatch) -> torch.Tensor:
        told = codes[batch.targets]
        return torch.stack([noise[batch.flat], noise[batch.flat], told, told, told])

    monkeypatch.setattr(model, "hidden", planted)
    weights = fit(split, model, ProbeHeadOptions(epochs=20, step_size=2.0))
    probed, normed = losses(split, model, weights), losses(split, model, own_heads(model).weights)
    assert all(mine < own for mine, own in zip(probed, normed, strict=True))
    assert max(probed[2:]) < 0.1 < 1.0 < min(probed[:2])
    assert min(normed) > 2.0
    assert torch.equal(weights[2], weights[3])  # equal states, equal heads
    assert not torch.equal(weights[1], weights[2])


def test_a_layer_that_does_nothing_leaves_the_head_as_it_was(split: Split, model: Recommender) -> None:
    layer = layers_of(model.backbone)[2]
    with torch.no_grad():
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    weights = fit(split, model)
    assert torch.equal(weights[2], weights[3])
    assert not torch.equal(weights[1], weights[2])


def test_step_sizes_are_logits_whatever_the_scale_of_states_and_items(split: Split, model: Recommender) -> None:
    plain = fit(split, model)
    with torch.no_grad():
        model.item_table *= 4
        model.input_adapter.weight /= 4  # the layers read what they read before
        model.head.weight /= 8
        model.backbone.norm.weight *= 2
    torch.testing.assert_close(fit(split, model) * 8, plain, rtol=1e-3, atol=1e-4)


def test_the_first_step_moves_the_average_score_by_at_most_its_size(split: Split, model: Recommender) -> None:
    """One step of Adam moves every weight by its full size, so a score moves by |x| |v| times that at most."""
    one = ProbeHeadOptions(epochs=1, step_size=0.5, least_steps=1)
    moved = fit(split, model, one, batch_size=64) - own_heads(model).weights
    states, _ = training_states(split, model)
    item = model.item_vectors()[1:].double().abs().sum(dim=1).mean()
    largest = moved.double().abs().amax(dim=(1, 2)) * states.abs().sum(dim=2).mean(dim=1) * item
    torch.testing.assert_close(largest, torch.full_like(largest, 0.5), rtol=0.02, atol=0)


@pytest.mark.parametrize("changes", [{"max_tokens": 9}, {"max_tokens": 24}], ids=str)
def test_heads_do_not_depend_on_how_steps_are_cut_into_passes(
    changes: dict[str, int], split: Split, model: Recommender
) -> None:
    torch.testing.assert_close(fit(split, model, **changes), fit(split, model), rtol=1e-3, atol=1e-4)


def test_processes_share_the_steps_and_end_with_the_heads_of_one(
    split: Split, model: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads stand for two processes; each sees half of every step, and sums meet at a barrier."""
    alone = fit(split, model)
    copies, read = [model, copy.deepcopy(model)], [0, 0]
    for index, each in enumerate(copies):

        def counted(batch: SequenceBatch, index: int = index, hidden: Callable = each.hidden) -> torch.Tensor:
            read[index] += len(batch.row)
            return hidden(batch)

        monkeypatch.setattr(each, "hidden", counted)
    found = in_two(lambda index: fit(split, copies[index]), monkeypatch)
    assert torch.equal(found[0], found[1])
    targets = int(stream(split, model).examples.supervised.sum())
    assert all(0.5 * targets < each < 1.5 * targets for each in read)  # two passes over half of them, not over all
    torch.testing.assert_close(found[0], alone, rtol=1e-3, atol=1e-4)


def in_two(work: Callable[[int], torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    place, barrier = threading.local(), threading.Barrier(2, timeout=60)
    shares: list[np.ndarray] = [np.zeros(0), np.zeros(0)]
    found: list[torch.Tensor] = [torch.zeros(0), torch.zeros(0)]

    def summed(values: np.ndarray) -> np.ndarray:
        shares[place.index] = values
        barrier.wait()
        total = shares[0] + shares[1]
        barrier.wait()
        return total

    def run(index: int) -> None:
        place.index = index
        found[index] = work(index)

    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "index", lambda: place.index)
    monkeypatch.setattr(processes, "summed", summed)
    threads = [threading.Thread(target=run, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize(
    ("changes", "training"),
    [
        ({"backbone": {"family": "bert"}}, {"supervision": "last"}),
        ({"tuning": TuningOptions(method="lora")}, {}),
        ({"prompt": PromptOptions(kind="learned", vectors=3)}, {}),
        ({"backbone": {"dtype": "bfloat16"}, "tuning": TuningOptions(method="frozen")}, {}),
        ({}, {"loss": LossOptions(kind="sampled-softmax", negatives=5)}),
        ({}, {"loss": LossOptions(kind="gbce", negatives=5)}),
        ({}, {"stride": 2, "supervision": "last"}),
    ],
    ids=["bidirectional", "lora", "prompt", "bfloat16", "sampled-softmax", "gbce", "windows"],
)
def test_every_kind_of_teacher_is_read_and_left_as_it_was(
    changes: dict, training: dict[str, object], split: Split, item_table: torch.Tensor, recipe: RecipeOptions
) -> None:
    made = replace(recipe.backbone, **changes.get("backbone", {}))
    model = build_recommender(replace(recipe, **{**changes, "backbone": made}), item_table, None, 0).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    weights = fit(split, model, **training)
    assert weights.shape == (5, 6, 16)
    assert weights.dtype == torch.float32
    assert weights.isfinite().all()
    assert (weights != own_heads(model).weights).all(dim=(1, 2)).all()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_encoder_refuses_targets_at_every_position(
    split: Split, item_table: torch.Tensor, recipe: RecipeOptions
) -> None:
    encoder = replace(recipe, backbone=replace(recipe.backbone, family="bert"))
    with pytest.raises(InputError, match="needs supervision 'last'"):
        fit(split, build_recommender(encoder, item_table, None, 0).eval())


def test_exits_are_read_with_the_heads_in_the_same_pass(split: Split, model: Recommender, tmp_path: Path) -> None:
    weights = fit(split, model)
    ProbeHeads(weights).save(tmp_path / "heads.safetensors")
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    batch = query_batch(split, split.queries("test"), np.arange(8), 8)
    scorer = ExitScorer(model, ProbeHeads.load(tmp_path / "heads.safetensors"))
    scores = {name: found[:] for name, found in zip(scorer.names, scorer.scores(batch), strict=True)}
    assert scorer.names == tuple(f"exit-{kind}-{k}" for kind in ("raw", "norm", "probe") for k in range(5))
    assert len(calls) == 1
    states = model.normed(model.hidden(batch))
    for k in range(5):
        torch.testing.assert_close(scores[f"exit-probe-{k}"], states[k] @ weights[k].T @ model.item_vectors().T)
    start = ExitScorer(model, own_heads(model))
    same = dict(zip(start.names, (found[:] for found in start.scores(batch)), strict=True))
    torch.testing.assert_close(same["exit-probe-3"], same["exit-norm-3"])


@pytest.mark.parametrize("heads", [None, ProbeHeads(torch.zeros(4, 6, 16))], ids=["none", "too few"])
def test_probed_exits_need_a_head_for_every_depth(heads: ProbeHeads | None, model: Recommender) -> None:
    with pytest.raises(ValueError, match="exit-probe needs a head for each of 5 depths"):
        ExitScorer(model, heads, ("exit-probe",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "ProbeHeadOptions.epochs must be at least 1; got 0"),
        ({"least_steps": 0}, "ProbeHeadOptions.least_steps must be at least 1; got 0"),
        ({"step_size": 0.0}, "step_size must be above 0; got 0.0"),
        ({"step_size": float("nan")}, r"step_size must lie in"),
    ],
)
def test_bad_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ProbeHeadOptions(**options)  # pyright: ignore[reportArgumentType]
