"""Sampled losses in training: one draw per step, the same in all its passes, and a resumed training draws on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from layerprobe.data.batches import SequenceBatch
from layerprobe.data.splits import Split
from layerprobe.errors import InputError
from layerprobe.recommender.losses import LossOptions, next_item_objective_with
from layerprobe.recommender.sasrec import SASRec, SASRecOptions
from layerprobe.recommender.sequence_model import SequenceModel
from layerprobe.training.engine import Engine
from layerprobe.training.loop import Trainer
from layerprobe.training.options import TrainingOptions, train_batches

N_ITEMS = 12
KINDS = [
    LossOptions("sampled-softmax", negatives=5),
    LossOptions("sampled-softmax", negatives=5, sampling="popularity"),
    LossOptions("gbce", negatives=5, calibration=0.5),
]


def options(loss: LossOptions, **changes) -> TrainingOptions:
    return TrainingOptions(
        **{"epochs": 3, "batch_size": 8, "learning_rate": 5e-3, "warmup_steps": 0, "patience": None, "loss": loss}
        | changes
    )


def sasrec() -> SASRec:
    torch.manual_seed(5)
    return SASRec(N_ITEMS, SASRecOptions(dim=8, dropout=0.0, attention_dropout=0.0, max_len=8))


def fit(split: Split, folder: Path, chosen: TrainingOptions, objective=None) -> SASRec:
    model = sasrec()
    batches = train_batches(split, 8, chosen, seed=0)
    objective = objective or next_item_objective_with(chosen.loss)
    values = iter(range(1, 10**6))  # every epoch counts as better, so the last one is kept
    Trainer(model, batches, chosen, lambda _: float(next(values)), folder, objective=objective).run()
    return model


@pytest.mark.parametrize("loss", KINDS, ids=lambda loss: f"{loss.kind}-{loss.sampling}")
def test_training_with_a_draw_lowers_the_full_cross_entropy(loss: LossOptions, split: Split, tmp_path: Path) -> None:
    chosen = options(loss, epochs=40, learning_rate=2e-2)
    batch = next(train_batches(split, 8, options(LossOptions(), batch_size=1000), seed=0).epoch(0))

    def full(model: SequenceModel) -> float:
        model.eval()
        with torch.no_grad():
            return next_item_objective_with(LossOptions())(model, batch)["loss"].item()

    assert full(fit(split, tmp_path, chosen)) < full(sasrec()) - 0.02


@pytest.mark.parametrize("loss", KINDS, ids=lambda loss: f"{loss.kind}-{loss.sampling}")
def test_all_passes_and_processes_of_a_step_share_the_draw_and_the_next_step_draws_anew(
    loss: LossOptions, split: Split
) -> None:
    batches = train_batches(split, 8, options(loss, max_tokens=8), seed=3)
    chosen = batches.plan(0)[0]
    portions = [*batches.portions(chosen, 0, 2, step=7), *batches.portions(chosen, 1, 2, step=7)]
    draws = [portion.batch.sampled for portion in portions]
    assert len(draws) > 2
    assert all(torch.equal(draw.items, draws[0].items) for draw in draws if draw is not None)
    later = batches.portions(chosen, step=8)[0].batch.sampled
    assert draws[0] is not None
    assert later is not None
    assert not torch.equal(later.items, draws[0].items)


@pytest.mark.parametrize("loss", KINDS, ids=lambda loss: f"{loss.kind}-{loss.sampling}")
def test_cutting_a_step_leaves_its_sampled_loss_and_gradient_unchanged(loss: LossOptions, split: Split) -> None:
    found = []
    for max_tokens in (None, 16):
        chosen = options(loss, max_tokens=max_tokens, batch_size=40)
        batches, model = train_batches(split, 8, chosen, seed=0), sasrec()
        engine = Engine(model, next_item_objective_with(loss), chosen)
        value = engine.backward(batches.portions(batches.plan(0)[0], step=2), seed=0)["loss"]
        found.append((value, [parameter.grad.clone() for parameter in model.parameters()]))
    (whole, gradients), (cut, cut_gradients) = found
    assert cut == pytest.approx(whole, rel=1e-6)
    for a, b in zip(gradients, cut_gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


class Killed(BaseException):
    """Stands for a process that dies."""


@pytest.mark.parametrize("loss", KINDS, ids=lambda loss: f"{loss.kind}-{loss.sampling}")
def test_a_resumed_training_draws_on_as_if_nothing_had_happened(
    loss: LossOptions, split: Split, tmp_path: Path
) -> None:
    chosen = options(loss)
    calls = iter(range(10**6))

    def dying(model: SequenceModel, batch: SequenceBatch) -> dict[str, torch.Tensor]:
        if next(calls) == 6:
            raise Killed
        return next_item_objective_with(loss)(model, batch)

    whole = fit(split, tmp_path / "whole", chosen)
    with pytest.raises(Killed):
        fit(split, tmp_path / "cut", chosen, dying)
    # The stand-in for validation starts anew, so the resumed run must not mistake its values for worse ones.
    model, values = sasrec(), iter(range(100, 10**6))
    batches = train_batches(split, 8, chosen, seed=0)
    objective = next_item_objective_with(loss)
    Trainer(model, batches, chosen, lambda _: float(next(values)), tmp_path / "cut", objective=objective).run()
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), model.parameters(), strict=True))


def test_more_negatives_than_items_are_refused(split: Split) -> None:
    with pytest.raises(InputError, match=r"loss.negatives must be at most the number of items, 12; got 13"):
        train_batches(split, 8, options(LossOptions("gbce", negatives=13)), seed=0)
