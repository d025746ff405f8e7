"""The recommender: its score of a user depends on that user alone, whatever the batch, prompt or adapter."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy

from layerprobe.backbone.prompt import PromptOptions, PromptTokens, prompt_tokens
from layerprobe.data.batches import history_batch
from layerprobe.data.splits import PARTS, Split
from layerprobe.errors import InputError
from layerprobe.evaluation.ranks import Protocols, rank_targets
from layerprobe.probing.variant import RecipeOptions, build_recommender, parameter_counts
from layerprobe.recommender.losses import next_item_loss
from layerprobe.recommender.model import Recommender, RecommenderOptions
from layerprobe.recommender.sasrec import SASRec, SASRecOptions
from layerprobe.recommender.sequence_model import ModelScorer, SequenceModel, load_trainable_state, trainable_state

HISTORIES = [np.array([3, 1, 4]), np.array([5]), np.array([9, 2, 6, 5, 3, 8]), np.array([12, 11])]
PROMPT = PromptTokens(torch.tensor([0, 0, 0]), torch.tensor([0, 0]))


def models(item_table: torch.Tensor, recipe: RecipeOptions) -> list[SequenceModel]:
    backbone = build_recommender(recipe, item_table, None, 0).backbone
    prompted = Recommender(backbone, backbone, item_table, recipe.recommender, PROMPT)
    plain = Recommender(backbone, backbone, item_table, recipe.recommender, PromptTokens())
    return [plain.eval(), prompted.eval(), SASRec(12, SASRecOptions(dim=8, max_len=8)).eval()]


@pytest.mark.parametrize("which", [0, 1, 2], ids=["plain", "prompt", "sasrec"])
def test_a_user_does_not_depend_on_the_batch(which: int, item_table: torch.Tensor, recipe: RecipeOptions) -> None:
    model = models(item_table, recipe)[which]
    together = model.read(history_batch(HISTORIES, 8))
    backwards = model.read(history_batch(HISTORIES[::-1], 8)).flip(0)
    alone = torch.cat([model.read(history_batch([history], 8)) for history in HISTORIES])
    beside_longer = model.read(history_batch([np.array([2, 7] * 6), *HISTORIES], 8))[1:]
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(together, backwards, atol=1e-5, rtol=0)
    torch.testing.assert_close(together, beside_longer, atol=1e-5, rtol=0)
    assert (together - together.roll(1, 0)).abs().max() > 1e-2  # and users do differ


@pytest.mark.parametrize("which", [0, 1, 2], ids=["plain", "prompt", "sasrec"])
def test_what_the_padding_holds_changes_nothing(which: int, item_table: torch.Tensor, recipe: RecipeOptions) -> None:
    model = models(item_table, recipe)[which]
    batch = history_batch([*HISTORIES, np.arange(1, 9)], 8)
    padding = torch.arange(8) >= batch.lengths[:, None]
    filled = dataclasses.replace(batch, items=torch.where(padding, 7, batch.items))
    assert padding.sum() == 5 + 7 + 2 + 6
    torch.testing.assert_close(model.read(filled), model.read(batch), atol=1e-5, rtol=0)


@pytest.mark.parametrize("which", [0, 1, 2], ids=["plain", "prompt", "sasrec"])
def test_ranks_do_not_depend_on_how_users_are_batched(
    which: int, split: Split, item_table: torch.Tensor, recipe: RecipeOptions
) -> None:
    scorer = ModelScorer(models(item_table, recipe)[which])
    tables = [rank_targets(scorer, split, PARTS, Protocols(sampled=2), size)["model"] for size in (1, 7, 512)]
    assert tables[0]["n_higher"].nunique() > 5
    pd.testing.assert_frame_equal(tables[0], tables[1])
    pd.testing.assert_frame_equal(tables[0], tables[2])


@pytest.mark.parametrize("which", [0, 2], ids=["plain", "sasrec"])
def test_later_items_do_not_change_earlier_positions(
    which: int, item_table: torch.Tensor, recipe: RecipeOptions
) -> None:
    model = models(item_table, recipe)[which]
    long = history_batch([np.array([3, 1, 4, 7, 7])], 8)
    early = dataclasses.replace(long, row=torch.tensor([0]), pos=torch.tensor([2]))
    torch.testing.assert_close(
        model.read(early), model.read(history_batch([np.array([3, 1, 4])], 8)), atol=1e-5, rtol=0
    )


def test_prompted_input_is_prefix_items_suffix_then_padding(item_table: torch.Tensor, recipe: RecipeOptions) -> None:
    backbone = build_recommender(recipe, item_table, None, 0).backbone
    repeated = dataclasses.replace(PROMPT, shared=False)
    model = Recommender(backbone, backbone, item_table, recipe.recommender, repeated)
    found = model._input(history_batch(HISTORIES, 8))
    inputs, row, pos = found.arguments["inputs_embeds"], found.row, found.pos
    token = model.backbone.get_input_embeddings().weight[0]
    for user, history in enumerate(HISTORIES):
        end = 3 + len(history)
        expected = model.input_adapter(model.item_table[torch.from_numpy(history)])
        torch.testing.assert_close(inputs[user, 3:end], expected, atol=1e-6, rtol=0)
        assert torch.equal(inputs[user, :3], token.expand(3, -1))
        assert torch.equal(inputs[user, end : end + 2], token.expand(2, -1))
        assert (row[user].item(), pos[user].item()) == (user, end + 1)


def test_chunked_loss_equals_the_plain_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(200, 5, generator=generator, requires_grad=True)
    items = torch.randn(41, 5, generator=generator)
    targets = torch.randint(1, 41, (200,), generator=generator)
    chunked = next_item_loss(vectors, items, targets)
    plain = cross_entropy(vectors @ items[1:].T, targets - 1)
    torch.testing.assert_close(chunked, plain)
    found = torch.autograd.grad(chunked, vectors)[0]
    torch.testing.assert_close(found, torch.autograd.grad(plain, vectors)[0])


def test_padding_row_of_the_table_takes_no_part_in_the_loss() -> None:
    items = torch.ones(4, 2)
    items[0] = 1e4
    assert next_item_loss(torch.ones(2, 2), items, torch.tensor([1, 2])).item() == pytest.approx(np.log(3))


def test_parameters_by_part_equal_the_closed_form(item_table: torch.Tensor, recipe: RecipeOptions) -> None:
    counts = parameter_counts(build_recommender(recipe, item_table, "first:3", 0))
    layer = 4 * 16 * 16 + 3 * 16 * 24 + 2 * 16  # attention, MLP, two norms
    assert counts["layers"] == 3 * layer
    assert counts["backbone"] == 3 * layer + 16
    assert counts["input_adapter"] == 6 * 16 + 16
    assert counts["head"] == 16 * 6
    assert counts["item_table"] == 13 * 6
    assert counts["total"] == 3 * layer + 16 + 6 * 16 + 16 + 16 * 6 + 13 * 6


def test_stored_parameters_must_fit_exactly(item_table: torch.Tensor, recipe: RecipeOptions) -> None:
    deep, shallow = (build_recommender(recipe, item_table, text, 0) for text in ("first:2", "first:1"))
    with pytest.raises(ValueError, match="fit the model exactly"):
        load_trainable_state(deep, trainable_state(shallow))


def test_sasrec_embeds_and_scores_with_one_table_and_padding_stays_zero() -> None:
    model = SASRec(12, SASRecOptions(dim=8, max_len=8))
    assert model.item_vectors() is model.items.weight
    assert model.item_vectors()[0].abs().max() == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SASRecOptions(dim=6, heads=4), "heads must divide dim"),
        (lambda: SASRecOptions(dropout=1.0), "dropout"),
        (lambda: SASRecOptions(blocks=0), "at least 1"),
        (lambda: RecommenderOptions(max_len=0), "at least 1"),
        (lambda: RecommenderOptions(input_dropout=-0.1), "lie in"),
        (lambda: prompt_tokens(PromptOptions(kind="text", prefix="Items:"), None), "checkpoint with a tokenizer"),
    ],
)
def test_bad_options(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_histories_that_do_not_fit_the_positions_are_refused(item_table: torch.Tensor, recipe: RecipeOptions) -> None:
    long = dataclasses.replace(recipe, recommender=RecommenderOptions(max_len=65))
    with pytest.raises(InputError, match="64 positions"):
        build_recommender(long, item_table, None, 0)
