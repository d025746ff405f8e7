"""The control arm: the same layers of a checkpoint, trained the same way from random weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from study_folders import MODEL_FILES, files
from tiny_study import write_study
from transformers import LlamaConfig, LlamaModel

from layerprobe.cli.main import main
from layerprobe.recommender.model import Recommender
from layerprobe.store.atomic import read_json, read_yaml
from layerprobe.study.jobs.recommenders import build_variant, control_job
from layerprobe.study.parser import load_spec
from layerprobe.study.study import Study
from layerprobe.training import model_folder

TWINS = ("first-1", "keep-0_3", "first-4")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of four layers whose weights are ten times larger than random ones, so that the two can be told apart."""
    folder = tmp_path_factory.mktemp("checkpoint")
    config = LlamaConfig(
        vocab_size=16,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = LlamaModel(config)
    model.config.initializer_range = 0.02
    model.save_pretrained(folder)
    return folder


def changes(checkpoint: Path, **probe: object) -> dict[str, object]:
    asked = {"depths": [0], "selections": ["first:1", "keep:0,3"], "controls": ["random-init"]}
    return {"backbone": {"checkpoint": str(checkpoint)}, "probe": {**asked, **probe}}


@pytest.fixture(scope="module")
def controlled(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished study with the arm. Read only."""
    folder = tmp_path_factory.mktemp("controlled")
    assert main(["run", str(write_study(folder, **changes(checkpoint))), "--out", str(folder / "study")]) == 0
    return folder / "study"


@pytest.fixture
def own(controlled: Path, tmp_path: Path) -> Path:
    """A copy of the study that a test may change."""
    return Path(shutil.copytree(controlled, tmp_path / "study"))


def opened(study: Path, checkpoint: Path, folder: Path, **probe: object) -> Study:
    return Study(load_spec(write_study(folder, **changes(checkpoint, **probe)), []), study)


def test_every_selection_with_layers_has_a_twin_with_a_variants_files(controlled: Path) -> None:
    assert files(controlled / "controls") == {
        f"random-init/{name}/seed-0/{file}" for name in TWINS for file in MODEL_FILES
    }
    assert {path.name for path in controlled.iterdir()} == {
        "files.json", "checked.json",
        "study.yaml", "provenance.json", "data", "items", "baselines", "teacher", "exits", "variants", "controls",
        "similarity", "curve.csv", "convergence.csv", "slices.csv", "slice_differences.csv", "decision.json",
        "decisions.jsonl", "robustness.csv", "controls.json", "predictiveness.csv", "predicted.csv", "costs",
        "distillation", "student", "report",
    }  # fmt: skip


def test_twins_are_points_of_the_curve_but_no_members_of_the_decision(controlled: Path) -> None:
    curve = pd.read_csv(controlled / "curve.csv").query("kind == 'random-init'")
    points = curve[["selection", "depth", "seed"]].drop_duplicates().itertuples(index=False)
    assert [tuple(point) for point in points] == [("first:1", 1, 0), ("keep:0,3", 2, 0), ("first:4", 4, 0)]
    rows = read_json(controlled / "decision.json")["depths"]
    assert [row["selection"] for row in rows] == ["first:0", "first:1", "keep:0,3", "first:4"]


def test_a_twin_differs_from_its_variant_in_the_backbones_weights_alone(controlled: Path) -> None:
    variant, twin = (
        read_yaml(controlled / arm / "keep-0_3" / "seed-0" / "spec.yaml")
        for arm in ("variants", "controls/random-init")
    )
    assert twin["backbone"].pop("init") == "random"
    assert variant["backbone"].pop("init") == "pretrained"
    assert (twin["backbone"].pop("init_seed"), variant["backbone"].pop("init_seed")) == (0, None)  # stored weights
    assert twin == variant


def layer_scale(model: Recommender) -> float:
    """Standard deviation of all weight matrices of the layers."""
    weights = [value for name, value in model.backbone.named_parameters() if "layers" in name and value.ndim == 2]
    return float(torch.cat([value.detach().flatten() for value in weights]).std())


@pytest.mark.parametrize("start", ["backbone", "teacher"])
def test_twins_start_from_random_weights_whatever_variants_start_from(
    start: str, controlled: Path, checkpoint: Path, tmp_path: Path
) -> None:
    study = opened(controlled, checkpoint, tmp_path, start=start)
    selection = study.selections[2]
    twin = control_job(study, "random-init", selection, 0).build()
    variant = build_variant(study, selection, 0, from_teacher=start == "teacher")
    assert isinstance(twin, Recommender)
    assert twin.n_layers == variant.n_layers == 2
    assert layer_scale(twin) == pytest.approx(0.02, rel=0.1)
    assert layer_scale(variant) > 0.1
    assert "start" not in control_job(study, "random-init", selection, 0).spec
    if start == "backbone":  # head and input map are drawn alike
        torch.testing.assert_close(twin.head.weight, variant.head.weight, rtol=0, atol=0)


def test_a_twin_keeps_the_very_layers_of_its_variant(controlled: Path, checkpoint: Path, tmp_path: Path) -> None:
    study = opened(controlled, checkpoint, tmp_path)
    kept, full = (control_job(study, "random-init", study.selections[place], 0).build() for place in (2, 3))
    assert isinstance(kept, Recommender)
    assert isinstance(full, Recommender)
    cut, whole = (dict(model.backbone.named_parameters()) for model in (kept, full))
    name = "layers.1.mlp.down_proj.weight"
    torch.testing.assert_close(cut[name], whole[name.replace(".1.", ".3.")], rtol=0, atol=0)
    assert not torch.equal(cut[name], whole[name])


def test_the_comparison_is_stored_and_told(controlled: Path) -> None:
    (arm,) = read_json(controlled / "controls.json")["controls"]
    assert [row["selection"] for row in arm["selections"]] == ["first:1", "keep:0,3", "first:4"]
    assert (arm["control"], arm["metric"], arm["k"], arm["n_users"]) == ("random-init", "ndcg", 10, 80)
    curve = pd.read_csv(controlled / "curve.csv")
    value = curve.query("metric == 'ndcg' and k == 10 and split == 'test' and protocol == 'full'")
    value = value.set_index(["kind", "selection"])["value"]
    for row in arm["selections"]:
        assert row["value"] == pytest.approx(value["variant", row["selection"]])
        assert row["control_value"] == pytest.approx(value["random-init", row["selection"]])
        assert row["difference"] == pytest.approx(row["value"] - row["control_value"])
    text = (controlled / "report" / "report.md").read_text()
    assert arm["sentence"] in text
    assert "random initialisation, keep:0,3, seed 0" in text


def test_the_arm_can_be_added_to_a_finished_study_and_trains_its_twins_alone(
    checkpoint: Path, controlled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = ["--out", str(tmp_path / "study")]
    assert main(["decide", str(write_study(tmp_path, **changes(checkpoint, controls=[]))), *out]) == 0
    assert not (tmp_path / "study" / "controls.json").exists()
    trained = []
    real = model_folder.Trainer
    monkeypatch.setattr(model_folder, "Trainer", lambda *a, **k: trained.append(k["label"]) or real(*a, **k))
    assert main(["decide", str(write_study(tmp_path, **changes(checkpoint))), *out]) == 0
    assert trained == [f"random-init {text} seed 0" for text in ("first:1", "keep:0,3", "first:4")]
    assert read_json(tmp_path / "study" / "controls.json") == read_json(controlled / "controls.json")


def test_without_the_arm_its_comparison_goes_and_its_models_stay(own: Path, checkpoint: Path, tmp_path: Path) -> None:
    assert main(["decide", str(write_study(tmp_path, **changes(checkpoint, controls=[]))), "--out", str(own)]) == 0
    assert not (own / "controls.json").exists()
    assert "random-init" not in set(pd.read_csv(own / "curve.csv")["kind"])
    assert {path.name for path in (own / "controls" / "random-init").iterdir()} == set(TWINS)


def test_every_seed_has_its_twins(own: Path, checkpoint: Path, tmp_path: Path) -> None:
    study = write_study(tmp_path, **changes(checkpoint, seeds=[0, 1]))
    assert main(["decide", str(study), "--out", str(own)]) == 0
    assert {path.parent.name for path in own.glob("controls/random-init/*/seed-1")} == set(TWINS)
    (arm,) = read_json(own / "controls.json")["controls"]
    assert {row["seeds"] for row in arm["selections"]} == {2}


def test_the_plan_names_twins_and_whether_they_are_done(
    controlled: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path, **changes(checkpoint, seeds=[0, 1]))
    assert main(["run", str(study), "--out", str(controlled), "--dry-run"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("random-init")]
    assert len(lines) == 2 * len(TWINS)
    states = {line[: line.index("  ")]: line[line.index("  ") :].split()[0] for line in lines}
    assert states["random-init: keep:0,3, seed 0"] == "done"
    assert states["random-init: keep:0,3, seed 1"] == "to"


def test_an_arm_beside_random_weights_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone = {"checkpoint": str(checkpoint), "init": "random"}
    study = write_study(tmp_path, **changes(checkpoint) | {"backbone": backbone})
    assert main(["run", str(study), "--out", str(tmp_path / "study")]) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("layerprobe: error")]
    assert (
        "probe.controls random-init needs pretrained weights to compare with; the backbone has random weights" in error
    )
    assert not (tmp_path / "study").exists()
