"""The section on cost: its table, its figure and what it says of a budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from fake_decision import decision_of, selection_row
from fake_study import FakeShape, write_fake_study

from layerprobe import columns
from layerprobe.probing.budget import BudgetOptions
from layerprobe.reporting.figures.cost import cost_figure
from layerprobe.reporting.files.study_files import StudyFiles, read_study
from layerprobe.reporting.sections.cost import cost_section
from layerprobe.reporting.sections.section import Section
from layerprobe.reporting.tables.cost import with_roles
from layerprobe.store.decision import BudgetRow


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    """A small study with a budget on latency that depth 1 keeps (5 ms) and depth 2 does not (7.5 ms)."""
    shape = FakeShape(n_users=60, selections=("last:2",), budget=BudgetOptions(latency_ms=7.0))
    return read_study(write_fake_study(tmp_path_factory.mktemp("cost") / "study", shape))


@pytest.fixture(scope="module")
def section(files: StudyFiles) -> Section:
    return cost_section(files)


def rows(section: Section, start: str) -> list[list[str]]:
    lines = [line for line in section.markdown.splitlines() if line.startswith(f"| {start}")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_budget_is_said_first(section: Section) -> None:
    assert section.paragraphs[0].startswith("**Within the budget latency_ms=7: first:1 (1 of 4 layers), ")
    assert section.paragraphs[0].endswith(".**")


def test_a_study_without_a_budget_does_not_speak_of_one(fake_study: Path) -> None:
    section = cost_section(read_study(fake_study))
    assert "budget" not in section.markdown
    assert {"latency_ms_p95_1", "parameters"} == set(section.figures[0].table["cost"])


def test_every_model_has_a_row_in_both_tables(section: Section, files: StudyFiles) -> None:
    first = [row[0] for row in rows(section, "")]
    names = ["depth 0", "depth 1", "depth 2", "last:2", "depth 3", "depth 4", "SASRec"]
    assert [name for name in first if name in names] == names * 2
    costs = files.cost.costs
    assert costs is not None
    one = costs[costs["selection"] == "first:1"].iloc[0]
    parameters, times = rows(section, "depth 1")
    assert parameters[1] == f"{one['parameters']:,.0f}"
    assert parameters[3] == f"{one['parameters_layers']:,.0f}"
    # Written by the made-up study for one layer: 2 x (2, 2.5, 20, 24) ms, 3200 / 2 users a second, 10^6 x 2 bytes.
    assert times[1:7] == ["5.5", "1,600", "4", "5", "40", "48"]
    assert times[8:10] == [f"{2e6 / 2**20:.2g}", f"{2e8 / 2**20:,.0f}"]
    assert rows(section, "depth 0")[1][9] == "-"  # no number: a launch with sliced models


def test_the_front_is_that_of_the_file(section: Section, files: StudyFiles) -> None:
    front = files.cost.front
    assert front is not None
    on_front = front[front["on_front"] & (front["cost"] == "latency_ms_p95_1")]["selection"].tolist()
    shown = [cells[0] for cells in rows(section, "") if "latency" in cells[-1].split(", ")]
    names = {f"first:{k}": f"depth {k}" for k in range(5)} | {"": "SASRec"}
    assert shown == [names.get(text, text) for text in on_front]


def test_roles_name_full_decided_and_picked() -> None:
    front = pd.DataFrame({"kind": ["variant"] * 3 + ["sasrec"], "selection": ["first:1", "first:2", "first:4", ""]})
    pick = BudgetRow(
        latency_ms=7.0, parameters=None, selection="first:2", depth=2, layers=(0, 1), is_decided=True, costs={},
        sentence="made up",
    )  # fmt: skip
    rows = [selection_row(2, "first:2"), selection_row(4, "first:4")]
    decision = decision_of(rows, depth=2, selection="first:2", budget=pick)
    assert with_roles(front, decision)["role"].tolist() == ["", "decided,budget", "full", ""]
    nobody = replace(decision, depth=None, selection=None, budget=replace(pick, selection=None))
    assert with_roles(front, nobody)["role"].tolist() == ["", "", "full", ""]


def test_the_figure_shows_every_model_the_front_and_the_budget(section: Section) -> None:
    (named,) = section.figures
    panels = named.figure.axes[:2]
    for axes, (_, points) in zip(panels, named.table.groupby("cost", sort=False), strict=True):
        shown = {(x, y) for drawn in axes.collections for x, y in drawn.get_offsets().tolist()}
        assert shown == set(zip(points["amount"], points["value"], strict=True))
        (step,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
        front = points[points["on_front"]].sort_values("amount")
        assert step.get_xdata().tolist() == [*front["amount"], points["amount"].max()]
        assert step.get_ydata().tolist() == [*front["value"], front["value"].iloc[-1]]
    assert [[line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"] for axes in panels] == [
        [7.0], [],
    ]  # fmt: skip
    texts = [text.get_text() for legend in named.figure.legends for text in legend.get_texts()]
    assert texts == ["Pareto front", "first:k", "other selection", "SASRec", "full model", "pick within the budget",
                     "budget"]  # fmt: skip


def test_a_wide_range_of_costs_is_drawn_on_a_logarithmic_axis(section: Section) -> None:
    table = section.figures[0].table
    latency = table["cost"] == columns.LATENCY_P95_1
    wide = table.assign(**{columns.AMOUNT: table[columns.AMOUNT].where(~latency, table[columns.AMOUNT] ** 3)})
    panels = cost_figure(wide, {}, "NDCG@10", "made up").axes[:2]
    assert [axes.get_xscale() for axes in panels] == ["log", "linear"]
