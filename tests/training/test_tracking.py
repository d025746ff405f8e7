"""Trackers: the rows of the log arrive there, and a missing package is said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from layerprobe.errors import InputError
from layerprobe.training import tracking
from layerprobe.training.tracking import Tracking

TRAIN = """
import json, sys, warnings
from pathlib import Path
import numpy as np, torch
from layerprobe.data.sequences import Sequences
from layerprobe.data.splits import Split
from layerprobe.data.train_batches import TrainBatches
from layerprobe.recommender.sasrec import SASRec, SASRecOptions
from layerprobe.training.loop import Trainer
from layerprobe.training.options import TrainingOptions
from layerprobe.training.tracking import Tracking

folder = Path(sys.argv[1])
split = Split(Sequences(np.tile(np.arange(1, 7), 20), np.arange(0, 126, 6), 6))
options = TrainingOptions(epochs=2, batch_size=4, warmup_steps=0, patience=None)
track = Tracking(("tensorboard",), "study", folder / "tracking")
spec = {"training": {"patience": None, "betas": [0.9, 0.98], "epochs": 2}}
model = SASRec(6, SASRecOptions(dim=4, max_len=6))
valid = iter([0.1, 0.3, 0.2])
batches = TrainBatches(split, 6, 4, "all", 0)
run = {"label": "variant first:2", "spec": spec, "tracking": track}
Trainer(model, batches, options, lambda _: next(valid), folder, **run).run()
"""


def test_tensorboard_gets_the_rows_of_the_log(tmp_path: Path) -> None:
    # In a process of its own: TensorBoard's imports warn, and warnings are errors here.
    subprocess.run([sys.executable, "-c", TRAIN, str(tmp_path)], check=True, capture_output=True)
    read = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
found = EventAccumulator(sys.argv[1]).Reload()
print(json.dumps({tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}))
"""
    run = tmp_path / "tracking" / "variant_first-2"
    done = subprocess.run([sys.executable, "-c", read, str(run)], check=True, capture_output=True, text=True)
    scalars = json.loads(done.stdout)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [value for _, value in scalars["valid_ndcg@10"]] == pytest.approx([0.1, 0.3, 0.2])
    assert [step for step, _ in scalars["valid_ndcg@10"]] == [0, 5, 10]  # 20 users in batches of 4
    logged = [row["loss"] for row in rows if "loss" in row]
    assert len(logged) == 1
    assert [value for _, value in scalars["loss"]] == pytest.approx(logged, rel=1e-5)
    assert [step for step, _ in scalars["loss"]] == [row["step"] for row in rows if "loss" in row]


def test_a_tracker_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"the package wandb is not installed; run `pip install wandb`"):
        Tracking(("wandb",), "study", tmp_path / "tracking").check()
    assert not (tmp_path / "tracking").exists()


def test_a_folder_of_a_trackers_name_is_no_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "wandb").mkdir()  # as W&B leaves it in the working directory
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="the package wandb is not installed"):
        Tracking(("wandb",), "study", tmp_path / "tracking").check()
