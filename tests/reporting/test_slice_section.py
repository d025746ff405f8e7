"""The section on groups of users: its table, its sentence and its figure say what `slices.csv` holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from layerprobe.reporting.figures.slices import group_looks
from layerprobe.reporting.files.study_files import read_study
from layerprobe.reporting.sections.slices import slices_section
from layerprobe.store.atomic import read_json, write_json

LENGTH, POPULARITY = "history_length", "target_popularity"


def slices_of(study: Path) -> pd.DataFrame:
    table = pd.read_csv(study / "slices.csv", dtype={"group": str})
    return table[table["metric"] == "ndcg"]


def of_model(table: pd.DataFrame, kind: str, depth: int | None = None) -> pd.DataFrame:
    rows = table[(table["kind"] == kind) & (table["depth"].isna() if depth is None else table["depth"] == depth)]
    return rows.set_index(["slice", "group"])


def shown(row: pd.Series) -> str:
    bounds = "-" if np.isnan(row["ci_low"]) else f"[{row['ci_low']:.4f}, {row['ci_high']:.4f}]"
    return f"{row['value']:.4f} {bounds}"


def table_rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def level_rows(text: str) -> list[list[str]]:
    """The first table of the section, of the models' values; the second is of differences."""
    return table_rows(text.split("**Who loses?**")[0])


@pytest.fixture
def decided(own_study: Path) -> Path:
    """The study with two layers decided."""
    path = own_study / "decision.json"
    write_json(path, read_json(path) | {"depth": 2, "selection": "first:2"})
    return own_study


def test_the_table_has_full_model_decided_depth_and_sasrec_for_every_group(decided: Path) -> None:
    header, _, *rows = level_rows(slices_section(read_study(decided)).markdown)
    assert header == ["Users by", "Group", "Users", "full model", "depth 2, decided", "SASRec"]
    table = slices_of(decided)
    models = [of_model(table, "variant", 4), of_model(table, "variant", 2), of_model(table, "sasrec")]
    assert len(rows) == len(models[0]) == 8
    for row, (name, group) in zip(rows, models[0].index, strict=True):
        label = f"cold ({group})" if (name, group) == (POPULARITY, "0") else group
        users = str(models[0].loc[(name, group), "n_users"])
        assert row[1:] == [label, users, *(shown(model.loc[(name, group)]) for model in models)]
    assert sum(int(row[2]) for row in rows) == 2 * 400


def test_one_sentence_says_how_far_groups_lie_apart_and_what_the_decided_depth_does(decided: Path) -> None:
    text = slices_section(read_study(decided)).markdown
    table = slices_of(decided)
    full = of_model(table, "variant", 4)
    full = full[full["ci_low"].notna()]["value"]
    moved = of_model(table, "variant", 2)["value"][full.index] / full - 1
    popular = full.xs(POPULARITY)
    assert f"from {popular.min():.4f} ({popular.idxmin()}) to {popular.max():.4f} ({popular.idxmax()})" in text
    assert f"the groups change by {100 * moved.min():.1f} % to {100 * moved.max():.1f} %." in text
    assert "Slices are exploratory" in text


@pytest.mark.parametrize(
    "change", [{"depth": None, "selection": None}, {"depth": 4, "selection": "first:4"}], ids=["undecided", "full"]
)
def test_without_a_smaller_decided_depth_there_is_no_column_for_it(change: dict[str, object], decided: Path) -> None:
    path = decided / "decision.json"
    write_json(path, read_json(path) | change)
    text = slices_section(read_study(decided)).markdown
    assert level_rows(text)[0][3:] == ["full model", "SASRec"]
    assert "decided" not in text


def test_a_decided_selection_is_called_by_its_text(decided: Path) -> None:
    path = decided / "decision.json"
    stored = read_json(path)
    stored["depths"].insert(0, stored["depths"][2] | {"selection": "keep:0,3"})
    write_json(path, stored | {"depth": 2, "selection": "keep:0,3"})
    table = pd.read_csv(decided / "slices.csv", dtype={"group": str})
    is_other = (table["kind"] == "variant") & (table["depth"] == 2)
    table.assign(selection=table["selection"].mask(is_other, "keep:0,3")).to_csv(decided / "slices.csv", index=False)
    assert level_rows(slices_section(read_study(decided)).markdown)[0][4] == "keep:0,3, decided"


def test_groups_too_small_for_intervals_are_not_compared(rich_study: Path) -> None:
    text = slices_section(read_study(rich_study)).markdown
    assert "No two groups have enough users for an interval, so there is nothing to compare." in text
    assert "ranges from" not in text


def test_a_slice_of_one_group_is_not_compared_with_itself(own_study: Path) -> None:
    table = pd.read_csv(own_study / "slices.csv", dtype={"group": str})
    one = (table["slice"] == POPULARITY) | (table["group"] == "31-39")
    assert table.loc[one, "slice"].nunique() == 2
    table[one].to_csv(own_study / "slices.csv", index=False)
    text = slices_section(read_study(own_study)).markdown
    assert text.count("by training interactions of the target") == 1
    assert "by items in the history" not in text


def test_slices_without_the_full_model_are_said(own_study: Path) -> None:
    table = slices_of(own_study)
    table[table["depth"] != 4].to_csv(own_study / "slices.csv", index=False)
    section = slices_section(read_study(own_study))
    assert section.paragraphs == [
        "Not in this study: the full model in `slices.csv` (no `variants/`). Run the probe stage."
    ]
    assert section.figures == []


def test_each_group_is_a_line_over_depth_with_sasrec_beside_it(fake_study: Path) -> None:
    named, _ = slices_section(read_study(fake_study)).figures
    table = slices_of(fake_study)
    assert len(named.figure.axes) == 2
    for axes, name in zip(named.figure.axes, (LENGTH, POPULARITY), strict=True):
        lines = {str(line.get_label()): line for line in axes.lines if len(line.get_xdata()) == 5}
        groups = table.loc[table["slice"] == name, "group"].unique()
        assert list(lines) == [f"cold ({group})" if group == "0" else group for group in groups]
        for group, line in zip(groups, lines.values(), strict=True):
            rows = table[(table["slice"] == name) & (table["group"] == group)]
            variants = rows[rows["kind"] == "variant"].sort_values("depth")
            np.testing.assert_allclose(line.get_xydata(), variants[["depth", "value"]])
            hollow = [one for one in axes.lines if one.get_mfc() == "white" and one.get_color() == line.get_color()]
            assert [float(one.get_ydata()[0]) for one in hollow] == [rows[rows["kind"] == "sasrec"]["value"].item()]
            assert hollow[0].get_xdata()[0] > 4.5


def test_seeds_are_averaged_and_other_selections_left_out(rich_study: Path) -> None:
    named, _ = slices_section(read_study(rich_study)).figures
    table = slices_of(rich_study)
    rows = table[(table["selection"] == "first:3") & (table["slice"] == LENGTH)]
    drawn = named.table[(named.table["selection"] == "first:3") & (named.table["slice"] == LENGTH)]
    assert len(rows) == 2 * len(drawn) == 2 * 4
    np.testing.assert_allclose(drawn["value"], rows.groupby("group", sort=False)["value"].mean())
    assert drawn["n_seeds"].tolist() == [2] * 4
    assert not set(named.table["selection"]) & {"last:2", "random:3@7"}


def test_groups_go_from_light_to_dark_and_no_two_look_alike() -> None:
    looks = group_looks(["0", "1-3", "4-9", "10-50"], POPULARITY)
    brightness = [sum(int(look[0][i : i + 2], 16) for i in (1, 3, 5)) for look in list(looks.values())[1:]]
    assert brightness == sorted(brightness, reverse=True)
    assert len(set(looks.values())) == 4
    # A history of 0 items is a length like any other.
    assert group_looks(["0", "1-3"], LENGTH)["0"] != looks["0"]
