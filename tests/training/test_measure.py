"""What a step takes, counted by hand on models small enough for it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from layerprobe.data.splits import Split
from layerprobe.probing.variant import RecipeOptions, build_recommender
from layerprobe.recommender.losses import next_item_objective
from layerprobe.training.engine import Engine
from layerprobe.training.measure import ModelBytes, measure_step, model_bytes, peak_bytes, step_positions
from layerprobe.training.options import TrainingOptions, train_batches

CPU = torch.device("cpu")
ROWS, IN, OUT = 5, 7, 3
FLOAT = 4


def test_the_bytes_of_a_linear_map_are_those_counted_by_hand() -> None:
    linear, inputs = nn.Linear(IN, OUT, bias=False), torch.ones(ROWS, IN)
    kept: list[torch.Tensor] = []
    assert peak_bytes(lambda: kept.append(linear(inputs)), CPU) == ROWS * OUT * FLOAT
    # Forward: outputs and their squares' sum. Backward: the gradient of the outputs (held twice: a view of the sum's,
    # times 2 x), then the gradient of the weights.
    found = peak_bytes(lambda: linear(inputs).square().sum().backward(), CPU)
    outputs, weights, scalar = ROWS * OUT * FLOAT, OUT * IN * FLOAT, FLOAT
    assert outputs + weights + scalar <= found <= 4 * outputs + weights + 3 * scalar


def test_what_is_freed_makes_room() -> None:
    def in_turn() -> None:
        for _ in range(6):
            torch.ones(1000)

    def at_once() -> None:
        kept = [torch.ones(1000) for _ in range(6)]
        assert len(kept) == 6

    assert peak_bytes(at_once, CPU) == 6 * 1000 * FLOAT
    assert peak_bytes(in_turn, CPU) == 1000 * FLOAT


def test_views_and_changes_in_place_take_nothing() -> None:
    there = torch.ones(1000)
    assert peak_bytes(lambda: there.view(10, 100).t().add_(1).detach(), CPU) == 0


def test_the_bytes_of_a_model_are_its_parameters_and_buffers() -> None:
    model = nn.Sequential(nn.Linear(IN, OUT), nn.BatchNorm1d(OUT, dtype=torch.float64))
    model[0].weight.requires_grad_(False)
    counter = 8  # BatchNorm counts its batches in an int64
    weights = FLOAT * (IN * OUT + OUT) + 8 * 4 * OUT + counter
    trained = FLOAT * OUT + 8 * 2 * OUT
    assert model_bytes(model) == ModelBytes(weights, trained)
    assert model_bytes(model).held == weights + 2 * trained
    with torch.device("meta"):
        assert model_bytes(nn.Linear(10**6, 10**6, bias=False)).weights == 10**12 * FLOAT


def engine_of(recipe: RecipeOptions, table: torch.Tensor, depth: int, options: TrainingOptions) -> Engine:
    return Engine(build_recommender(recipe, table, f"first:{depth}", 0), next_item_objective, options)


def backward_bytes(recipe: RecipeOptions, table: torch.Tensor, split: Split, depth: int, **options: int) -> float:
    training = TrainingOptions(batch_size=16, **options)
    engine = engine_of(recipe, table, depth, training)
    return measure_step(engine, train_batches(split, 8, training, 0)).backward


def test_the_bytes_of_a_step_are_a_straight_line_in_depth(
    recipe: RecipeOptions, item_table: torch.Tensor, split: Split
) -> None:
    one, two, three, four = (backward_bytes(recipe, item_table, split, depth) for depth in (1, 2, 3, 4))
    assert two - one == three - two == four - three > 0


def test_passes_of_fewer_positions_take_less_memory(
    recipe: RecipeOptions, item_table: torch.Tensor, split: Split
) -> None:
    assert backward_bytes(recipe, item_table, split, 3, max_tokens=16) < backward_bytes(recipe, item_table, split, 3)


def test_gradient_checkpointing_takes_less_memory(
    recipe: RecipeOptions, item_table: torch.Tensor, split: Split
) -> None:
    from dataclasses import replace

    spared = replace(recipe, backbone=replace(recipe.backbone, gradient_checkpointing=True))
    training = TrainingOptions(batch_size=40)
    batches = train_batches(split, 8, training, 0)
    full, less = (measure_step(engine_of(each, item_table, 4, training), batches).backward for each in (recipe, spared))
    assert less < full


def test_the_gradients_alone_are_a_lower_bound(recipe: RecipeOptions, item_table: torch.Tensor, split: Split) -> None:
    engine = engine_of(recipe, item_table, 2, TrainingOptions(batch_size=16))
    cost = measure_step(engine, train_batches(split, 8, engine.options, 0))
    assert cost.backward >= model_bytes(engine.model).trained
    assert 0 < cost.seconds < 10
    assert all(value.grad is None for value in engine.model.parameters())


@pytest.mark.parametrize(("extra", "expected"), [(0, 3 * 4), (5, 3 * 9)])
def test_the_positions_of_a_step_are_rows_times_the_longest(split: Split, extra: int, expected: int) -> None:
    batches = train_batches(split, 4, TrainingOptions(), 0, extra)
    longest = int(batches.examples.lengths.argmax())
    assert step_positions(batches, batches.plan(0)[0][:0].tolist() + [longest] * 3) == expected
