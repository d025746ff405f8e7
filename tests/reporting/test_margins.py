"""The margin curve: which margin each depth proves, what another margin keeps, and what could be the best."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_decision import POWER, decision_of, floor_row, selection_row
from matplotlib.colors import to_rgba

from layerprobe.reporting.figures.decision.proven_margin import proven_entries, proven_margin_figure
from layerprobe.reporting.files.study_files import StudyFiles, read_study
from layerprobe.reporting.sections.decision.evidence import decision_section
from layerprobe.reporting.sections.decision.margins import margins_part
from layerprobe.reporting.tables.curve import margin_table
from layerprobe.reporting.tables.margins import MARGINS, kept_at, knows_proven, proven_table
from layerprobe.store.decision import DecisionRecord

PROVEN = {1: 0.036, 2: 0.017, 3: 0.008}
"""The margins of Beauty's depths."""


def row(depth: int, selection: str = "", proven: float = 0.0, **numbers: Any):
    known = {"proven_margin": proven, "proven_alone": 0.9 * proven, "could_be_best": depth > 1}
    return selection_row(depth, selection, **(known | numbers))


def decision(**changes: Any) -> DecisionRecord:
    rows = [*(row(depth, proven=proven) for depth, proven in PROVEN.items()), row(4)]
    return decision_of(rows, **({"sequence": ("first:3", "first:2", "first:1")} | changes))


@pytest.fixture(scope="module")
def study(fake_study: Path) -> StudyFiles:
    return read_study(fake_study)


@pytest.mark.parametrize(
    ("margin", "depth"), [(0.005, 4), (0.008, 4), (0.0081, 3), (0.01, 3), (0.02, 2), (0.036, 2), (0.05, 1), (0.1, 1)]
)
def test_a_readers_margin_keeps_the_smallest_depth_that_proves_it(margin: float, depth: int) -> None:
    assert kept_at(decision(), margin).depth == depth


def test_at_equal_depth_the_one_with_the_higher_value_is_kept() -> None:
    rows = [row(1, "first:1", 0.01), row(1, "last:1", 0.015, value=0.21), row(2, "first:2")]
    assert kept_at(decision_of(rows), 0.02).text == "last:1"
    assert kept_at(decision_of(rows), 0.012).text == "first:1"


def test_the_table_of_margins_says_what_each_keeps(study: StudyFiles) -> None:
    text = "\n".join(margins_part(study, decision()).paragraphs)
    lines = [line for line in text.split("| At a margin of")[1].splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    none, (three, two, one) = "no smaller depth proves it", (f"depth {depth} of 4" for depth in (3, 2, 1))
    assert cells == [
        ["0.5 %", none], ["1 %", three], ["2 %", two], ["3 %", two], ["5 %", one], ["10 %", one],
    ]  # fmt: skip
    assert len(cells) == len(MARGINS)


def test_every_depth_has_its_two_margins_and_whether_it_could_be_the_best(study: StudyFiles) -> None:
    text = "\n".join(margins_part(study, decision()).paragraphs)
    assert "| depth 1        | 0.2000 |     3.60 % |           3.24 % |            no |" in text
    assert "| depth 4 (full) | 0.2000 |     0.00 % |           0.00 % |           yes |" in text
    assert "With 95 % confidence, the best depth is one of depths 2, 3 and 4: no other one is shown" in text
    table = proven_table(decision(depth=2))
    assert table["proven_margin"].tolist() == [*PROVEN.values(), 0.0]
    assert table["proven_margin_fixed_beforehand"].tolist() == pytest.approx([*(0.9 * p for p in PROVEN.values()), 0])
    assert table["chosen"].tolist() == [False, True, False, False]


def test_a_single_best_is_named_and_one_seed_speaks_of_these_models(study: StudyFiles) -> None:
    rows = [row(1, could_be_best=False), row(4)]
    text = margins_part(study, decision_of(rows)).paragraphs[-1]
    assert text == "With 95 % confidence, the best depth is depth 4: every other one is ruled out."
    once = decision(power=replace(POWER, n_seeds=1), exploratory=True)
    part = margins_part(study, once)
    assert part.paragraphs[-1].startswith("For these trained models, the best depth is one of depths 2, 3 and 4:")
    assert part.figures[0].figure.texts[0].get_text().startswith("Exploratory, one training seed. NDCG@10: ")


def test_an_older_decision_has_no_margins(study: StudyFiles) -> None:
    older = decision_of([selection_row(1), selection_row(4)])
    assert not knows_proven(older)
    section = decision_section(replace(study, decision=older))
    assert (
        "Not in this study: the margin that each depth proves (no `proven_margin in decision.json`)."
        in section.markdown
    )
    assert [named.name for named in section.figures] == ["decision-margin"]


def points(figure, label: str) -> list[list[float]]:
    """Markers of the panel in the colour of a legend entry."""
    (axes,) = figure.axes
    colour = {text.get_text(): line for legend in figure.legends for text, line in
              zip(legend.get_texts(), legend.get_lines(), strict=True)}[label].get_color()  # fmt: skip
    drawn = [one for one in axes.collections if len(one.get_offsets())]
    wanted = np.array(to_rgba(colour))
    return [
        offset.tolist()
        for one in drawn
        if np.allclose(one.get_edgecolors()[0][:3], wanted[:3])
        for offset in np.asarray(one.get_offsets())
    ]


def test_the_figure_shows_both_series_and_cuts_what_lies_beyond_its_axis() -> None:
    rows = [row(1, proven=0.72), row(2, proven=0.06), row(3, proven=0.008), row(4)]
    table = proven_table(decision_of(rows, depth=3))
    figure = proven_margin_figure(table, 0.02, "title", "caption")
    (axes,) = figure.axes
    top = 1.12 * 6
    assert axes.get_ylim()[1] == pytest.approx(top)
    expected = [[1, 6.0], [2, 0.8], [3, 0.0], [0, 0.97 * top]]
    np.testing.assert_allclose(points(figure, "any margin, chosen after looking"), expected)
    expected = [[1, 5.4], [2, 0.72], [3, 0.0], [0, 0.97 * top]]
    np.testing.assert_allclose(points(figure, "one margin, fixed beforehand"), expected)
    assert [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"] == [2.0]
    assert "beyond the axis" in proven_entries(table, 0.02)
    assert "beyond the axis" not in proven_entries(table.iloc[1:], 0.02)
    assert "chosen depth" in proven_entries(table, 0.02)


def test_equal_series_are_drawn_once() -> None:
    table = proven_table(decision_of([row(1, proven=0.01, proven_alone=0.01), row(4)]))
    assert list(proven_entries(table, 0.02)) == ["any margin, chosen after looking", "the study's margin"]


def test_the_margin_figure_rings_what_the_verdict_says_to_use() -> None:
    rows, floors = [selection_row(1), selection_row(4)], (floor_row("sasrec"), floor_row("popularity"))
    whole = decision_of(rows, floors)
    ringed = {
        verdict: margin_table(replace(whole, verdict=verdict, depth=depth, baseline=baseline))["chosen"].tolist()
        for verdict, depth, baseline in (
            ("keep k layers", 1, None), ("use the baseline", 1, "sasrec"), ("undecided", None, None),
            ("the full model is needed", None, None),
        )
    }  # fmt: skip
    assert ringed == {
        "keep k layers": [True, False, False, False],
        "use the baseline": [False, False, True, False],
        "undecided": [False] * 4,
        "the full model is needed": [False] * 4,
    }
