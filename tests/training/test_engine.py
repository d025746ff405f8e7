"""One optimiser step: its loss and gradient are those of the whole step, however it is cut into passes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pandas as pd
import pytest
import torch

from layerprobe.data.splits import PARTS, Split
from layerprobe.data.train_batches import Portion, TrainBatches
from layerprobe.distillation.losses import DistillationWeights
from layerprobe.distillation.mapping import block_map
from layerprobe.distillation.run import BlockDistillation, StudentInTraining
from layerprobe.distillation.teacher_cache import cache_teacher
from layerprobe.errors import InputError
from layerprobe.evaluation.ranks import Protocols, rank_targets
from layerprobe.probing.variant import RecipeOptions, build_recommender
from layerprobe.recommender.losses import next_item_objective
from layerprobe.recommender.sasrec import SASRec, SASRecOptions
from layerprobe.recommender.sequence_model import ModelScorer, SequenceModel, trainable_state
from layerprobe.training.adapters import TuningOptions
from layerprobe.training.engine import GRAD_NORM, Engine, Objective, mixed_precision
from layerprobe.training.loop import Trainer
from layerprobe.training.options import TrainingOptions

STILL = SASRecOptions(dim=8, blocks=2, dropout=0.0, attention_dropout=0.0, block_dropout=0.0, max_len=8)
OPTIONS = TrainingOptions(
    epochs=4, batch_size=10, learning_rate=5e-3, warmup_steps=2, patience=None, max_grad_norm=1e9, stride=3
)
Parts = tuple[SequenceModel, Objective]


def sasrec(seed: int = 5, options: SASRecOptions = STILL) -> SASRec:
    torch.manual_seed(seed)
    return SASRec(12, options)


def lively(model: SequenceModel) -> SequenceModel:
    """Moves LoRA away from the identity, where half of its gradient is zero."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    return model


@pytest.fixture(params=["sasrec", "full", "lora", "distillation"])
def make(request, split: Split, item_table: torch.Tensor, recipe: RecipeOptions) -> Callable[[], Parts]:
    """Builds a fresh model with its objective, the same every time and without dropout."""

    def built() -> Parts:
        if request.param == "sasrec":
            return sasrec(), next_item_objective
        if request.param == "distillation":
            return distilled(split, item_table, recipe)
        tuning = TuningOptions("lora", rank=2, dropout=0.0) if request.param == "lora" else TuningOptions()
        tuned = dataclasses.replace(recipe, tuning=tuning)
        return lively(build_recommender(tuned, item_table, "first:2", 0)), next_item_objective

    return built


def distilled(split: Split, item_table: torch.Tensor, recipe: RecipeOptions) -> Parts:
    teacher = build_recommender(recipe, item_table, None, 0).eval().requires_grad_(False)
    blocks = block_map(4, 2)
    cache = cache_teacher(teacher, TrainBatches(split, 8, 10, "all", 0, 3), blocks.teacher)
    model = StudentInTraining(build_recommender(recipe, item_table, "first:2", 1), 2, 1)
    return model, BlockDistillation(DistillationWeights(0.5, 0.25, 2.0), blocks, cache)


def step(make: Callable[[], Parts], portions: list[Portion]) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Returns the loss terms of one step and its gradient by parameter."""
    model, objective = make()
    values = Engine(model.train(), objective, OPTIONS).backward(portions, seed=0)
    return values, {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


def relative(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Largest difference over the largest entry of the whole gradient."""
    assert found.keys() == expected.keys()
    largest = max(value.abs().max().item() for value in expected.values())
    return max((found[name] - expected[name]).abs().max().item() for name in expected) / largest


def examples_one_by_one(batches: TrainBatches, chosen) -> list[Portion]:
    total = len(batches.build(chosen).flat)
    singles = [batches.build(chosen[i : i + 1]) for i in range(len(chosen))]
    return [Portion(single, len(single.flat) / total) for single in singles]


def test_a_step_is_the_same_in_one_pass_in_many_and_in_one_per_example(make: Callable[[], Parts], split: Split) -> None:
    whole = TrainBatches(split, 8, 10, "all", 0, 3)
    bounded = TrainBatches(split, 8, 10, "all", 0, 3, max_tokens=16)
    chosen = max(whole.plan(0), key=len)
    cuts = [bounded.portions(chosen), examples_one_by_one(whole, chosen)]
    assert 2 < len(cuts[0]) < len(cuts[1]) == len(chosen) >= 8
    assert len({portion.weight for portion in cuts[1]}) > 1  # a plain mean over the passes would be wrong
    values, gradient = step(make, whole.portions(chosen))
    assert max(value.abs().max() for value in gradient.values()) > 1e-3
    for portions in cuts:
        cut_values, cut_gradient = step(make, portions)
        assert relative(cut_gradient, gradient) < 2e-6
        assert cut_values == pytest.approx(values, rel=2e-6)
        assert set(values) >= {"loss", GRAD_NORM}


def test_eight_steps_of_one_user_are_one_of_eight(make: Callable[[], Parts], split: Split) -> None:
    # Targets of one item each: every pass weighs 1/8, as in plain gradient accumulation.
    batches = TrainBatches(split, 8, 8, "last", 0)
    chosen = next(each for each in batches.plan(0) if len(each) == 8)
    one_by_one = examples_one_by_one(batches, chosen)
    assert {portion.weight for portion in one_by_one} == {1 / 8}
    values, gradient = step(make, batches.portions(chosen))
    cut_values, cut_gradient = step(make, one_by_one)
    assert relative(cut_gradient, gradient) < 2e-6
    assert cut_values == pytest.approx(values, rel=2e-6)


def test_passes_of_weight_zero_change_nothing(make: Callable[[], Parts], split: Split) -> None:
    batches = TrainBatches(split, 8, 8, "all", 0)
    (portion,) = batches.portions(batches.plan(0)[0])
    values, gradient = step(make, [portion])
    idle = batches.portions(batches.plan(0)[1])[0].batch
    filled_values, filled = step(make, [portion, Portion(idle, 0.0)])
    assert all(torch.equal(filled[name], value) for name, value in gradient.items())
    assert filled_values == values


def test_the_shares_of_several_processes_add_up_to_the_step(make: Callable[[], Parts], split: Split) -> None:
    batches = TrainBatches(split, 8, 10, "all", 0, 3, max_tokens=24)
    chosen = max(batches.plan(0), key=len)
    values, gradient = step(make, batches.portions(chosen))
    steps = [step(make, batches.portions(chosen, share, 3)) for share in range(3)]
    added = {name: sum((part[name] for _, part in steps), torch.zeros(())) for name in gradient}
    assert relative(added, gradient) < 2e-6
    assert sum(part["loss"] for part, _ in steps) == pytest.approx(values["loss"], rel=2e-6)


def test_the_gradient_is_scaled_down_to_its_bound_and_its_norm_is_told_before(split: Split) -> None:
    batches = TrainBatches(split, 8, 10, "all", 0, max_tokens=16)
    portions = batches.portions(batches.plan(0)[0])
    _, gradient = step(lambda: (sasrec(), next_item_objective), portions)
    norm = torch.cat([value.flatten() for value in gradient.values()]).norm().item()
    model = sasrec()
    bound = norm / 4
    engine = Engine(model.train(), next_item_objective, dataclasses.replace(OPTIONS, max_grad_norm=bound))
    assert engine.backward(portions, seed=0)[GRAD_NORM] == pytest.approx(norm, rel=1e-5)
    scaled = torch.cat([value.grad.flatten() for value in model.parameters() if value.grad is not None])
    assert scaled.norm().item() == pytest.approx(bound, rel=1e-4)


def fit(model: SequenceModel, split: Split, folder: Path, options: TrainingOptions, **changes) -> pd.DataFrame:
    """Trains to the last epoch, which is always the best, and returns the log."""
    batches = TrainBatches(
        split, 8, options.batch_size, options.supervision, changes.pop("seed", 0), options.stride, options.max_tokens
    )
    rising = count()
    Trainer(model, batches, options, lambda _model: float(next(rising)), folder, **changes).run()
    return pd.read_json(folder / "log.jsonl", lines=True).drop(columns="seconds")


def ranks_of(model: SequenceModel, split: Split) -> pd.DataFrame:
    return rank_targets(ModelScorer(model.eval()), split, PARTS, Protocols(sampled=2))["model"]


def test_a_whole_training_does_not_depend_on_max_tokens(
    make: Callable[[], Parts], split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("layerprobe.training.loop.LOG_EVERY", 1)
    logs, ranks = [], []
    for max_tokens in (None, 8, 20):
        model, objective = make()
        options = dataclasses.replace(OPTIONS, epochs=2, max_tokens=max_tokens)
        logs.append(fit(model, split, tmp_path / str(max_tokens), options, objective=objective))
        ranked = model.student if isinstance(model, StudentInTraining) else model
        ranks.append(ranks_of(ranked, split))
    losses = logs[0]["loss"].dropna()
    assert losses.iloc[-1] < losses.iloc[0]
    for log, found in zip(logs[1:], ranks[1:], strict=True):
        pd.testing.assert_frame_equal(log, logs[0], rtol=1e-4)
        pd.testing.assert_frame_equal(found, ranks[0])


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(
    split: Split, item_table: torch.Tensor, recipe: RecipeOptions, tmp_path: Path
) -> None:
    dropped = dataclasses.replace(recipe, recommender=dataclasses.replace(recipe.recommender, input_dropout=0.2))
    builds: dict[str, Callable[[], SequenceModel]] = {
        "sasrec": lambda: sasrec(options=SASRecOptions(dim=8, dropout=0.3, max_len=8)),
        "recommender": lambda: build_recommender(dropped, item_table, "first:2", 0),
    }
    options = dataclasses.replace(OPTIONS, epochs=2, max_tokens=20)
    for kind, build in builds.items():
        trained = []
        for name, seed in (("a", 0), ("b", 0), ("other", 1)):
            model = build()
            torch.manual_seed(hash(name) % 2**31)  # what ran before must not matter
            fit(model, split, tmp_path / kind / name, options, seed=seed)
            trained.append(trainable_state(model))
        assert all(torch.equal(trained[1][name], value) for name, value in trained[0].items())
        assert not any(torch.equal(trained[2][name], value) for name, value in trained[0].items() if value.ndim > 1)


@pytest.mark.parametrize(("launched", "expected"), [("no", "no"), ("bf16", "bf16")])
def test_the_launcher_chooses_the_precision(launched: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched)
    assert mixed_precision() == expected


@pytest.mark.parametrize("launched", ["fp16", "fp8", "BF16"])
def test_a_precision_that_overflows_or_does_not_exist_is_refused(
    launched: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched)
    with pytest.raises(InputError, match=f"mixed precision must be no or bf16; the launcher says {launched}"):
        mixed_precision()
    with pytest.raises(InputError, match=f"launcher.*{launched}"):
        Engine(sasrec(), next_item_objective, OPTIONS)


def test_without_a_launcher_the_processor_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert mixed_precision() == "no"
