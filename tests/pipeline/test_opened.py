"""A study opened in Python: tables, live models, how it shows itself, and its numbers by public functions alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_study import write_study

import layerprobe as lp
from layerprobe import columns
from layerprobe.store.atomic import read_json


@pytest.fixture(scope="module")
def study(finished: Path) -> lp.Study:
    return lp.Study.load(str(finished))  # text is as good as a path


def protocols_of(study: lp.Study) -> lp.Protocols:
    options = study.spec.evaluation
    return lp.Protocols(options.sampled, options.seed, options.remove_history)


def test_tables_are_those_on_disk(study: lp.Study, finished: Path) -> None:
    assert study.name == "tiny"
    assert tuple(study.curve.columns) == columns.CURVE
    assert len(study.curve) == len(pd.read_csv(finished / "curve.csv"))
    assert tuple(study.convergence.columns) == columns.CONVERGENCE
    assert tuple(study.similarity.columns) == columns.SIMILARITY
    assert tuple(study.importance.columns) == columns.IMPORTANCE
    assert tuple(study.slices.columns) == columns.SLICES
    assert tuple(study.costs.columns) == columns.COSTS
    stored = read_json(finished / "decision.json")
    assert study.decision.sentence == stored["sentence"]
    assert study.decision.to_frame()["value"].to_list() == [row["value"] for row in stored["depths"]]


@pytest.mark.parametrize(
    ("model", "folder"),
    [
        ("teacher", "teacher"),
        ("first:2", "variants/first-2/seed-0"),
        ("keep:0,1", "variants/first-2/seed-0"),  # the same layers
        ("first:4", "teacher"),
        ("student", "distillation/student"),
        ("sasrec", "items"),
    ],
)
def test_ranks_of_a_model_are_those_of_its_folder(study: lp.Study, finished: Path, model: str, folder: str) -> None:
    pd.testing.assert_frame_equal(study.ranks(model), pd.read_parquet(finished / folder / "ranks.parquet"))


def test_ranks_of_floors_and_exits(study: lp.Study, finished: Path) -> None:
    for model, place in (("markov-1", "baselines"), ("exit-norm-3", "exits"), ("exit-raw-0", "exits")):
        expected = pd.read_parquet(finished / place / f"ranks-{model}.parquet")
        pd.testing.assert_frame_equal(study.ranks(model), expected)


@pytest.mark.parametrize(("model", "depth"), [("teacher", 4), ("first:2", 2), ("first:0", 0), ("student", 2)])
def test_live_models_give_the_stored_ranks(study: lp.Study, model: str, depth: int) -> None:
    live = {"teacher": study.teacher, "student": study.student}.get(model, lambda: study.variant(model))()
    assert live.n_layers == depth
    assert not live.training
    ranks = lp.rank(live, study.data.split, protocols_of(study), batch_size=7)
    pd.testing.assert_frame_equal(ranks.reset_index(drop=True), study.ranks(model), check_dtype=False)


def test_public_functions_give_the_numbers_of_the_study(study: lp.Study, tmp_path: Path) -> None:
    """From the log to the decision by public names alone, against what the stages wrote."""
    spec = study.spec
    data = lp.prepare(lp.synthetic_log(spec.data.synthetic), spec.data.preprocess, spec.data.order, spec.data.seed)
    split, keep = data.split, {"remove_history": spec.evaluation.remove_history}
    sasrec = lp.SASRec(data.catalogue.n_items, spec.items.sasrec, seed=0)
    lp.fit(sasrec, split, spec.items.training, **keep)
    assert torch.equal(sasrec.item_vectors(), study.item_table)
    recipe = lp.RecipeOptions(spec.backbone, spec.tuning, spec.prompt, spec.recommender)
    ranks = {}
    for selection in ("first:0", "first:2", "first:4"):
        model = lp.build_recommender(recipe, sasrec.item_vectors(), selection, seed=0)
        lp.fit(model, split, spec.training, folder=tmp_path / selection.replace(":", "-"), **keep)
        ranks[selection] = lp.rank(model, split, protocols_of(study))
        pd.testing.assert_frame_equal(
            ranks[selection].reset_index(drop=True), study.ranks(selection), check_dtype=False
        )
    floors = {"sasrec": lp.rank(sasrec, split, protocols_of(study))}
    floors |= lp.rank_floors(split, data.catalogue, protocols_of(study))
    decision = lp.decide(ranks, floors, spec.decision)
    assert decision.record().depths == study.decision.depths
    assert {row.name: row.value for row in decision.record().baselines} == {
        row.name: row.value for row in study.decision.baselines
    }


def test_layers_by_public_functions_are_those_of_the_study(study: lp.Study) -> None:
    teacher, spec = study.teacher(), study.spec
    exits = lp.exits(teacher, study.data.split, protocols=protocols_of(study))
    for name in ("exit-raw-1", "exit-norm-4"):
        pd.testing.assert_frame_equal(exits[name].reset_index(drop=True), study.ranks(name), check_dtype=False)
    sample = lp.states(teacher, study.data.split, lp.SampleOptions(spec.similarity.rows, seed=spec.similarity.seed))
    resampling = lp.Resampling(spec.similarity.n_boot, spec.evaluation.alpha, spec.similarity.seed)
    pd.testing.assert_frame_equal(
        lp.layer_similarity(sample, spec.similarity.measures, resampling),
        study.similarity,
        atol=1e-6,
        check_dtype=False,
    )
    own = lp.layer_importance(sample, resampling)
    stored = study.importance.query("measure in @own.measure.unique()").reset_index(drop=True)
    np.testing.assert_allclose(own["value"], stored["value"], atol=1e-6)


def test_a_training_in_a_folder_is_resumed_and_another_one_refused(study: lp.Study, tmp_path: Path) -> None:
    split, options = study.data.split, lp.SASRecOptions(dim=8, blocks=1, max_len=16)
    training = lp.TrainingOptions(epochs=1, batch_size=32, patience=None)
    first = lp.SASRec(study.data.catalogue.n_items, options, seed=0)
    done = lp.fit(first, split, training, folder=tmp_path / "sasrec")
    again = lp.SASRec(study.data.catalogue.n_items, options, seed=0)
    assert lp.fit(again, split, training, folder=tmp_path / "sasrec") == done
    assert torch.equal(first.item_vectors(), again.item_vectors())
    with pytest.raises(lp.InputError, match=r"these keys differ: training\.epochs"):
        lp.fit(again, split, lp.TrainingOptions(epochs=2, batch_size=32, patience=None), folder=tmp_path / "sasrec")


def test_a_student_by_public_functions_scores_as_the_exported_one(study: lp.Study, tmp_path: Path) -> None:
    recipe = lp.RecipeOptions(study.spec.backbone, recommender=study.spec.recommender)
    student = lp.build_recommender(recipe, study.item_table, "first:2", seed=3)
    before = {name: value.clone() for name, value in study.teacher().state_dict().items()}
    teacher = study.teacher()
    result = lp.distil(student, teacher, study.data.split, lp.DistilOptions(study.spec.training))
    assert result.epochs == study.spec.training.epochs
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    served = lp.export_student(student, study.data, tmp_path / "student", lp.CardOptions(selection="first:2"))
    history = list(study.data.catalogue.item_ids[:4])
    assert served.recommend(history, 3).equals(lp.load_student(tmp_path / "student").recommend(history, 3))
    assert "# Sequential recommender, first:2" in (tmp_path / "student" / "README.md").read_text()


def test_what_a_notebook_shows(study: lp.Study, tmp_path: Path) -> None:
    shown = study._repr_html_()
    assert "Study tiny" in shown
    assert "2 of 2 trained" in shown
    assert study.decision.sentence.split(":")[0] in shown
    table = study.decision._repr_html_()
    assert "<table" in table
    assert all(name in table for name in ("first:0", "first:2", "first:4", "SASRec", "verdict"))
    boxes = lp.parse_selection("keep:0,3", 4)._repr_html_()
    assert "2 of 4 layers" in boxes
    assert boxes.count("<span") == 4
    fresh = lp.Study.open(write_study(tmp_path), tmp_path / "none")
    assert "not trained yet" in fresh._repr_html_()
    assert not (tmp_path / "none").exists()  # showing writes nothing


def test_run_returns_the_study_and_trains_nothing_twice(copied: Path, tmp_path: Path) -> None:
    opened = lp.Study.open(write_study(tmp_path), copied)
    times = {path: path.stat().st_mtime_ns for path in copied.rglob("model.safetensors")}
    assert opened.run("decide") is opened
    assert {path: path.stat().st_mtime_ns for path in times} == times
