"""The section with the answer: what it says about verdicts, error and power of the decision at hand."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_decision import POWER, decision_of, selection_row

from layerprobe import columns
from layerprobe.reporting.files.study_files import StudyFiles, read_study
from layerprobe.reporting.sections.answer import answer_section
from layerprobe.reporting.sections.decision.evidence import decision_section
from layerprobe.reporting.sections.depth import depth_section
from layerprobe.store.decision import DecisionRecord, LookRow

DEPTHS = [selection_row(1), selection_row(2), selection_row(4)]
SELECTIONS = [selection_row(1, "first:1"), selection_row(1, "last:1"), selection_row(4, "first:4")]


@pytest.fixture(scope="module")
def study(fake_study: Path) -> StudyFiles:
    return read_study(fake_study)


def answer(study: StudyFiles, decision: DecisionRecord) -> str:
    return answer_section(replace(study, decision=decision)).markdown


def test_the_verdicts_of_a_study_are_explained_and_its_own_is_bold(study: StudyFiles) -> None:
    text = answer(study, decision_of(DEPTHS, verdict="undecided"))
    assert "- use the baseline: one baseline is better than every depth, the full model included." in text
    assert "- keep k layers: the smallest depth that is better than the full model or not worse has k layers." in text
    assert "- **undecided**: none of the others. It is no advice to keep all layers: nothing was shown." in text
    assert "- the full model is needed: every smaller depth is worse." in text
    assert text.count("- **") == 1


def test_a_decision_of_an_older_version_has_none_of_the_four(study: StudyFiles) -> None:
    text = answer(study, decision_of(DEPTHS))
    assert "An older version decided this study: it gave none of the four verdicts" in text
    assert "asked in this order" not in text


def test_lines_from_elsewhere_stand_right_below_the_verdict(study: StudyFiles) -> None:
    assert study.convergence is not None
    rising = study.convergence.assign(**{columns.RISING: True})
    changed = replace(study, decision=decision_of(DEPTHS), convergence=rising)
    first, second, third, *_ = answer_section(changed, ["One more line."]).paragraphs
    assert first == "**made up**"
    assert second.startswith("Training may have been too short")
    assert third == "One more line."


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


def test_the_level_is_that_of_the_look(study: StudyFiles) -> None:
    look = LookRow(number=2, of=3, level=0.0125, spent=0.0375)
    text = answer(study, decision_of(DEPTHS, sequence=("first:2", "first:1"), level=0.0125, look=look))
    assert "each at a level of 1.25 %" in text
    assert "So at most 1.25 % of such studies falsely call a depth not worse." in text
    assert "This is look 2 of 3 at these test users, at a level of 1.25 %; over all of them, at most 3.75 %" in text
    assert "the 98.75 % confidence interval" in text
    once = decision_of(DEPTHS, look=LookRow(number=1, of=1, level=0.05, spent=0.05))
    assert "This is look" not in answer(study, once)


@pytest.mark.parametrize("said", [{"exploratory": True}, {}])  # an older decision does not say so itself
def test_one_seed_promises_nothing(said: dict, study: StudyFiles) -> None:
    once = replace(POWER, n_seeds=1)
    text = answer(study, decision_of(DEPTHS, sequence=("first:2", "first:1"), power=once, **said))
    assert "With one training seed no error rate is promised: the intervals cover the choice of users, for" in text
    assert "- better: the 95 % interval of the difference lies above 0, for these trained models." in text
    assert "- not worse: the lower bound of the difference" in text
    assert not re.search("confiden|signific|at most", text)
    stated = answer(study, decision_of(DEPTHS, power=once, prior_noise=0.01))
    assert "at most 5 % of such studies" in stated
    assert "This holds if the stated training noise, 1 %, is not too small." in stated


def test_intervals_over_users_alone_promise_for_these_models(study: StudyFiles) -> None:
    text = answer(study, decision_of(DEPTHS, cover="users"))
    assert "This holds for these trained models: training noise is left out (decision.cover users)." in text


def behind(study: StudyFiles, **changes: Any) -> str:
    rows = [selection_row(1), selection_row(2, not_worse=False, verdict="undecided"), selection_row(4)]
    decision = decision_of(rows, **{"sequence": ("first:2", "first:1"), **changes})
    return decision_section(replace(study, decision=decision)).markdown


NEW = replace(POWER, selection="first:2", covers_training=True, observed=-0.01)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds_needed_for_margin": 9}, "A margin of 2 % needs about 100 users with the same number of seeds, or 9"),
        ({"users_needed_for_margin": None}, "A margin of 2 % needs both more users and more seeds."),
        ({"covers_training": False}, "A margin of 2 % needs about 100 users."),
        ({"n_seeds": 1}, "What would it take? With one seed nothing can be said about how many users or seeds"),
    ],
)
def test_an_older_study_says_what_its_loosest_depth_needs(changes: dict, words: str, study: StudyFiles) -> None:
    assert words in behind(study, power=replace(POWER, **{"covers_training": True, **changes}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "These numbers are about depth 2, which stopped the test. With 400 users and 3 seeds, if depth 2 truly"),
        ({}, "it is shown to lose at most 1.0 % of that model's value in 8 of 10 such studies (80 % power)."),
        ({}, "At a true difference of 0, a margin of 2 % needs about 100 users with the same number of seeds."),
        (
            {"users_needed_at_observed": 900, "seeds_needed_at_observed": 12},
            "At the observed one, -1.0 %, it needs about 900 users with the same number of seeds, or 12 seeds with",
        ),
        ({}, "At the observed one, -1.0 %, it needs both more users and more seeds."),
        ({"observed": -0.02}, "Its observed difference, -2.0 %, lies beyond the margin"),
        ({"covers_training": False}, "(80 % power). This holds for these trained models. At a true"),
        ({"selection": "first:1"}, "These numbers are about depth 1, which passed"),
        ({"minimal_detectable_relative_difference": None}, "Too few users have another value with depth 2 than with"),
        ({"n_seeds": 1, "minimal_detectable_relative_difference": None}, "`layerprobe plan` tells it from a pilot"),
    ],
)
def test_power_is_that_of_the_depth_that_stopped_the_test(changes: dict, words: str, study: StudyFiles) -> None:
    assert words in behind(study, power=replace(NEW, **changes))


def test_a_stated_noise_is_taken_as_known(study: StudyFiles) -> None:
    power = replace(NEW, n_seeds=1, users_needed_for_margin=None)
    text = behind(study, power=power, prior_noise=0.01)
    assert "The stated training noise, 1 %, is taken as known." in text
    assert "a margin of 2 % needs more seeds: no number of users is enough." in text


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
