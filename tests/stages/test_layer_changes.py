"""What the similarity stage refuses, and what follows when its options change in a study that has gone further."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_study import TINY, TRAINING, write_study

from layerprobe import columns
from layerprobe.cli.main import main
from layerprobe.reporting import report
from layerprobe.reporting.figures.canvas import save_figure
from layerprobe.store.atomic import read_json
from layerprobe.study.parser import load_spec
from layerprobe.study.study import Study
from layerprobe.training import model_folder

SIMILARITY = {"rows": 40, "n_boot": 100, "n_permutations": 20, "measures": ["cka", "cosine"]}
SELECTIONS = ["first:1", "first:2", "bi:2", "cka:1", "angular:3", "greedy:2"]
CHANGES = {
    "probe": {"selections": SELECTIONS},
    "similarity": SIMILARITY,
    "distill": {"selection": "greedy:2", "weights": {"multiple": 0.0}},
}


def run(folder: Path, stage: str = "run", **changes: object) -> int:
    return main([stage, str(write_study(folder, **{**CHANGES, **changes})), "--out", str(folder / "study")])


REFUSED = [
    ({"similarity": {**SIMILARITY, "measures": ["banana"]}}, "banana"),
    ({"similarity": {**SIMILARITY, "measures": []}}, "must name at least one measure, each once; got none"),
    ({"similarity": {**SIMILARITY, "measures": ["cka", "cka"]}}, "each once; got cka, cka"),
    ({"similarity": {**SIMILARITY, "rows": 8, "measures": ["svcca"]}}, "svcca needs at least 9 rows for states of 8"),
    ({"similarity": {**SIMILARITY, "rows": 11, "measures": ["mutual-knn"]}}, "mutual-knn needs at least 12 rows"),
    ({"similarity": {**SIMILARITY, "n_permutations": 10}}, "n_permutations must be at least 20; got 10"),
    ({"similarity": {**SIMILARITY, "positions": "prompt"}}, "prompt"),
    ({"probe": {"selections": ["bi:5"]}}, "depth must lie in 0 to 4"),
    ({"probe": {"selections": ["influence:2"]}}, "bi:K angular:K cka:K greedy:K"),
    ({"backbone": {**TINY["backbone"], "keep": "bi:2"}}, "needs the measured importance of a teacher's layers"),
    ({"distill": {"selection": "bi:9"}}, "depth must lie in 0 to 4"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_what_cannot_be_measured_is_refused_before_anything_is_computed(
    changes: dict, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, **changes) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in said
    assert not (tmp_path / "study").exists()


def test_measures_that_fit_the_spec_and_not_the_data_are_refused_before_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """80 users are fewer than the 100 rows that the spec alone would allow for a width of 96."""
    changes = {
        "similarity": {**SIMILARITY, "rows": 100, "measures": ["pwcca"]},
        "backbone": {**TINY["backbone"], "hidden_size": 96},
    }
    assert run(tmp_path, **changes) == 2
    assert "pwcca needs at least 97 rows for states of 96 dimensions; got 80" in capsys.readouterr().err
    assert not (tmp_path / "study" / "items").exists()


def test_a_teacher_of_one_layer_has_an_importance_too(tmp_path: Path) -> None:
    changes = {"backbone": {**TINY["backbone"], "layers": 1}, "probe": {"selections": ["greedy:1", "bi:0"]}}
    assert run(tmp_path, "decide", **changes, distill={"depth": 1, "weights": {"multiple": 0.0}}) == 0
    study = tmp_path / "study"
    assert read_json(study / "similarity" / "selections.json")["greedy"]["kept"] == [[], [0]]
    importance = pd.read_csv(study / "similarity" / "importance.csv")
    assert set(importance[columns.LAYER]) == {0}
    assert pd.read_csv(study / "predictiveness.csv")[columns.CORRELATION].isna().all()


def test_a_measured_selection_of_all_layers_is_no_smaller_depth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, probe={"selections": ["bi:4"]}) == 2
    assert "must hold a depth below the teacher's 4" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_the_command_draws_its_own_page_before_any_variant_is_trained(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study"
    for name in ("data", "items", "baselines", "teacher", "similarity", "study.yaml", "provenance.json"):
        copy = shutil.copytree if (finished / name).is_dir() else shutil.copy
        study.mkdir(exist_ok=True)
        copy(finished / name, study / name)
    assert main(["similarity", str(write_study(tmp_path)), "--out", str(study)]) == 0
    page = study / "similarity" / "report" / "report.md"
    assert capsys.readouterr().out.splitlines() == [f"layers: {page}"]
    text = page.read_text()
    assert "## What the layers do" in text
    for name in ("similarity", "to-final", "importance", "blocks"):
        assert (page.parent / "figures" / f"{name}.svg").exists()
        assert f"figures/{name}.svg" in text
    assert not (study / "variants").exists()
    assert main(["similarity", str(write_study(tmp_path)), "--out", str(study), "--similarity.rows", "30"]) == 0


def test_other_options_are_measured_anew_and_what_was_of_the_old_ones_goes(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Path(shutil.copytree(finished, tmp_path / "study"))
    similarity = {**TINY["similarity"], "rows": 30}
    path = write_study(tmp_path, similarity=similarity)
    assert main(["run", str(path), "--out", str(study), "--dry-run"]) == 0
    planned = [line for line in capsys.readouterr().out.splitlines() if line.startswith("layers compared")]
    assert len(planned) == 1
    assert "done" not in planned[0]
    assert main(["similarity", str(path), "--out", str(study)]) == 0
    assert "older than this: curve, decision and report; " in capsys.readouterr().out
    assert set(pd.read_csv(study / "similarity" / "importance.csv")[columns.N_ROWS]) == {30}
    assert not (study / "similarity" / "student.parquet").exists()
    assert main(["run", str(path), "--out", str(study)]) == 0
    assert set(pd.read_parquet(study / "similarity" / "student.parquet")[columns.N_ROWS]) == {30}
    assert main(["run", str(path), "--out", str(study), "--dry-run"]) == 0
    (planned,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("layers compared")]
    assert planned.split("exits")[1].split()[0] == "done"


def test_a_student_of_other_measured_layers_is_refused_before_anything_is_trained(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The finished student keeps first:2; a student asked for as bi:2 is another specification."""
    study = Path(shutil.copytree(finished, tmp_path / "study"))
    monkeypatch.setattr(model_folder, "Trainer", lambda *_a, **_k: pytest.fail("something was trained"))
    path = write_study(tmp_path, distill={"selection": "bi:2"}, probe={"depths": [0, 2], "selections": ["last:1"]})
    assert main(["run", str(path), "--out", str(study)]) == 2
    assert "distillation/student holds a finished model of another specification" in capsys.readouterr().err


def test_variants_from_the_teacher_are_compared_with_a_full_model_that_was_trained_as_long(tmp_path: Path) -> None:
    training = {**TRAINING, "epochs": 2, "learning_rate": 0.01}
    path = write_study(tmp_path, probe={"depths": [2], "start": "teacher"}, training=training)
    assert main(["run", str(path), "--out", str(tmp_path / "study")]) == 0
    folder = tmp_path / "study"
    full, teacher = folder / "variants" / "first-4" / "seed-0", folder / "teacher"
    logs = [pd.read_json(model / "log.jsonl", lines=True) for model in (teacher, full)]
    before, after = (log["valid_ndcg@10"].dropna() for log in logs)
    assert after.iloc[0] == pytest.approx(before.max())  # it starts from the teacher's best epoch
    study = Study(load_spec(path, []), folder)
    assert study.variant_folder(study.full, 0) == full
    curve = pd.read_csv(folder / "curve.csv").query("kind == 'variant' and depth == 4 and metric == 'ndcg' and k == 10")
    assert curve["selection"].unique().tolist() == ["first:4"]
    ranks = pd.read_parquet(full / "ranks.parquet")
    assert not ranks.equals(pd.read_parquet(teacher / "ranks.parquet"))
    text = (folder / "report" / "report.md").read_text()
    assert "none was trained longer than another" in text


def test_selections_that_keep_the_same_layers_are_named_in_decision_and_report(tmp_path: Path) -> None:
    changes = {"probe": {"selections": ["first:1", "keep:0", "uniform:1", "first:2"]}}
    assert main(["run", str(write_study(tmp_path, **changes)), "--out", str(tmp_path / "study")]) == 0
    decision = read_json(tmp_path / "study" / "decision.json")
    assert decision["merged"] == [["keep:0", "first:1"], ["uniform:1", "first:1"]]
    text = (tmp_path / "study" / "report" / "report.md").read_text()
    assert "are one model, trained once: keep:0 as first:1, uniform:1 as first:1." in text


def test_the_worth_of_scores_is_that_of_the_decisions_own_metric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "save_figure", save_figure)  # drawn, since a figure is read
    path = write_study(tmp_path, decision={"metric": "hr", "k": 5}, evaluation={**TINY["evaluation"], "ks": [1, 5, 10]})
    assert main(["run", str(path), "--out", str(tmp_path / "own")]) == 0
    points = pd.read_csv(tmp_path / "own" / "predicted.csv").query("score == 'depth' and depth == 2")
    curve = pd.read_csv(tmp_path / "own" / "curve.csv").query(
        "kind == 'variant' and depth == 2 and split == 'test' and protocol == 'full' and metric == 'hr' and k == 5"
    )
    np.testing.assert_allclose(points["measured"], curve["value"])
    figure = tmp_path / "own" / "report" / "figures" / "predicted.svg"
    assert "against test HR@5 after fine-tuning" in figure.read_text()
