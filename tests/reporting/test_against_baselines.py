"""The section that compares every selection with every baseline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_decision import POWER, against, decision_of, floor_row, selection_row

from layerprobe.reporting.files.study_files import StudyFiles, read_study
from layerprobe.reporting.sections.decision.baselines import baselines_section
from layerprobe.store.decision import DecisionRecord

FLOORS = (floor_row("sasrec", 0.2), floor_row("popularity", 0.1))
DEPTHS = [selection_row(1), selection_row(2), selection_row(4)]


@pytest.fixture(scope="module")
def study(fake_study: Path) -> StudyFiles:
    return read_study(fake_study)


def said(study: StudyFiles, decision: DecisionRecord) -> str:
    return baselines_section(replace(study, decision=decision)).markdown


def cells(text: str, start: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def outcomes(**by_floor: str) -> tuple:
    """One row per depth and floor from a letter each: better, worse or undecided."""
    names = {"b": "better", "w": "worse", "u": "undecided"}
    return tuple(
        against(f"first:{row.depth}", floor, names[letter], difference=0.02, relative=0.1, ci_low=0.01, ci_high=0.03)
        for floor, letters in by_floor.items()
        for row, letter in zip(DEPTHS, letters, strict=True)
    )


def test_it_names_the_best_baseline_who_beats_all_and_who_is_beaten(study: StudyFiles) -> None:
    decision = decision_of(DEPTHS, FLOORS, against_baselines=outcomes(sasrec="wub", popularity="wbb"))
    text = said(study, decision)
    assert "The best baseline is SASRec, with an NDCG@10 of 0.2000. Better than every baseline: depth 4." in text
    assert "Beaten by a baseline: depth 1 by SASRec and popularity." in text
    decision = decision_of(DEPTHS, FLOORS, against_baselines=outcomes(sasrec="www", popularity="bbb"))
    assert "Better than every baseline: no depth. Beaten by a baseline: every depth by SASRec." in said(study, decision)
    decision = decision_of(DEPTHS, FLOORS, against_baselines=outcomes(sasrec="wwu", popularity="wbb"))
    assert "Beaten by a baseline: depths 1 and 2 by SASRec; depth 1 by popularity." in said(study, decision)


def test_each_cell_is_a_share_of_the_baseline_with_interval_and_verdict(study: StudyFiles) -> None:
    decision = decision_of(DEPTHS, FLOORS, against_baselines=outcomes(sasrec="wub", popularity="wbb"))
    text = said(study, decision)
    assert cells(text, "depth 1") == [
        "depth 1", "+10.0 % [+5.0 %, +15.0 %] worse", "+10.0 % [+10.0 %, +30.0 %] worse",
    ]  # fmt: skip
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 2 + len(DEPTHS)
    assert "In brackets: the 95 % confidence interval, for all cells together. better" in text
    nothing = replace(decision, baselines=(floor_row("sasrec", 0.0), FLOORS[1]))
    zero = replace(nothing, against_baselines=tuple(replace(row, relative=None) for row in nothing.against_baselines))
    assert cells(said(study, zero), "depth 1")[1] == "+0.0200 [+0.0100, +0.0300] worse"


def test_what_is_kept_or_to_be_used_is_marked(study: StudyFiles) -> None:
    pairs = outcomes(sasrec="wwb", popularity="bbb")
    kept = decision_of(DEPTHS, FLOORS, against_baselines=pairs, verdict="keep k layers", depth=2)
    assert cells(said(study, kept), "**")[0] == "**depth 2, kept**"
    used = replace(kept, verdict="use the baseline", baseline="sasrec")
    assert cells(said(study, used), "Model") == ["Model", "SASRec, to use", "popularity"]
    assert "**" not in said(study, used)


def test_one_seed_speaks_of_these_models(study: StudyFiles) -> None:
    pairs = outcomes(sasrec="wub", popularity="wbb")
    once = decision_of(DEPTHS, FLOORS, against_baselines=pairs, power=replace(POWER, n_seeds=1))
    text = said(study, once)
    assert "Better than every baseline, for these trained models: depth 4." in text
    assert "the 95 % interval, for all cells together, for these trained models." in text


def test_absent_comparisons_are_said(study: StudyFiles) -> None:
    assert "Not in this study: selections against baselines (no `against_baselines in decision.json`). Run the" in said(
        study, decision_of(DEPTHS, FLOORS)
    )
    assert "Not in this study: baselines (none in `decision.json`)." in said(study, decision_of(DEPTHS))


def test_many_selections_are_counted(study: StudyFiles) -> None:
    rows = [selection_row(depth) for depth in range(20)]
    pairs = tuple(against(f"first:{row.depth}", "sasrec", "worse" if row.depth < 15 else "better") for row in rows)
    text = said(study, decision_of(rows, FLOORS[:1], against_baselines=pairs))
    assert "depths 15, 16, 17, 18 and 19. Beaten by a baseline: 15 of 20 depths by SASRec." in text
