"""Training: it learns, stops on nonsense, and goes on after a kill to the same bits."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from layerprobe.data.batches import SequenceBatch
from layerprobe.data.splits import Split
from layerprobe.data.train_batches import TrainBatches
from layerprobe.errors import InputError, StudyError, TrainingDiverged
from layerprobe.probing.variant import RecipeOptions, build_recommender
from layerprobe.recommender.losses import next_item_objective
from layerprobe.recommender.sasrec import SASRec, SASRecOptions
from layerprobe.recommender.sequence_model import SequenceModel, trainable_state
from layerprobe.training import loop
from layerprobe.training.checkpoint import MODEL, RESUME, load_model
from layerprobe.training.loop import Trainer
from layerprobe.training.options import TrainingOptions, learning_rate_at

OPTIONS = TrainingOptions(epochs=3, batch_size=8, learning_rate=5e-3, warmup_steps=2, patience=None)


class Killed(BaseException):
    """Stands for a process that dies; nothing may catch it."""


def sasrec() -> SASRec:
    torch.manual_seed(5)
    return SASRec(12, SASRecOptions(dim=8, dropout=0.3, max_len=8))


def minus_loss(split: Split):
    """A stand-in for NDCG: minus the mean loss, shifted above 0."""

    def validate(model: SequenceModel) -> float:
        model.eval()
        with torch.no_grad():
            batches = list(TrainBatches(split, 8, 100, "all", 0).epoch(0))
            return 10 - next_item_objective(model, batches[0])["loss"].item()

    return validate


def trainer(model: SequenceModel, split: Split, folder: Path, **changes) -> Trainer:
    options = changes.pop("options", OPTIONS)
    return Trainer(model, TrainBatches(split, 8, 8, "all", 0), options, minus_loss(split), folder, **changes)


def test_training_lowers_the_loss_and_changes_the_weights(split: Split, tmp_path: Path) -> None:
    model = sasrec()
    before = {name: value.clone() for name, value in trainable_state(model).items()}
    start = minus_loss(split)(model)
    result = trainer(model, split, tmp_path).run()
    assert result.best_valid > start + 0.004
    assert all(not torch.equal(value, before[name]) for name, value in trainable_state(model).items())
    assert result.steps == 3 * len(TrainBatches(split, 8, 8, "all", 0).plan(0))


def test_the_model_ends_with_the_stored_best_parameters(split: Split, tmp_path: Path) -> None:
    model = sasrec()
    trainer(model, split, tmp_path).run()
    stored = sasrec()
    load_model(tmp_path / "checkpoint" / MODEL, stored)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), stored.parameters(), strict=True))


@pytest.mark.parametrize("dies_at", [0, 1, 4, 5, 9, 14])
@pytest.mark.parametrize("saves", [0.0, 1e9], ids=["every step", "every epoch"])
def test_kill_and_resume_equals_an_uninterrupted_run(
    dies_at: int, saves: float, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", saves)
    whole = sasrec()
    trainer(whole, split, tmp_path / "whole").run()
    calls = iter(range(10**6))

    def dying(model: SequenceModel, batch: SequenceBatch) -> dict[str, torch.Tensor]:
        if next(calls) == dies_at:
            raise Killed
        return next_item_objective(model, batch)

    with pytest.raises(Killed):
        trainer(sasrec(), split, tmp_path / "cut", objective=dying).run()
    resumed = sasrec()
    trainer(resumed, split, tmp_path / "cut").run()
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert log(tmp_path / "cut") == log(tmp_path / "whole")


def log(folder: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_a_recommender_resumes_too(
    split: Split, item_table: torch.Tensor, recipe: RecipeOptions, tmp_path: Path
) -> None:
    def fresh() -> SequenceModel:
        return build_recommender(recipe, item_table, "first:1", 0)

    whole, resumed = fresh(), fresh()
    trainer(whole, split, tmp_path / "whole").run()
    calls = iter(range(10**6))

    def dying(model: SequenceModel, batch: SequenceBatch) -> dict[str, torch.Tensor]:
        if next(calls) == 7:
            raise Killed
        return next_item_objective(model, batch)

    with pytest.raises(Killed):
        trainer(fresh(), split, tmp_path / "cut", objective=dying).run()
    trainer(resumed, split, tmp_path / "cut").run()
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_loss_that_is_not_finite_stops_the_run_and_says_what_to_do(split: Split, tmp_path: Path) -> None:
    def broken(model: SequenceModel, batch: SequenceBatch) -> dict[str, torch.Tensor]:
        return {"loss": next_item_objective(model, batch)["loss"] * math.nan}

    with pytest.raises(TrainingDiverged, match=r"loss.* nan at step 0, learning rate .*; try a learning rate"):
        trainer(sasrec(), split, tmp_path, objective=broken).run()


def test_early_stop_waits_for_its_patience(split: Split, tmp_path: Path) -> None:
    options = TrainingOptions(epochs=9, batch_size=8, warmup_steps=0, patience=2)
    falling = iter(range(100, 0, -1))
    run = Trainer(sasrec(), TrainBatches(split, 8, 8, "all", 0), options, lambda _model: float(next(falling)), tmp_path)
    result = run.run()
    assert (result.epochs, result.best_epoch) == (2, 0)


def test_resuming_into_another_model_is_refused(split: Split, tmp_path: Path) -> None:
    trainer(sasrec(), split, tmp_path).run()
    assert (tmp_path / "checkpoint" / RESUME).exists()
    other = SASRec(12, SASRecOptions(dim=16, max_len=8))
    with pytest.raises(StudyError, match="another model"):
        trainer(other, split, tmp_path).run()


def test_log_rows_have_loss_rate_and_validation(split: Split, tmp_path: Path) -> None:
    trainer(sasrec(), split, tmp_path).run()
    rows = log(tmp_path)
    assert {"step", "epoch", "loss", "lr", "grad_norm"} <= set(next(row for row in rows if "step" in row))
    assert [row["epoch"] for row in rows if "valid_ndcg@10" in row] == [0, 1, 2, 3]


def test_schedule_rises_then_falls_to_zero() -> None:
    options = TrainingOptions(learning_rate=0.1, warmup_steps=4)
    rates = [learning_rate_at(step, 104, options) for step in (0, 3, 4, 54, 104)]
    assert rates == pytest.approx([0.1 / 4, 0.1, 0.1, 0.05, 0.0])
    constant = TrainingOptions(learning_rate=0.1, warmup_steps=0, schedule="constant")
    assert learning_rate_at(77, 100, constant) == 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"learning_rate": 0.0}, r"learning_rate must lie in \(0, 1\)"),
        ({"learning_rate": 3.0}, r"learning_rate must lie in \(0, 1\)"),
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"max_grad_norm": 0.0}, "max_grad_norm"),
        ({"patience": 0}, "patience"),
    ],
)
def test_bad_options(changes: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingOptions(**changes)
