"""Student against teacher: the same users, paired."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerprobe.errors import StudyError
from layerprobe.evaluation.metrics import metric_values
from layerprobe.reporting.files.study_files import ModelFiles, StudyFiles, read_study
from layerprobe.reporting.tables.teacher_and_student import compare


@pytest.fixture(scope="module")
def study(fake_study: Path) -> StudyFiles:
    return read_study(fake_study)


def models(study: StudyFiles) -> tuple[ModelFiles, ModelFiles]:
    assert study.teacher is not None
    return study.teacher, study.students[0]


def test_values_are_the_mean_metrics_of_test_users_under_full_ranking(study: StudyFiles) -> None:
    teacher, student = models(study)
    comparison = compare(teacher, student, 0.05).set_index("metric").loc["NDCG@10"]
    for side, model in (("teacher", teacher), ("student", student)):
        ranks = model.ranks[(model.ranks["split"] == "test") & (model.ranks["protocol"] == "full")]
        assert comparison[side] == pytest.approx(metric_values(ranks, "ndcg", 10).mean())
        assert comparison["n_users"] == len(ranks)
    assert comparison["difference"] == pytest.approx(comparison["student"] - comparison["teacher"])


def test_a_model_against_itself_differs_by_nothing(study: StudyFiles) -> None:
    teacher, _ = models(study)
    comparison = compare(teacher, teacher, 0.05)
    assert (comparison[["difference", "difference_low", "difference_high"]] == 0).all(axis=None)


def test_rows_in_another_order_change_nothing(study: StudyFiles) -> None:
    teacher, student = models(study)
    shuffled = ModelFiles(student.name, student.metrics, student.ranks.sample(frac=1, random_state=0))
    assert compare(teacher, shuffled, 0.05).equals(compare(teacher, student, 0.05))


def test_pairing_makes_the_difference_sharper_than_the_two_values(study: StudyFiles) -> None:
    comparison = compare(*models(study), 0.05).set_index("metric").loc["NDCG@10"]
    width = {
        side: comparison[f"{side}_high"] - comparison[f"{side}_low"] for side in ("teacher", "student", "difference")
    }
    assert 0 < width["difference"] < 0.7 * width["teacher"]


def test_models_of_different_users_are_not_compared(study: StudyFiles) -> None:
    teacher, student = models(study)
    fewer = ModelFiles(student.name, student.metrics, student.ranks[student.ranks["user"] > 0])
    with pytest.raises(StudyError, match="must be ranked on the same users and targets"):
        compare(teacher, fewer, 0.05)
