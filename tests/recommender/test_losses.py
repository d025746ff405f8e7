"""Losses over a draw of items: equal to the full loss where they must be, and unbiased where they claim to be."""

from __future__ import annotations

import dataclasses
import math
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import LinearCrossEntropyOptions
from torch.nn.functional import cross_entropy, linear_cross_entropy

from layerprobe.data.batches import SequenceBatch, history_batch
from layerprobe.data.sampled_items import ItemSampler, SampledItems
from layerprobe.errors import InputError
from layerprobe.recommender.losses import (
    CHUNK_LOGITS,
    CHUNK_ROWS,
    LARGE_CATALOGUE,
    LossOptions,
    _chunks,
    gbce_loss,
    next_item_loss,
    next_item_objective,
    next_item_objective_with,
    sampled_softmax_loss,
)
from layerprobe.recommender.sasrec import SASRec, SASRecOptions

N_ITEMS, ROWS, DIM = 6, 8, 3


def draw_of(items: list[int], expected: list[float]) -> SampledItems:
    return SampledItems(torch.tensor(items), torch.tensor(expected).log())


def case(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Eight positions over six items, each item a target at least once."""
    generator = torch.Generator().manual_seed(5)
    vectors = torch.randn(ROWS, DIM, generator=generator, dtype=torch.float64)
    items = torch.randn(N_ITEMS + 1, DIM, generator=generator, dtype=torch.float64)
    return vectors.to(dtype), items.to(dtype), torch.tensor([1, 2, 3, 4, 5, 6, 2, 2])


def scalar_scores(vectors: torch.Tensor, items: torch.Tensor) -> list[list[float]]:
    """Scores by row and catalogue index, as plain numbers; index 0 is padding."""
    return (vectors.double() @ items.double().T).tolist()


def partitions(vectors: torch.Tensor, items: torch.Tensor, targets: torch.Tensor, drawn: SampledItems) -> np.ndarray:
    """Z^ by row, out of the loss of each row alone: loss = log Z^ - s+."""
    scores = scalar_scores(vectors, items)
    losses = [sampled_softmax_loss(vectors[i : i + 1], items, targets[i : i + 1], drawn).item() for i in range(ROWS)]
    return np.array([math.exp(losses[i] + scores[i][int(targets[i])]) for i in range(ROWS)])


def full_partitions(vectors: torch.Tensor, items: torch.Tensor) -> np.ndarray:
    return np.array([sum(math.exp(score) for score in row[1:]) for row in scalar_scores(vectors, items)])


@pytest.mark.parametrize("rows", [5, 200])
def test_default_is_the_full_softmax_to_the_bit(rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, items = torch.randn(rows, 16, generator=generator), torch.randn(301, 16, generator=generator)
    targets = torch.randint(1, 301, (rows,), generator=generator)
    chunked = LinearCrossEntropyOptions() if rows >= 64 else None
    expected = linear_cross_entropy(vectors, items[1:], targets - 1, options=chunked)
    assert torch.equal(next_item_loss(vectors, items, targets), expected)
    assert torch.equal(next_item_loss(vectors, items, targets, LossOptions(), None), expected)


def test_uniform_draw_of_every_item_is_the_full_softmax_with_its_gradients() -> None:
    vectors, items, targets = (value.requires_grad_() if value.is_floating_point() else value for value in case())
    drawn = ItemSampler(N_ITEMS, N_ITEMS, "uniform", None, 0).draw(0)
    options = LossOptions("sampled-softmax", negatives=N_ITEMS)
    found = next_item_loss(vectors, items, targets, options, drawn)
    plain = cross_entropy(vectors @ items[1:].T, targets - 1)
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=0)
    grads = zip(torch.autograd.grad(found, [vectors, items]), torch.autograd.grad(plain, [vectors, items]), strict=True)
    for of_found, of_plain in grads:
        torch.testing.assert_close(of_found, of_plain, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_mean_estimate_over_all_uniform_draws_is_the_full_sum(n: int) -> None:
    vectors, items, targets = case()
    draws = [draw_of(list(found), [n / N_ITEMS] * n) for found in combinations(range(1, N_ITEMS + 1), n)]
    mean = sum(partitions(vectors, items, targets, drawn) for drawn in draws) / len(draws)
    np.testing.assert_allclose(mean, full_partitions(vectors, items), rtol=1e-6)


def test_mean_estimate_over_all_draws_by_popularity_is_the_full_sum() -> None:
    vectors, items, targets = case()
    shares, n = np.array([8, 1, 4, 2, 2, 3]) / 20, 3
    mean = np.zeros(ROWS)
    for found in product(range(N_ITEMS), repeat=n):  # with replacement: an item may come twice
        drawn = draw_of([item + 1 for item in found], [n * shares[item] for item in found])
        mean += math.prod(shares[item] for item in found) * partitions(vectors, items, targets, drawn)
    np.testing.assert_allclose(mean, full_partitions(vectors, items), rtol=1e-6)


def test_sampled_loss_lies_below_the_full_one_on_average() -> None:
    vectors, items, targets = case()
    draws = [draw_of(list(found), [0.5] * 3) for found in combinations(range(1, N_ITEMS + 1), 3)]
    mean = sum(sampled_softmax_loss(vectors, items, targets, drawn).item() for drawn in draws) / len(draws)
    full = cross_entropy(vectors @ items[1:].T, targets - 1).item()
    assert full - 0.5 < mean < full


def test_gradient_is_that_of_the_refined_correction() -> None:
    # arXiv 2507.09331: (1 - p) held constant, times the log of the sum over the negatives alone minus s+
    vectors, items, targets = case()
    vectors.requires_grad_(), items.requires_grad_()
    drawn = draw_of([2, 5, 3, 2], [0.7, 0.4, 1.5, 0.7])
    found = torch.autograd.grad(sampled_softmax_loss(vectors, items, targets, drawn), [vectors, items])
    losses = []
    for row in range(ROWS):
        positive = vectors[row] @ items[targets[row]]
        kept = [j for j in range(4) if drawn.items[j] != targets[row]]
        terms = [(vectors[row] @ items[drawn.items[j]]).exp() / drawn.log_expected[j].double().exp() for j in kept]
        others = torch.stack(terms).sum()
        weight = (1 - positive.exp() / (positive.exp() + others)).detach()
        losses.append(weight * (others.log() - positive))
    expected = torch.autograd.grad(torch.stack(losses).mean(), [vectors, items])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


def scalar_gbce(scores: list[float], target: int, drawn: list[int], t: float) -> float:
    alpha = len(drawn) / N_ITEMS
    beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha)
    total = beta * math.log(1 / (1 + math.exp(-scores[target])))
    for item in drawn:
        if item != target:
            total += math.log(1 - 1 / (1 + math.exp(-scores[item])))
    return -total / (len(drawn) + 1)


@pytest.mark.parametrize("t", [0.0, 0.3, 0.75, 1.0])
@pytest.mark.parametrize("drawn", [[2, 5, 3], [4], [6, 5, 4, 3, 2, 1]])
def test_gbce_is_the_formula_of_the_paper(t: float, drawn: list[int]) -> None:
    vectors, items, targets = case()
    rows = zip(scalar_scores(vectors, items), targets.tolist(), strict=True)
    expected = sum(scalar_gbce(scores, target, drawn, t) for scores, target in rows) / ROWS
    options = LossOptions("gbce", negatives=len(drawn), calibration=t)
    found = next_item_loss(vectors, items, targets, options, draw_of(drawn, [len(drawn) / N_ITEMS] * len(drawn)))
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_gbce_without_calibration_is_binary_cross_entropy() -> None:
    vectors, items, _ = case()
    targets, drawn = torch.full((ROWS,), 1), draw_of([2, 5, 3], [0.5] * 3)  # no target is drawn
    logits = torch.stack([vectors @ items[item] for item in (1, 2, 5, 3)], dim=1)
    labels = torch.tensor([1.0, 0, 0, 0]).double().expand(ROWS, 4)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(gbce_loss(vectors, items, targets, drawn, 0.0), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("n", [1, 2, 4, 6])
def test_fully_calibrated_gbce_is_on_average_the_loss_with_every_negative(n: int) -> None:
    vectors, items, targets = case()
    draws = [draw_of(list(found), [n / N_ITEMS] * n) for found in combinations(range(1, N_ITEMS + 1), n)]
    mean = sum(gbce_loss(vectors, items, targets, drawn, 1.0).item() for drawn in draws) / len(draws)
    labels = torch.nn.functional.one_hot(targets - 1, N_ITEMS).double()
    every = torch.nn.functional.binary_cross_entropy_with_logits(vectors @ items[1:].T, labels, reduction="sum").item()
    assert mean == pytest.approx(n / N_ITEMS / (n + 1) * every / ROWS, rel=1e-12)


@pytest.mark.parametrize("t", [0.0, 0.5, 1.0])
def test_gbce_learns_the_probabilities_only_when_fully_calibrated(t: float) -> None:
    # one user state, targets with known shares p: the minimum over all draws lies at odds beta p / (alpha (1 - p)),
    # which for t = 1 are the odds of p itself and for t = 0 far above them
    targets = torch.tensor([1] * 5 + [2] * 4 + [3] * 3 + [4] * 2 + [5, 6])
    p, n = torch.tensor([5, 4, 3, 2, 1, 1]).double() / 16, 2
    alpha = n / N_ITEMS
    beta = 1 - t * (1 - alpha)
    scores = torch.cat([torch.zeros(1).double(), (beta * p / (alpha * (1 - p))).log()])[:, None].requires_grad_()
    for found in combinations(range(1, N_ITEMS + 1), n):
        gbce_loss(torch.ones(16, 1).double(), scores, targets, draw_of(list(found), [alpha] * n), t).backward()
    assert scores.grad is not None
    assert scores.grad.abs().max().item() < 1e-12
    learned = torch.sigmoid(scores.detach()[1:, 0])
    assert torch.allclose(learned, p) == (t == 1.0)


@pytest.mark.parametrize("kind", ["sampled-softmax", "gbce"])
def test_rows_whose_draws_all_equal_the_target_stay_finite(kind: str) -> None:
    vectors, items, _ = case()
    vectors.requires_grad_(), items.requires_grad_()
    targets, drawn = torch.full((ROWS,), 4), draw_of([4, 4], [0.5, 0.5])
    loss = next_item_loss(vectors, items, targets, LossOptions(kind, negatives=2), drawn)  # type: ignore[arg-type]
    loss.backward()
    positive = (vectors @ items[4]).detach()
    beta = 1 - 0.75 * (1 - 2 / N_ITEMS)
    expected = 0.0 if kind == "sampled-softmax" else (beta * (1 + (-positive).exp()).log()).mean().item() / 3
    assert loss.item() == pytest.approx(expected)
    for value in (vectors.grad, items.grad):
        assert value is not None
        assert value.isfinite().all()


@pytest.mark.parametrize("kind", ["sampled-softmax", "gbce"])
def test_huge_scores_stay_finite(kind: str) -> None:
    vectors, items, targets = case(torch.float32)
    vectors = (vectors * 1e3).requires_grad_()
    options = LossOptions(kind, negatives=3)  # type: ignore[arg-type]
    loss = next_item_loss(vectors, items, targets, options, draw_of([1, 2, 3], [0.5] * 3))
    assert loss.isfinite()
    assert torch.autograd.grad(loss, vectors)[0].isfinite().all()


@pytest.mark.parametrize("kind", ["sampled-softmax", "gbce"])
def test_gradient_reaches_targets_and_drawn_items_and_no_other(kind: str) -> None:
    vectors, items, targets = case()
    vectors.requires_grad_(), items.requires_grad_()
    options = LossOptions(kind, negatives=2)  # type: ignore[arg-type]
    loss = next_item_loss(vectors[:2], items, targets[:2], options, draw_of([2, 5], [1 / 3] * 2))
    loss.backward()
    assert vectors.grad is not None
    assert items.grad is not None
    assert items.grad.abs().sum(dim=1).nonzero().flatten().tolist() == [1, 2, 5]  # targets 1 and 2; never padding
    assert vectors.grad.abs().sum(dim=1).nonzero().flatten().tolist() == [0, 1]


@pytest.mark.parametrize("kind", ["sampled-softmax", "gbce"])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_inputs_are_scored_in_float32(kind: str, autocast: bool) -> None:
    vectors, items, targets = case(torch.bfloat16)
    options, drawn = LossOptions(kind, negatives=3), draw_of([1, 2, 3], [0.5] * 3)  # type: ignore[arg-type]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = next_item_loss(vectors, items, targets, options, drawn)
    exact = next_item_loss(vectors.double(), items.double(), targets, options, drawn)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(exact.item(), rel=1e-6)


@pytest.mark.parametrize("kind", ["sampled-softmax", "gbce"])
def test_loss_of_a_step_is_the_mean_over_its_parts(kind: str) -> None:
    # the draw is shared, so a step cut into micro-batches keeps its loss
    vectors, items, targets = case()
    options, drawn = LossOptions(kind, negatives=3), draw_of([1, 2, 6], [0.5] * 3)  # type: ignore[arg-type]
    whole = next_item_loss(vectors, items, targets, options, drawn)
    parts = [next_item_loss(vectors[i : i + 4], items, targets[i : i + 4], options, drawn) for i in (0, 4)]
    torch.testing.assert_close(whole, (parts[0] + parts[1]) / 2)


@dataclasses.dataclass(frozen=True, eq=False)
class DrawnBatch(SequenceBatch):
    """A batch that carries its step's draw."""

    sampled: SampledItems | None = None


def drawn_batch(sampled: SampledItems | None) -> DrawnBatch:
    plain = history_batch([np.array([3, 1, 4]), np.array([5]), np.array([9, 2, 6])], 8)
    fields = {field.name: getattr(plain, field.name) for field in dataclasses.fields(SequenceBatch)}
    return DrawnBatch(**fields | {"targets": torch.tensor([7, 2, 12]), "sampled": sampled})


def test_objective_takes_the_draw_from_the_batch() -> None:
    model = SASRec(12, SASRecOptions(dim=8, max_len=8)).eval()
    every = ItemSampler(12, 12, "uniform", None, 0).draw(0)
    few = ItemSampler(12, 4, "uniform", None, 0).draw(0)
    full = next_item_objective(model, drawn_batch(None))["loss"]
    with_all = next_item_objective_with(LossOptions("sampled-softmax", 12))(model, drawn_batch(every))
    with_few = next_item_objective_with(LossOptions("gbce", 4))(model, drawn_batch(few))
    assert set(with_all) == {"loss"}
    torch.testing.assert_close(with_all["loss"], full)
    batch = drawn_batch(few)
    expected = gbce_loss(model.read(batch), model.item_vectors(), batch.targets, few, 0.75)
    assert torch.equal(with_few["loss"], expected)
    assert torch.equal(next_item_objective_with(LossOptions())(model, drawn_batch(None))["loss"], full)


@pytest.mark.parametrize(
    ("options", "sampled", "part"),
    [
        (LossOptions("gbce", 3), None, "gbce with 3 negatives got a draw of None items"),
        (LossOptions("sampled-softmax", 3), draw_of([1, 2], [0.5, 0.5]), "got a draw of 2 items"),
        (LossOptions(), draw_of([1, 2], [0.5, 0.5]), "softmax with None negatives got a draw of 2 items"),
    ],
)
def test_a_draw_that_does_not_fit_the_options_is_refused(
    options: LossOptions, sampled: SampledItems | None, part: str
) -> None:
    with pytest.raises(ValueError, match=part):
        next_item_loss(*case(), options, sampled)


@pytest.mark.parametrize("kind", ["sampled-softmax", "gbce"])
def test_unknown_targets_are_refused(kind: str) -> None:
    vectors, items, _ = case()
    options = LossOptions(kind, negatives=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="known targets"):
        next_item_loss(vectors, items, torch.zeros(ROWS, dtype=torch.int64), options, draw_of([1], [0.5]))


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"kind": "bpr"}, r"LossOptions\.kind must be one of 'softmax', .*; got 'bpr'"),
        ({"kind": "gbce"}, r"gbce needs loss\.negatives.*set it"),
        ({"kind": "sampled-softmax"}, r"sampled-softmax needs loss\.negatives.*set it"),
        ({"negatives": 100}, r"loss\.negatives needs loss\.kind = .*; got 100 with softmax"),
        ({"kind": "gbce", "negatives": 0}, "negatives must be at least 1, or null; got 0"),
        ({"kind": "gbce", "negatives": 9, "sampling": "log"}, r"LossOptions\.sampling must be one of .*; got 'log'"),
        ({"sampling": "popularity"}, r"loss\.sampling = popularity needs .*sampled-softmax; got softmax"),
        ({"kind": "gbce", "negatives": 9, "sampling": "popularity"}, "needs .*sampled-softmax; got gbce"),
        ({"calibration": 0.5}, r"loss\.calibration needs loss\.kind = gbce; got softmax"),
        ({"kind": "sampled-softmax", "negatives": 9, "calibration": 1.0}, "kind = gbce; got sampled-softmax"),
        ({"kind": "gbce", "negatives": 9, "calibration": 1.1}, r"calibration must lie in \[0, 1\]; got 1.1"),
        ({"kind": "gbce", "negatives": 9, "calibration": -0.1}, r"must lie in \[0, 1\]; got -0.1"),
        ({"kind": "gbce", "negatives": 9, "calibration": math.nan}, r"must lie in \[0, 1\]; got nan"),
    ],
)
def test_options_that_are_wrong_or_would_be_ignored_are_refused(arguments: dict[str, Any], part: str) -> None:
    with pytest.raises(InputError, match=part) as caught:
        LossOptions(**arguments)
    assert "\n" not in str(caught.value)


def test_a_catalogue_smaller_than_the_draw_is_refused_with_what_to_do() -> None:
    LossOptions().check_catalogue(1)
    LossOptions("gbce", negatives=12).check_catalogue(12)
    with pytest.raises(InputError, match=r"loss\.negatives .* 12; got 13: set it lower, or use .*softmax"):
        LossOptions("gbce", negatives=13).check_catalogue(12)


def test_the_full_loss_over_a_large_catalogue_in_pieces_is_the_plain_one() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(300, 4, generator=generator).requires_grad_()
    items = torch.randn(LARGE_CATALOGUE + 2, 4, generator=generator).requires_grad_()
    targets = torch.randint(1, len(items), (300,), generator=generator)
    found = torch.autograd.grad(next_item_loss(vectors, items, targets), [vectors, items])
    plain = torch.nn.functional.cross_entropy(vectors @ items[1:].T, targets - 1)
    expected = torch.autograd.grad(plain, [vectors, items])
    assert _chunks(len(vectors), len(items) - 1).batch_chunk_size == CHUNK_ROWS
    assert _chunks(len(vectors), CHUNK_LOGITS // 10).batch_chunk_size == 10
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * b.abs().max().item())
