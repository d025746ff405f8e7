"""SASRec and the student of several seeds, and the student against plain fine-tuning of its layers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from study_folders import MODEL_FILES, contents, files
from tiny_study import TINY, TRAINING, write_study

from layerprobe import columns
from layerprobe.cli.main import main
from layerprobe.evaluation.metrics import metric_values
from layerprobe.evaluation.seeds import seeded_intervals
from layerprobe.pipeline.dry_run.plan import planned_models
from layerprobe.reporting.files.study_files import read_study
from layerprobe.reporting.report import make_report
from layerprobe.stages import report
from layerprobe.stages.distil import write_gain
from layerprobe.store.atomic import read_json, read_yaml, write_yaml
from layerprobe.store.run_folder import DONE
from layerprobe.study.jobs.sasrec import sasrec_job
from layerprobe.study.jobs.students import distill_job
from layerprobe.study.parser import load_spec
from layerprobe.study.study import Study
from layerprobe.training import model_folder

SEEDED: dict[str, object] = {
    "probe": {"seeds": [0, 1], "depths": [2]},
}
ADDED = [
    "sasrec seed 1",
    "variant first:2 seed 1",
    "variant first:4 seed 1",
    "distilled first:2 seed 1",
]


@pytest.fixture(scope="module")
def trained() -> list[str]:
    """Labels of the models that the seeded study trained, filled by `seeded`."""
    return []


@pytest.fixture(scope="module")
def seeded(finished: Path, trained: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished tiny study with a second seed of everything. Read only."""
    folder = tmp_path_factory.mktemp("seeded")
    shutil.copytree(finished, folder / "study")
    shutil.rmtree(folder / "study" / "student")  # to be exported again, with more students in the curve
    real = model_folder.Trainer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "run", lambda _study: None)
        patch.setattr(model_folder, "Trainer", lambda *a, **k: trained.append(k["label"]) or real(*a, **k))
        assert main(["run", str(write_study(folder, **SEEDED)), "--out", str(folder / "study")]) == 0
    return folder / "study"


def of_test(folder: Path) -> pd.DataFrame:
    """The test targets among the whole catalogue, by user."""
    ranks = pd.read_parquet(folder / "ranks.parquet")
    return ranks[(ranks["split"] == "test") & (ranks["protocol"] == "full")].sort_values("user")


def test_another_seed_trains_only_its_own_models_and_leaves_the_first(
    seeded: Path, finished: Path, trained: list[str]
) -> None:
    assert trained == ADDED
    assert files(seeded / "items" / "seed-1") == MODEL_FILES
    assert files(seeded / "distillation" / "student" / "seed-1") == MODEL_FILES
    for folder in ("items", "teacher", "distillation/student", "baselines"):
        before, after = contents(finished / folder), contents(seeded / folder)
        assert {name: value for name, value in after.items() if not name.startswith("seed-1/")} == before, folder


def test_seeds_are_points_of_the_curve_and_of_the_slices(seeded: Path) -> None:
    for table in ("curve.csv", "slices.csv"):
        rows = pd.read_csv(seeded / table)
        for kind in ("sasrec", "distilled"):
            assert set(rows.loc[rows[columns.KIND] == kind, columns.SEED]) == {0, 1}, (table, kind)
    curve = pd.read_csv(seeded / "curve.csv").query("metric == 'ndcg' and k == 10 and split == 'test'")
    curve = curve[curve["protocol"] == "full"].set_index(["kind", "selection", "seed"])["value"]
    found = {folder: metric_values(of_test(seeded / folder), "ndcg", 10).mean() for folder in ("items", "items/seed-1")}
    assert curve.loc["sasrec"].to_list() == pytest.approx(list(found.values()))
    assert found["items"] != found["items/seed-1"]


def test_every_seed_of_sasrec_is_in_the_decision(seeded: Path) -> None:
    (row,) = [row for row in read_json(seeded / "decision.json")["baselines"] if row["name"] == "sasrec"]
    tables = [of_test(seeded / folder) for folder in ("items", "items/seed-1")]
    assert row["seeds"] == 2
    assert row["value"] == pytest.approx(np.mean([metric_values(table, "ndcg", 10) for table in tables]))


def test_the_first_student_is_exported_and_its_card_shows_it_alone(seeded: Path, finished: Path) -> None:
    said = read_json(seeded / "student" / "student.json")
    done = read_json(seeded / "distillation" / "student" / DONE)
    assert said["student_sha256"] == done["files"]["checkpoint/model.safetensors"]
    assert said["metrics"] == read_json(finished / "student" / "student.json")["metrics"]
    cards = [(folder / "student" / "README.md").read_text() for folder in (seeded, finished)]
    assert cards[0] == cards[1]


def test_the_student_is_compared_with_plain_fine_tuning_seed_by_seed(seeded: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(seeded, tmp_path / "study"))
    longer = {"depth": 2, "name": "longer", "training": {**TRAINING, "epochs": 8}}
    assert main(["distill", str(write_study(tmp_path, **{**SEEDED, "distill": longer})), "--out", str(own)]) == 0
    found = read_json(own / "distilled.json")
    students = [of_test(own / "distillation" / "longer" / place) for place in ("", "seed-1")]
    variants = [of_test(own / "variants" / "first-2" / f"seed-{seed}") for seed in (0, 1)]
    left, right = (np.stack([metric_values(each, "ndcg", 10) for each in side]) for side in (students, variants))
    assert found["value"] == pytest.approx(left.mean())
    assert found["plain_value"] == pytest.approx(right.mean())
    assert found["difference"] == pytest.approx((left - right).mean())
    assert found["relative"] == pytest.approx(left.mean() / right.mean() - 1)
    assert found["ci_low"] < found["difference"] < found["ci_high"]
    low, high = seeded_intervals((left - right)[:, :, None], 0.05)
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((low[0], high[0]))
    named = ("student", "metric", "k", "selection", "plain", "layers", "seeds", "n_users")
    assert {name: found[name] for name in named} == {
        "student": "longer",
        "metric": "ndcg",
        "k": 10,
        "selection": "first:2",
        "plain": "first:2",
        "layers": [0, 1],
        "seeds": 2,
        "n_users": 80,
    }


def test_the_report_tells_the_seeds_apart_and_says_what_distillation_is_worth(seeded: Path) -> None:
    text = make_report(read_study(seeded)).text
    assert f"**Was the distillation worth it?** {read_json(seeded / 'distilled.json')['sentence']}" in text
    assert "Trained with 2 seeds; shown is seed 0, which is exported." in text
    for name in ("SASRec, seed 0 ", "SASRec, seed 1 ", "distilled student, first:2, seed 1 ", "popularity "):
        assert len([line for line in text.splitlines() if line.startswith(f"| {name}")]) >= 2, name


def test_the_plan_lists_every_seed(seeded: Path, tmp_path: Path) -> None:
    more = {**SEEDED, "probe": {"seeds": [0, 1, 5], "depths": [2]}}
    found = planned_models(Study(load_spec(write_study(tmp_path, **more), []), seeded))
    states = {each.label: each.state for each in found}
    assert states == {
        "items: SASRec and floors": "done",
        "items: SASRec, seed 1": "done",
        "items: SASRec, seed 5": "to do",
        "teacher: first:4": "done",
        "layers compared and left out, exits": "done",
        "variant: first:2, seed 0": "done",
        "variant: first:2, seed 1": "done",
        "variant: first:4, seed 1": "done",
        "variant: first:2, seed 5": "to do",
        "variant: first:4, seed 5": "to do",
        "distilled: first:2": "done",
        "distilled: first:2, seed 1": "done",
        "distilled: first:2, seed 5": "to do",
    }
    assert [each.floors for each in found if each.kind == "sasrec"] == [4, 0, 0]


def test_one_seed_is_compared_alone_and_where_every_seed_is_false_nothing_more_is_trained(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []
    real = model_folder.Trainer
    monkeypatch.setattr(model_folder, "Trainer", lambda *a, **k: trained.append(k["label"]) or real(*a, **k))
    once = {"items": {**TINY["items"], "every_seed": False}, "distill": {"depth": 2, "every_seed": False}}
    study = write_study(tmp_path, probe={"seeds": [0, 1], "depths": [2]}, **once)
    assert main(["distill", str(study), "--out", str(copied)]) == 0
    assert trained == ["variant first:2 seed 1", "variant first:4 seed 1"]
    found = read_json(copied / "distilled.json")
    assert found["seeds"] == 1
    plain = metric_values(of_test(copied / "variants" / "first-2" / "seed-0"), "ndcg", 10)
    assert found["plain_value"] == pytest.approx(plain.mean())
    # one epoch is too short for either: both are the untrained model, which is said
    assert (found["verdict"], found["difference"]) == ("undecided", 0)
    assert "It is undecided which of the two is better: the interval contains 0." in found["sentence"]
    note = "No epoch of the {} of seed 0 was better on validation users than its start, so the start is used."
    assert found["notes"][-2:] == [note.format("student"), note.format("plain model")]


def test_a_study_from_before_these_options_goes_on_without_training(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = read_yaml(copied / "study.yaml")
    del old["items"]["every_seed"], old["distill"]["every_seed"]
    write_yaml(copied / "study.yaml", old)
    assert "every_seed" not in read_yaml(copied / "distillation" / "student" / "spec.yaml")["distill"]
    before = contents(copied / "distillation") | contents(copied / "items")
    monkeypatch.setattr(model_folder, "Trainer", lambda *_a, **_k: pytest.fail("a finished model was trained again"))
    assert main(["distill", str(write_study(tmp_path)), "--out", str(copied)]) == 0
    assert contents(copied / "distillation") | contents(copied / "items") == before


def test_a_model_records_the_seed_that_drew_its_initial_weights(seeded: Path) -> None:
    drawn = {
        "teacher": 0,
        "variants/first-2/seed-0": 0,
        "variants/first-2/seed-1": 1,
        "variants/first-4/seed-1": 1,
        "distillation/student": 0,
        "distillation/student/seed-1": 1,
    }
    found = {folder: read_yaml(seeded / folder / "spec.yaml")["backbone"]["init_seed"] for folder in drawn}
    assert found == drawn
    assert read_yaml(seeded / "study.yaml")["backbone"]["init_seed"] is None


def test_what_a_model_depends_on_is_its_seed_and_no_option_of_seeds(seeded: Path, tmp_path: Path) -> None:
    many = Study(load_spec(write_study(tmp_path, **SEEDED), []), seeded)
    one = Study(load_spec(write_study(tmp_path, probe={"depths": [2]}), []), seeded)
    for job in (sasrec_job, lambda study, seed: distill_job(study, study.selections[0], seed)):
        first, second = job(many, 0), job(many, 1)
        assert first.key == job(one, 0).key != second.key
        drawn = {"backbone": {**first.spec["backbone"], "init_seed": 1}} if "backbone" in first.spec else {}
        assert {**first.spec, "seed": 1, **drawn} == second.spec


def test_layers_that_were_not_fine_tuned_alone_have_no_comparison(copied: Path, tmp_path: Path) -> None:
    assert (copied / "distilled.json").exists()
    study = write_study(tmp_path, distill={"selection": "keep:0,2", "name": "other"})
    assert main(["distill", str(study), "--out", str(copied)]) == 0
    assert not (copied / "distilled.json").exists()


def test_variants_are_found_by_their_layers_and_other_recipes_are_said(copied: Path, tmp_path: Path) -> None:
    other = {"selection": "keep:0-1", "name": "other", "start": "teacher", "training": {**TRAINING, "epochs": 2}}
    assert main(["distill", str(write_study(tmp_path, distill=other)), "--out", str(copied)]) == 0
    found = read_json(copied / "distilled.json")
    assert (found["student"], found["selection"], found["plain"]) == ("other", "keep:0-1", "first:2")
    assert (
        "The trainings differ in more than the teacher: the student has other training options (epochs); the student "
        "started from the trained teacher's weights, the plain model from the backbone's own weights. The student is"
    ) in found["sentence"]
    floors = {"sasrec", "tfidf", "markov-1", "markov-1-past", "popularity"}
    assert {row["baseline"] for row in found["against_baselines"]} == floors


@pytest.mark.parametrize("unfinished", ["variants/first-2", "distillation/student"])
def test_seeds_that_are_not_finished_on_both_sides_are_left_out(unfinished: str, seeded: Path, tmp_path: Path) -> None:
    shutil.copytree(seeded, tmp_path / "study")
    study = Study(load_spec(write_study(tmp_path, **SEEDED), []), tmp_path / "study")
    (study.folder / unfinished / "seed-1" / DONE).unlink()
    selection = study.student_selection
    assert selection is not None
    write_gain(study, selection)
    found = read_json(study.folder / "distilled.json")
    assert found["seeds"] == 1
    assert any(note.startswith("Not compared: seed 1, since ") for note in found["notes"])


def test_without_a_finished_plain_variant_nothing_is_compared(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Study(load_spec(write_study(tmp_path), []), copied)
    (copied / "variants" / "first-2" / "seed-0" / DONE).unlink()
    selection = study.student_selection
    assert selection is not None
    write_gain(study, selection)
    assert not (copied / "distilled.json").exists()
    assert "distilled: not compared, since " in capsys.readouterr().err
