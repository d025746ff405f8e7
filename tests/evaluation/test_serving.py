"""Requests as a served model answers them, against scores by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerprobe.data.splits import Split
from layerprobe.evaluation.serving import WARM_UP, answer, make_requests, time_requests
from layerprobe.probing.variant import RecipeOptions, build_recommender
from layerprobe.recommender.model import Recommender


@pytest.fixture
def model(recipe: RecipeOptions, item_table: torch.Tensor) -> Recommender:
    return build_recommender(recipe, item_table, "first:1", 0).eval()


def test_requests_hold_whole_histories_of_test_users(split: Split) -> None:
    queries = split.queries("test")
    histories = [
        split.sequences.items[start:end].tolist() for start, end in zip(queries.starts, queries.ends, strict=True)
    ]
    asked = make_requests(split, n_requests=3, n_users=len(queries))
    assert [len(request) for request in asked] == [len(queries)] * 3
    every = sorted(history.tolist() for request in asked for history in request)
    assert every == sorted(histories * 3)  # spread evenly: each user comes as often as any other
    assert len(make_requests(split, 2, 500)[1]) == 500  # users come again where there are too few
    again = make_requests(split, 3, len(queries))
    assert all(
        np.array_equal(a, b) for one, two in zip(asked, again, strict=True) for a, b in zip(one, two, strict=True)
    )


@pytest.mark.parametrize("removes", [False, True])
def test_the_answer_is_the_ten_best_of_the_catalogue(removes: bool, model: Recommender, split: Split) -> None:
    request = make_requests(split, 1, 7)[0]
    found = answer(model, request, removes)
    assert found.shape == (7, 10)
    for history, best in zip(request, found.tolist(), strict=True):
        with torch.no_grad():
            alone = torch.from_numpy(history[-model.max_len :])[None]
            hidden = model.backbone(inputs_embeds=model.input_adapter(model.item_table[alone])).last_hidden_state
            scores = (model.head(hidden[0, -1]) @ model.item_table.T).numpy()
        met = set(history.tolist()) if removes else set()
        order = [item for item in np.argsort(-scores, kind="stable").tolist() if item and item not in met]
        kept = min(10, len(order))
        assert best[:kept] == order[:kept]


def test_each_request_is_timed_after_a_warm_up(
    model: Recommender, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(model, "read", lambda batch: seen.append(len(batch)) or torch.zeros(len(batch), 6))
    found = time_requests(model, make_requests(split, 5, 3), remove_history=True)
    assert found.shape == (5,)
    assert (found > 0).all()
    assert seen == [3] * (WARM_UP + 5)
