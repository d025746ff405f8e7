"""What a model loses without a layer: layers are skipped and put back, and the first-order prediction is a slope."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from layerprobe.backbone.architecture import layers_of
from layerprobe.backbone.options import BackboneOptions
from layerprobe.backbone.prompt import PromptOptions
from layerprobe.data.batches import SequenceBatch, query_batch
from layerprobe.data.splits import Split
from layerprobe.errors import InputError
from layerprobe.probing.removal.importance import only_layers, predicted_rise
from layerprobe.probing.variant import RecipeOptions, build_recommender
from layerprobe.recommender.model import Recommender


@pytest.fixture
def model(item_table: torch.Tensor, recipe: RecipeOptions) -> Recommender:
    return build_recommender(recipe, item_table, None, 0).eval().requires_grad_(False)


@pytest.fixture
def batch(split: Split) -> SequenceBatch:
    queries = split.queries("valid")
    return query_batch(split, queries, np.arange(len(queries)), 8)


@pytest.mark.parametrize("kept", [(0, 1, 2), (1, 3), (2,), (), (0, 1, 2, 3)])
def test_only_the_named_layers_run_and_the_others_come_back(
    kept: tuple[int, ...], model: Recommender, batch: SequenceBatch, item_table: torch.Tensor, recipe: RecipeOptions
) -> None:
    before = model.read(batch)
    with only_layers(model, kept):
        without = model.read(batch)
    text = f"keep:{','.join(map(str, kept))}" if kept else "first:0"
    cut = build_recommender(recipe, item_table, text, 0).eval()
    torch.testing.assert_close(without, cut.read(batch), atol=1e-6, rtol=0)
    assert torch.equal(model.read(batch), before)


def test_layers_are_put_back_after_an_error(model: Recommender) -> None:
    with pytest.raises(ZeroDivisionError), only_layers(model, (1,)):
        raise ZeroDivisionError
    assert model.n_layers == 4


@pytest.mark.parametrize("kept", [(4,), (1, 0), (0, 0), (-1,)])
def test_layers_that_are_not_there_or_out_of_order_are_refused(kept: tuple[int, ...], model: Recommender) -> None:
    with pytest.raises(InputError), only_layers(model, kept):
        pass


def slope(model: Recommender, batch: SequenceBatch, layer: int, step: float = 1e-2) -> np.ndarray:
    """Change of each user's loss per unit of the way from the layer's output to its input.

    Central differences of two steps and Richardson's extrapolation: Llama's norm rounds to float32 whatever it is
    given, so a step small enough for plain differences would be lost in rounding.
    """

    def loss(share: float) -> torch.Tensor:
        def back(_module: torch.nn.Module, inputs: tuple, output: object) -> object:
            hidden = output[0] if isinstance(output, tuple) else output
            moved = hidden + share * (inputs[0] - hidden)
            return (moved, *output[1:]) if isinstance(output, tuple) else moved

        handle = layers_of(model.backbone)[layer].register_forward_hook(back)
        scores = model.read(batch) @ model.item_vectors().T
        handle.remove()
        return cross_entropy(scores[:, 1:], batch.targets - 1, reduction="none")

    wide, narrow = ((loss(size) - loss(-size)) / (2 * size) for size in (step, step / 2))
    return ((4 * narrow - wide) / 3).double().numpy()


PROMPTS = [PromptOptions(), PromptOptions(kind="learned", vectors=3)]
FAMILIES = ["llama", "bert", "gpt2"]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_prediction_is_the_slope_of_each_users_loss_along_the_way_to_the_layers_input(
    family: str, prompt: PromptOptions, item_table: torch.Tensor, recipe: RecipeOptions, batch: SequenceBatch
) -> None:
    """A shared prompt is part of the way: its states pass through the layer too."""
    backbone = BackboneOptions(
        family=family, layers=3, hidden_size=16, intermediate_size=24, heads=2, max_positions=64, init_std=0.3
    )
    own = replace(recipe, backbone=backbone, prompt=prompt)
    model = build_recommender(own, item_table, None, 0).eval().double().requires_grad_(False)
    repeated = replace(prompt, shared=False) if prompt.kind == "learned" else prompt
    alike = build_recommender(replace(own, prompt=repeated), item_table, None, 0).eval().double()
    found = predicted_rise(model, batch)
    assert found.shape == (len(batch), 3)
    with torch.no_grad():
        expected = np.stack([slope(alike, batch, layer) for layer in range(3)], axis=1)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=3e-5)


def test_a_users_prediction_does_not_depend_on_who_else_is_asked(model: Recommender, split: Split) -> None:
    queries = split.queries("valid")
    together = predicted_rise(model, query_batch(split, queries, np.arange(9), 8))
    alone = [predicted_rise(model, query_batch(split, queries, np.array([row]), 8))[0] for row in range(9)]
    np.testing.assert_allclose(together, alone, rtol=2e-4, atol=1e-7)


def test_an_identity_layer_is_predicted_to_change_nothing(model: Recommender, batch: SequenceBatch) -> None:
    make_identity(model, 2)
    found = predicted_rise(model, batch)
    assert (found[:, 2] == 0).all()
    assert (np.abs(found[:, [0, 1, 3]]).max(axis=0) > 0).all()


def test_no_weight_gets_a_gradient_and_nothing_is_left_changed(model: Recommender, batch: SequenceBatch) -> None:
    predicted_rise(model, batch)
    assert all(value.grad is None and not value.requires_grad for value in model.parameters())


def test_a_model_without_layers_has_nothing_to_predict(
    item_table: torch.Tensor, recipe: RecipeOptions, batch: SequenceBatch
) -> None:
    model = build_recommender(recipe, item_table, "first:0", 0).eval()
    assert predicted_rise(model, batch).shape == (len(batch), 0)


def make_identity(model: Recommender, layer: int) -> None:
    """Lets a Llama layer add nothing to the residual stream."""
    block = layers_of(model.backbone)[layer]
    for path in ("self_attn.o_proj", "mlp.down_proj"):
        block.get_submodule(path).weight.data.zero_()


def test_states_anywhere_are_those_of_the_prompt_repeated(
    item_table: torch.Tensor, recipe: RecipeOptions, batch: SequenceBatch
) -> None:
    """Place 0 is the prompt's first token; the place of the last item gives the readout's own state."""
    own = replace(recipe, prompt=PromptOptions(kind="learned", vectors=3))
    model = build_recommender(own, item_table, None, 0).eval().requires_grad_(False)
    last = model.hidden_anywhere(batch, batch.lengths + 2)
    torch.testing.assert_close(last, model.hidden_at_items(batch), atol=1e-5, rtol=0)
    first = model.hidden_anywhere(batch, torch.zeros(len(batch), dtype=torch.int64))
    assert first.shape == (5, len(batch), 16)
    torch.testing.assert_close(first, first[:, :1].expand_as(first), atol=1e-6, rtol=0)  # all users share it
    assert model.n_places(batch).tolist() == (batch.lengths + 3).tolist()
