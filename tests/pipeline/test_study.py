"""A study from end to end: its files, its resume, its guards."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from study_folders import MODEL_FILES, Killed, contents, files, without_clock
from tiny_study import TINY, TRAINING, write_study

from layerprobe import columns
from layerprobe.cli.main import main
from layerprobe.evaluation.metrics import metric_values
from layerprobe.probing.exits import EXIT_KINDS
from layerprobe.stages import report
from layerprobe.store.atomic import read_json, read_yaml
from layerprobe.study.demo import DEMO, demo_spec
from layerprobe.study.parser import load_spec
from layerprobe.study.spec import StudySpec, to_plain
from layerprobe.training import model_folder

REPOSITORY = Path(__file__).resolve().parents[2]
FLOORS = ("sasrec", "popularity", "markov-1", "markov-1-past", "tfidf")


def test_a_study_writes_exactly_its_files(finished: Path) -> None:
    exits = {f"ranks-{kind}-{k}.parquet" for kind in EXIT_KINDS for k in range(5)}
    assert files(finished / "teacher") == MODEL_FILES
    assert files(finished / "variants") == {f"first-{k}/seed-0/{name}" for k in (0, 2) for name in MODEL_FILES}
    assert files(finished / "distillation" / "student") == MODEL_FILES
    assert files(finished / "items") == MODEL_FILES | {"item_table.safetensors"}
    assert files(finished / "exits") == exits | {"probe_heads.safetensors", "done.json"}
    assert files(finished / "baselines") == {
        "ranks-popularity.parquet", "ranks-markov-1.parquet", "ranks-markov-1-past.parquet", "ranks-tfidf.parquet",
        "done.json",
    }  # fmt: skip
    assert files(finished / "costs") == {"costs.csv", "costs.json", "front.csv", "done.json"}
    top = {path.name for path in finished.iterdir()}
    assert top == {
        "study.yaml", "provenance.json", "data", "items", "baselines", "teacher", "exits", "variants", "similarity",
        "curve.csv", "convergence.csv", "slices.csv", "slice_differences.csv", "decision.json", "decisions.jsonl",
        "robustness.csv", "predictiveness.csv", "predicted.csv",
        "distillation", "student", "costs", "distilled.json", "report", "files.json", "checked.json",
    }  # fmt: skip
    assert not list(finished.rglob("*.tmp"))


def test_the_curve_has_every_point_and_equals_the_ranks(finished: Path) -> None:
    curve = pd.read_csv(finished / "curve.csv")
    points = set(zip(curve[columns.KIND], curve[columns.DEPTH].fillna(-1), strict=True))
    expected = {("variant", k) for k in (0, 2, 4)} | {(kind, k) for kind in EXIT_KINDS for k in range(5)}
    floors = {(name, -1) for name in FLOORS}
    assert points == expected | floors | {("distilled", 2)}
    ranks = pd.read_parquet(finished / "variants" / "first-2" / "seed-0" / "ranks.parquet")
    ranks = ranks[(ranks["split"] == "test") & (ranks["protocol"] == "full")]
    row = curve.query("kind == 'variant' and depth == 2 and metric == 'ndcg' and k == 10 and split == 'test'")
    row = row[row["protocol"] == "full"].iloc[0]
    assert row["value"] == pytest.approx(metric_values(ranks, "ndcg", 10).mean())
    assert row["ci_low"] <= row["value"] <= row["ci_high"]
    assert row["n_users"] == 80


def test_slices_hold_every_model_and_average_to_the_curve(finished: Path) -> None:
    table = pd.read_csv(finished / "slices.csv")
    assert list(table.columns) == list(columns.SLICES)
    assert set(zip(table["kind"], table["depth"].fillna(-1), strict=True)) == {
        *(("variant", k) for k in (0, 2, 4)),
        *((name, -1) for name in FLOORS),
        ("distilled", 2),
    }
    curve = pd.read_csv(finished / "curve.csv").query("split == 'test' and protocol == 'full' and k == 10")
    for (kind, metric, _), rows in table.query("depth != depth or depth == 2").groupby(["kind", "metric", "slice"]):
        whole = curve[(curve["kind"] == kind) & (curve["metric"] == metric) & ~curve["depth"].isin([0, 4])]
        assert rows["n_users"].sum() == 80
        assert (rows["value"] * rows["n_users"]).sum() / 80 == pytest.approx(whole["value"].item())


def test_slice_differences_are_of_every_other_model_and_average_to_the_difference_of_the_curve(finished: Path) -> None:
    table = pd.read_csv(finished / "slice_differences.csv")
    assert list(table.columns) == list(columns.SLICE_DIFFERENCES)
    floors = [(name, -1) for name in FLOORS]
    models = {("variant", 0), ("variant", 2), ("distilled", 2), *floors}
    assert set(zip(table["kind"], table["depth"].fillna(-1), strict=True)) == models
    assert set(table["slice"]) == {"history_length", "target_popularity", "recency"}
    curve = pd.read_csv(finished / "curve.csv").query("split == 'test' and protocol == 'full' and k == 10")
    for (kind, depth, metric, _), rows in table.groupby(["kind", "depth", "metric", "slice"], dropna=False):
        of_metric = curve[curve["metric"] == metric].assign(depth=lambda found: found["depth"].fillna(-1))
        wanted = {"kind": ["variant", kind], "depth": [4, -1 if np.isnan(depth) else depth]}
        full, own = (
            of_metric.loc[(of_metric["kind"] == k) & (of_metric["depth"] == d), "value"].item()
            for k, d in zip(*wanted.values(), strict=True)
        )
        assert rows["n_users"].sum() == 80
        assert (rows["difference"] * rows["n_users"]).sum() / 80 == pytest.approx(own - full)
    assert table[["ci_low", "ci_high_all"]].isna().all(axis=None)  # all groups are smaller than 100


def test_the_normed_exit_at_full_depth_is_the_teacher(finished: Path) -> None:
    exit_ranks = pd.read_parquet(finished / "exits" / "ranks-exit-norm-4.parquet")
    pd.testing.assert_frame_equal(exit_ranks, pd.read_parquet(finished / "teacher" / "ranks.parquet"))


def test_other_options_of_the_probe_fit_the_heads_anew_and_train_nothing(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_folder, "Trainer", lambda *_a, **_k: pytest.fail("a finished model was trained again"))
    before, heads = without_clock(copied), copied / "exits" / "probe_heads.safetensors"
    old, study = heads.read_bytes(), write_study(tmp_path)
    assert main(["probe", str(study), "--out", str(copied), "--probe.heads.step_size", "3"]) == 0
    new, found = heads.read_bytes(), without_clock(copied)
    assert new != old
    probed = before[columns.KIND] == "exit-probe"
    pd.testing.assert_frame_equal(found[~probed], before[~probed])
    assert not found[probed].equals(before[probed])
    assert main(["probe", str(study), "--out", str(copied)]) == 0
    assert heads.read_bytes() == old
    pd.testing.assert_frame_equal(without_clock(copied), before)


def test_distillation_logs_every_term(finished: Path) -> None:
    rows = pd.read_json(finished / "distillation" / "student" / "log.jsonl", lines=True)
    assert (rows[["cross_entropy", "cosine", "norm", "multiple"]].dropna() > 0).all().all()


def test_a_second_run_trains_nothing_and_changes_nothing(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_folder, "Trainer", lambda *_a, **_k: pytest.fail("a finished model was trained again"))
    before = (copied / "curve.csv").read_bytes()
    assert main(["run", str(write_study(tmp_path)), "--out", str(copied)]) == 0
    assert (copied / "curve.csv").read_bytes() == before


@pytest.mark.parametrize("writes", [1, 2, 12, 23, 36, 41, 52, 61, 75, 98, 120, 140])
def test_kill_at_any_write_and_resume_ends_with_the_same_curve(
    writes: int, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, folder = write_study(tmp_path), tmp_path / "study"
    if writes < 130:  # the report comes after, takes most of the time and is drawn from the other files alone
        monkeypatch.setattr(report, "run", lambda _study: None)
    real, seen = os.replace, iter(range(10**6))

    def dying(source: object, target: object) -> None:
        if next(seen) == writes:
            raise Killed
        real(source, target)

    monkeypatch.setattr(os, "replace", dying)
    with pytest.raises(Killed):
        main(["run", str(study), "--out", str(folder)])
    assert (folder / "student" / "README.md").exists() == (writes > 130)  # an earlier kill left something to do
    monkeypatch.setattr(os, "replace", real)
    assert main(["run", str(study), "--out", str(folder)]) == 0
    pd.testing.assert_frame_equal(without_clock(folder), without_clock(finished))
    expected = {name for name in files(finished) if not name.startswith("report/")}
    assert {name for name in files(folder) if not name.startswith("report/")} == expected


def test_another_study_is_not_overwritten(copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_study(tmp_path, training={**TRAINING, "learning_rate": 0.01})
    before = (copied / "study.yaml").read_bytes()
    assert main(["run", str(other), "--out", str(copied)]) == 2
    assert "holds another study; these keys differ: training.learning_rate" in capsys.readouterr().err
    assert (copied / "study.yaml").read_bytes() == before


def test_a_changed_margin_only_decides_again(copied: Path, tmp_path: Path) -> None:
    study = write_study(tmp_path, decision={"margin": 0.5})
    assert main(["run", str(study), "--out", str(copied)]) == 0
    assert read_json(copied / "decision.json")["margin"] == 0.5


def test_an_added_seed_trains_only_its_own_variants(copied: Path, tmp_path: Path) -> None:
    before = (copied / "teacher" / "ranks.parquet").stat().st_mtime_ns
    study = write_study(tmp_path, probe={"seeds": [0, 1], "depths": [0, 2]})
    assert main(["probe", str(study), "--out", str(copied)]) == 0
    assert {path.parent.name for path in copied.glob("variants/*/seed-1")} == {"first-0", "first-2", "first-4"}
    assert (copied / "teacher" / "ranks.parquet").stat().st_mtime_ns == before
    curve = pd.read_csv(copied / "curve.csv")
    assert set(curve.query("kind == 'variant'")["seed"]) == {0, 1}


def test_a_damaged_result_is_noticed(copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ranks = copied / "teacher" / "ranks.parquet"
    whole = ranks.read_bytes()
    ranks.write_bytes(whole[:-1])
    assert main(["run", str(write_study(tmp_path)), "--out", str(copied)]) == 0  # ranked again
    assert "teacher/ranks.parquet was changed after it was written" in capsys.readouterr().err
    assert ranks.read_bytes() == whole


def test_variants_may_start_from_the_teacher(tmp_path: Path) -> None:
    study = write_study(tmp_path, probe={"start": "teacher", "depths": [2]}, distill={"depth": 2, "start": "teacher"})
    assert main(["run", str(study), "--out", str(tmp_path / "study")]) == 0
    spec = read_yaml(tmp_path / "study" / "variants" / "first-2" / "seed-0" / "spec.yaml")
    done = read_json(tmp_path / "study" / "teacher" / "done.json")
    assert spec["start"] == done["files"]["checkpoint/model.safetensors"]


def test_lora_studies_run_to_a_merged_student(tmp_path: Path) -> None:
    study = write_study(tmp_path, tuning={"method": "lora", "rank": 2}, probe={"depths": [1]})
    assert main(["run", str(study), "--out", str(tmp_path / "study")]) == 0
    from safetensors import safe_open

    with safe_open(tmp_path / "study" / "student" / "backbone" / "model.safetensors", framework="pt") as weights:
        assert not any("lora" in name for name in weights.keys())  # noqa: SIM118 - safe_open is no dict


def test_random_item_table_study_runs(tmp_path: Path) -> None:
    study = write_study(tmp_path, items={**TINY["items"], "kind": "random", "random_dim": 16}, probe={"depths": [0]})
    assert main(["teach", str(study), "--out", str(tmp_path / "study")]) == 0
    from layerprobe.store.atomic import read_tensors

    vectors = read_tensors(tmp_path / "study" / "items" / "item_table.safetensors")[0]["vectors"]
    np.testing.assert_allclose(torch.linalg.vector_norm(vectors[1:], dim=1), 1, rtol=1e-6)


def test_a_prepared_folder_serves_a_study(finished: Path, tmp_path: Path) -> None:
    study = write_study(tmp_path, data={"source": "prepared"})
    assert main(["teach", str(study), "--out", str(tmp_path / "study"), "--path", str(finished / "data")]) == 0
    assert (tmp_path / "study" / "teacher" / "ranks.parquet").exists()


def test_a_half_trained_student_of_other_weights_is_not_gone_on_with(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from layerprobe.training import loop

    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(loop.Trainer, "_finish", lambda *_: (_ for _ in ()).throw(Killed))
    monkeypatch.chdir(copied.parent)  # a short path, so that the message is not cut
    named = {"depth": 2, "name": "second"}
    with pytest.raises(Killed):
        main(["distill", str(write_study(tmp_path, distill=named)), "--out", str(copied)])
    monkeypatch.undo()
    monkeypatch.chdir(copied.parent)
    other = write_study(tmp_path, distill={**named, "weights": {"cosine": 0.5}})
    before = contents(copied / "distillation")
    assert main(["distill", str(other), "--out", copied.name]) == 2
    said = capsys.readouterr().err
    assert "half-trained model of another specification; these keys differ: distill.weights.cosine; " in said
    assert contents(copied / "distillation") == before


def test_rests_of_a_killed_run_are_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / ".study.yaml.x1.tmp").write_text("half")
    assert main(["teach", str(write_study(tmp_path)), "--out", str(tmp_path / "study")]) == 0
    assert not list((tmp_path / "study").rglob("*.tmp"))


def test_an_open_depth_takes_the_smallest_that_can_be_distilled(tmp_path: Path) -> None:
    study = write_study(tmp_path, distill={}, probe={"depths": [1, 3]})
    assert main(["export", str(study), "--out", str(tmp_path / "study")]) == 0
    decided = read_json(tmp_path / "study" / "decision.json")["depth"]
    expected = {None: 4, 0: 2, 1: 2, 3: 4}[decided]
    assert read_json(tmp_path / "study" / "student" / "student.json")["kept_layers"] == f"first:{expected}"


def test_dry_run_prints_the_plan_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(write_study(tmp_path)), "--out", str(tmp_path / "study"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^variant: first:2, seed 0 +to do ", printed, flags=re.MULTILINE)
    assert not (tmp_path / "study").exists()


def test_the_demo_is_the_config_in_the_repository() -> None:
    assert to_plain(load_spec(REPOSITORY / "configs" / "demo.yaml", [])) == to_plain(demo_spec())
    assert (REPOSITORY / "configs" / "demo.yaml").read_text() == DEMO.read_text()


def test_every_config_in_the_repository_parses() -> None:
    paths = sorted((REPOSITORY / "configs").glob("*.yaml"))
    assert len(paths) >= 4
    for path in paths:
        assert isinstance(load_spec(path, []), StudySpec)


def test_a_resolved_spec_reads_back_the_same(finished: Path) -> None:
    assert to_plain(load_spec(finished / "study.yaml", [])) == read_yaml(finished / "study.yaml")
