"""Keys of a training that do not fit the data are refused after the data are there and before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_study import TINY, TRAINING, write_study

from layerprobe.cli.main import main
from layerprobe.store.atomic import read_json

SASREC = TINY["items"]["sasrec"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training": {**TRAINING, "max_tokens": 15}},
            "training: max_tokens must hold the longest sequence, 16 positions; got 15: raise it or lower max_len",
        ),
        (
            {"items": {"sasrec": SASREC, "training": {**TRAINING, "max_tokens": 15}}},
            "items.training: max_tokens must hold the longest sequence, 16 positions; got 15: raise it or lower "
            "max_len",
        ),
        (
            {"distill": {"depth": 2, "training": {**TRAINING, "stride": 17}}},
            "distill.training: stride must lie in 1..16, the items a window reads; got 17",
        ),
        (
            {"training": {**TRAINING, "loss": {"kind": "sampled-softmax", "negatives": 121}}},
            "training: loss.negatives must be at most the number of items, 120; got 121: set it lower, or use "
            "loss.kind = softmax, which suits a catalogue of 120 items",
        ),
    ],
)
def test_what_does_not_fit_the_data_is_refused_before_training(
    changes: dict[str, object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, folder = write_study(tmp_path, **changes), tmp_path / "study"
    assert main(["run", str(study), "--out", str(folder)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("layerprobe: error")] == [f"layerprobe: error: {message}"]
    assert not folder.exists()
    assert main(["run", str(study), "--out", str(tmp_path / "dry"), "--dry-run"]) == 2
    assert f"layerprobe: error: {message}" in capsys.readouterr().err
    assert not (tmp_path / "dry").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [("learning_rate", 0.0), ("learning_rate", 1.5), ("warmup_steps", -1), ("stride", 0), ("max_tokens", 0)],
)
def test_values_out_of_range_write_nothing(
    name: str, value: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path, training={**TRAINING, name: value})
    assert main(["run", str(study), "--out", str(tmp_path / "study")]) == 2
    said = capsys.readouterr().err
    assert name in said
    assert str(value) in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "study").exists()


def test_a_model_that_cannot_fit_is_refused_before_the_first_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    huge = {**TINY["backbone"], "layers": 80, "hidden_size": 65_536, "intermediate_size": 65_536}
    study, folder = write_study(tmp_path, backbone=huge, probe={"depths": [1]}), tmp_path / "study"
    assert main(["run", str(study), "--out", str(folder)]) == 2
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("layerprobe: error")]
    assert "the plan does not fit: teacher: first:80 needs at least" in said
    assert "lower backbone.layers" in said
    assert "batch_size" not in said  # it would not help
    assert sorted(path.name for path in folder.iterdir()) == ["data"]


def test_a_folder_keeps_the_precision_it_was_begun_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, folder = write_study(tmp_path), tmp_path / "study"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert main(["lr", str(study), "--out", str(folder), "--model", "sasrec", "--steps", "10"]) == 0
    known = read_json(folder / "provenance.json")
    assert (known["precision"], known["processes"]) == ("no", 1)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    capsys.readouterr()
    assert main(["run", str(study), "--out", str(folder)]) == 2
    assert f"{folder} was trained with mixed precision no; this run would resume with bf16" in capsys.readouterr().err
    assert not (folder / "items").exists()


@pytest.mark.slow
def test_a_study_runs_with_windows_passes_and_sampled_losses(tmp_path: Path) -> None:
    loss = {"kind": "sampled-softmax", "negatives": 30, "sampling": "popularity"}
    training = {**TRAINING, "stride": 8, "max_tokens": 128, "loss": loss}
    other = {**TRAINING, "loss": {"kind": "gbce", "negatives": 20}}
    study = write_study(tmp_path, items={"sasrec": SASREC, "training": other}, training=training, probe={"depths": [1]})
    assert main(["distill", str(study), "--out", str(tmp_path / "study")]) == 0
    for model in ("items", "teacher", "variants/first-1/seed-0", "distillation/student"):
        assert (tmp_path / "study" / model / "done.json").exists(), model
