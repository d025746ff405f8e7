"""Exits: read early, and leave the model as it was."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from layerprobe.data.batches import query_batch
from layerprobe.data.splits import Split
from layerprobe.evaluation.ranks import Protocols, rank_targets
from layerprobe.probing.exits import ExitScorer
from layerprobe.probing.variant import RecipeOptions, build_recommender
from layerprobe.recommender.model import Recommender
from layerprobe.recommender.sequence_model import ModelScorer


@pytest.fixture
def model(item_table: torch.Tensor, recipe: RecipeOptions) -> Recommender:
    return build_recommender(recipe, item_table, None, 0).eval().requires_grad_(False)


@pytest.fixture
def batch(split: Split):
    queries = split.queries("test")
    return query_batch(split, queries, torch.arange(len(queries)).numpy(), 8)


@pytest.mark.parametrize("depth", range(5))
def test_a_normed_exit_equals_the_model_cut_there(
    depth: int, model: Recommender, batch, item_table: torch.Tensor, recipe: RecipeOptions
) -> None:
    scorer = ExitScorer(model)
    scores = {name: found[:] for name, found in zip(scorer.names, scorer.scores(batch), strict=True)}
    cut = build_recommender(recipe, item_table, f"first:{depth}", 0).eval()
    expected = cut.read(batch) @ item_table.T
    torch.testing.assert_close(scores[f"exit-norm-{depth}"], expected, atol=1e-5, rtol=0)


def test_a_raw_exit_has_no_norm(model: Recommender, batch) -> None:
    scorer = ExitScorer(model)
    scores = {name: found[:] for name, found in zip(scorer.names, scorer.scores(batch), strict=True)}
    expected = model.head(model.hidden(batch)[2]) @ model.item_vectors().T
    torch.testing.assert_close(scores["exit-raw-2"], expected)
    assert not torch.allclose(scores["exit-raw-2"], scores["exit-norm-2"], atol=1e-4)


def test_the_last_normed_exit_ranks_exactly_as_the_model(model: Recommender, split: Split) -> None:
    exits = rank_targets(ExitScorer(model, kinds=("exit-norm",)), split, ["test"], Protocols(sampled=2))
    alone = rank_targets(ModelScorer(model), split, ["test"], Protocols(sampled=2))
    assert list(exits) == [f"exit-norm-{k}" for k in range(5)]
    pd.testing.assert_frame_equal(exits["exit-norm-4"], alone["model"])


def test_all_exits_come_from_one_forward_pass(model: Recommender, batch) -> None:
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    scorer = ExitScorer(model)
    assert len(list(scorer.scores(batch))) == len(scorer.names) == 2 * 5
    assert len(calls) == 1
