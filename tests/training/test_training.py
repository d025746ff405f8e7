"""Training: it learns, stops on nonsense, and goes on after a kill to the same bits."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from layerprobe.data.batches import SequenceBatch
from layerprobe.data.splits import Split
from layerprobe.data.train_batches import TrainBatches
from layerprobe.distillation.losses import DistillationWeights
from layerprobe.distillation.mapping import block_map
from layerprobe.distillation.run import BlockDistillation, StudentInTraining
from layerprobe.distillation.teacher_cache import cache_teacher
from layerprobe.errors import InputError, StudyError, TrainingDiverged
from layerprobe.probing.variant import RecipeOptions, build_recommender
from layerprobe.recommender.losses import next_item_objective
from layerprobe.recommender.model import RecommenderOptions
from layerprobe.recommender.sasrec import SASRec, SASRecOptions
from layerprobe.recommender.sequence_model import SequenceModel, trainable_state
from layerprobe.store.atomic import read_tensors
from layerprobe.training import loop
from layerprobe.training.checkpoint import MODEL, RESUME, load_model, saved_progress
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


def still_teacher(item_table: torch.Tensor, recipe: RecipeOptions, batches: TrainBatches) -> BlockDistillation:
    teacher = build_recommender(recipe, item_table, None, 0).eval().requires_grad_(False)
    blocks = block_map(4, 2)
    return BlockDistillation(DistillationWeights(), blocks, cache_teacher(teacher, batches, blocks.teacher))


@pytest.mark.parametrize("saves", [0.0, 1e9], ids=["every step", "every epoch"])
@pytest.mark.parametrize("kind", ["plain", "windows and passes", "distillation"])
def test_a_training_killed_at_every_tenth_step_ends_with_the_bits_of_an_uninterrupted_one(
    kind: str,
    saves: float,
    split: Split,
    item_table: torch.Tensor,
    recipe: RecipeOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", saves)
    monkeypatch.setattr(loop, "LOG_EVERY", 3)
    windows = {"stride": 2, "max_tokens": 12} if kind == "windows and passes" else {}
    batches = TrainBatches(split, 4, 5, "all", 0, **windows)
    epochs = -(-56 // len(batches.plan(0)))
    options = dataclasses.replace(OPTIONS, epochs=epochs, **windows)
    rated = dataclasses.replace(recipe, recommender=RecommenderOptions(max_len=8, input_dropout=0.2))

    def begun(folder: Path) -> Trainer:
        if kind != "distillation":
            return Trainer(sasrec(), batches, options, minus_loss(split), folder)
        student = StudentInTraining(build_recommender(rated, item_table, "first:2", 1), 2, 1)
        distilling = still_teacher(item_table, recipe, batches)
        return Trainer(student, batches, options, minus_loss(split), folder, objective=distilling)

    whole = begun(tmp_path / "whole")
    result = whole.run()
    assert 55 < result.steps < 70
    deaths = 0
    for dies_at in range(0, result.steps, 10):
        cut = begun(tmp_path / "cut")
        die_in_step(cut, dies_at, monkeypatch)
        with pytest.raises(Killed):
            cut.run()
        deaths += 1
    last = begun(tmp_path / "cut")
    resumed = last.run()
    assert deaths >= 6
    for name, value in trainable_state(whole.model).items():
        assert torch.equal(trainable_state(last.model)[name], value), name
    assert log(tmp_path / "cut") == log(tmp_path / "whole")
    assert dataclasses.replace(resumed, train_seconds=0) == dataclasses.replace(result, train_seconds=0)


@pytest.mark.parametrize("saves", [0.0, 1e9], ids=["every step", "every epoch"])
def test_a_training_killed_in_every_validation_ends_the_same(
    saves: float, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", saves)
    whole = sasrec()
    trainer(whole, split, tmp_path / "whole").run()
    for dies_at in range(4):  # before training, and after each of the three epochs
        cut = trainer(sasrec(), split, tmp_path / "cut")
        die_in_validation(cut, dies_at)
        with pytest.raises(Killed):
            cut.run()
    resumed = sasrec()
    trainer(resumed, split, tmp_path / "cut").run()
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert log(tmp_path / "cut") == log(tmp_path / "whole")


def die_in_validation(run: Trainer, dies_at: int) -> None:
    """Kills a training when the model of an epoch is to be judged."""
    real = run.validate

    def dying(model: SequenceModel) -> float:
        if run.progress.epoch == dies_at:
            raise Killed
        return real(model)

    run.validate = dying


def die_in_step(run: Trainer, dies_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills a training when the gradient of a step is there and nothing has been done with it."""
    real = run.engine.backward

    def dying(portions, seed: int) -> dict[str, float]:
        values = real(portions, seed)
        if run.progress.step == dies_at:
            raise Killed
        return values

    monkeypatch.setattr(run.engine, "backward", dying)


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


SPEC = {"selection": "first:2", "training": {"learning_rate": 0.005, "betas": [0.9, 0.98]}, "seed": 0}


@pytest.mark.parametrize(
    ("now", "keys"),
    [
        ({**SPEC, "training": {"learning_rate": 0.01, "betas": [0.9, 0.98]}}, "training.learning_rate"),
        ({**SPEC, "seed": 1, "training": {"learning_rate": 0.005, "betas": [0.9, 0.9]}}, "training.betas, seed"),
        ({**SPEC, "start": "abc"}, "start"),
        ({}, "selection, training, seed"),
    ],
)
def test_a_half_trained_model_of_another_specification_is_refused_by_the_keys_that_differ(
    now: dict[str, object], keys: str, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    cut = trainer(sasrec(), split, tmp_path, spec=SPEC)
    die_in_step(cut, 7, monkeypatch)
    with pytest.raises(Killed):
        cut.run()
    before = contents(tmp_path)
    with pytest.raises(InputError, match=f"these keys differ: {keys}; it is not resumed: delete {tmp_path}"):
        trainer(sasrec(), split, tmp_path, spec=now).run()
    assert contents(tmp_path) == before
    same = {**SPEC, "training": {"learning_rate": 0.005, "betas": (0.9, 0.98)}}  # a tuple is a list on disk
    assert trainer(sasrec(), split, tmp_path, spec=same).run().steps == 3 * 5


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FULL_DISK = """
import resource, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {here!r}]
import test_training as t
from layerprobe.data.splits import Split
from layerprobe.data.sequences import Sequences
from layerprobe.errors import StudyError
from layerprobe.store.atomic import read_tensors
import numpy as np

items, offsets = np.load({items!r}), np.load({offsets!r})
folder = Path({folder!r})
t.loop.SAVE_SECONDS = 0.0
run = t.trainer(t.sasrec(), Split(Sequences(items, offsets, 12)), folder)
real = run.engine.update
def update(rate):
    real(rate)
    if run.progress.step == 7:  # no file can grow beyond 4 KiB from here: the save after this step fails
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
run.engine.update = update
try:
    run.run()
except StudyError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_last_checkpoint_whole_and_the_training_goes_on_from_it(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    whole = sasrec()
    trainer(whole, split, tmp_path / "whole").run()
    items, offsets, folder = tmp_path / "items.npy", tmp_path / "offsets.npy", tmp_path / "cut"
    np.save(items, split.sequences.items)
    np.save(offsets, split.sequences.offsets)
    here = Path(__file__).parent
    script = FULL_DISK.format(
        tests=str(here.parent), here=str(here), items=str(items), offsets=str(offsets), folder=str(folder)
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    resume = folder / "checkpoint" / RESUME
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert f"could not write {resume}" in done.stdout
    assert "unchanged" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert not list(folder.rglob("*.tmp"))
    assert json.loads(read_tensors(resume)[1]["progress"])["step"] == 7
    resumed = sasrec()
    trainer(resumed, split, folder).run()
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert log(folder) == log(tmp_path / "whole")


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
        ({"learning_rate": 0.0}, "learning_rate must lie between 0 and 1"),
        ({"learning_rate": 3.0}, "learning_rate must lie between 0 and 1"),
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"max_grad_norm": 0.0}, "max_grad_norm"),
        ({"patience": 0}, "patience"),
    ],
)
def test_bad_options(changes: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingOptions(**changes)


def test_a_paused_training_ends_as_one_that_was_not_paused(split: Split, tmp_path: Path) -> None:
    whole, paused, resumed = sasrec(), sasrec(), sasrec()
    trainer(whole, split, tmp_path / "whole").run()
    trainer(paused, split, tmp_path / "cut").pause_after(1)
    assert saved_progress(tmp_path / "cut" / "checkpoint").epoch == 1
    assert not (tmp_path / "cut" / "checkpoint" / MODEL).exists()
    trainer(resumed, split, tmp_path / "cut").run()
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
