"""The section with the answer: what it says about verdicts, error and power of the decision at hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_decision import POWER, decision_of, selection_row

from layerprobe.reporting.files.study_files import StudyFiles, read_study
from layerprobe.reporting.sections.answer import answer_section
from layerprobe.reporting.sections.decision.evidence import decision_section
from layerprobe.reporting.sections.depth import depth_section
from layerprobe.store.decision import DecisionRecord

DEPTHS = [selection_row(1), selection_row(2), selection_row(4)]
SELECTIONS = [selection_row(1, "first:1"), selection_row(1, "last:1"), selection_row(4, "first:4")]


@pytest.fixture(scope="module")
def study(fake_study: Path) -> StudyFiles:
    return read_study(fake_study)


def answer(study: StudyFiles, decision: DecisionRecord) -> str:
    return answer_section(replace(study, decision=decision)).markdown


def test_every_verdict_is_explained_with_margin_and_level(study: StudyFiles) -> None:
    text = answer(study, decision_of(DEPTHS, margin=0.03, alpha=0.1))
    assert "- better: the 90 % confidence interval of the difference lies above 0." in text
    assert (
        "lower confidence bound of the difference lies above minus the margin, 3 % of the full model's value." in text
    )
    assert "- untested" not in text
    assert "- untested: the test ended before it reached this depth." in answer(
        study, decision_of(DEPTHS, sequence=("first:2", "first:1"))
    )


def test_the_error_is_that_of_the_rule(study: StudyFiles) -> None:
    text = answer(study, decision_of(DEPTHS))
    assert "All bounds hold at once: at most 5 % of such studies give a false verdict on any depth." in text
    text = answer(study, decision_of(DEPTHS, sequence=("first:2", "first:1")))
    assert "Depths are tested one by one from the deepest down, each at a level of 5 %." in text
    assert "at most 5 % of such studies falsely call a depth not worse" in text
    assert "The other selections" not in text
    text = answer(study, decision_of(SELECTIONS, sequence=("first:1",)))
    assert "The selections that represent their depths (first:1) are tested one by one" in text
    assert "The other selections are judged by bounds that hold for all selections at once" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "needs about 100 users. With one seed, the number of seeds it needs is not known."),
        ({"n_seeds": 3}, "needs about 100 users. Training noise"),
        (
            {"n_seeds": 3, "covers_training": True, "seeds_needed_for_margin": 9},
            "needs about 100 users with the same number of seeds, or 9 seeds with the same number of users.",
        ),
        (
            {"n_seeds": 3, "covers_training": True, "users_needed_for_margin": None},
            "needs both more users and more seeds.",
        ),
    ],
)
def test_what_the_margin_needs_is_said(changes: dict, words: str, study: StudyFiles) -> None:
    decision = decision_of(DEPTHS, power=replace(POWER, **changes))
    assert f"A margin of 2 % {words}" in decision_section(replace(study, decision=decision)).markdown


@pytest.mark.parametrize(
    ("seeds", "cover", "words"),
    [
        (1, "auto", "not the noise of training"),
        (3, "auto", "and the noise of training"),
        (3, "users", "not the noise of training"),
    ],
)
def test_intervals_of_a_control_arm_say_what_they_cover(seeds: int, cover: str, words: str, mixed_study: Path) -> None:
    study = read_study(mixed_study)
    assert study.controls is not None
    assert study.decision is not None
    (arm,) = study.controls.controls
    arm = replace(arm, selections=tuple(replace(row, seeds=seeds) for row in arm.selections))
    changed = replace(
        study, controls=replace(study.controls, controls=(arm,)), decision=replace(study.decision, cover=cover)
    )
    start = "they cover the choice of users"
    text = depth_section(changed).markdown
    assert f"{start} {words}. Undecided" in text or f"{start}, {words}. Undecided" in text
