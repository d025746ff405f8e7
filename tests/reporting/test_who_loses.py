"""Who loses, in the report: the sentence, the table and the figure say what `slice_differences.csv` holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from layerprobe.reporting.figures.slice_differences import differences_figure, model_looks
from layerprobe.reporting.files.study_files import read_study
from layerprobe.reporting.sections.slice_differences import difference_part
from layerprobe.reporting.tables.slice_differences import shown_differences, who_loses
from layerprobe.store.atomic import read_json, write_json

LENGTH, POPULARITY = "history_length", "target_popularity"


def rows_of(study: Path, **wanted: object) -> pd.DataFrame:
    table = pd.read_csv(study / "slice_differences.csv", dtype={"group": str}, keep_default_na=False, na_values=[""])
    for name, value in wanted.items():
        table = table[table[name] == value]
    return table


def rewrite(study: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(rows_of(study)).to_csv(study / "slice_differences.csv", index=False)


def decide_on(study: Path, **change: object) -> None:
    path = study / "decision.json"
    write_json(path, read_json(path) | change)


def text_of(study: Path) -> str:
    return "\n\n".join(difference_part(read_study(study)).paragraphs)


def train_again(table: pd.DataFrame) -> pd.DataFrame:
    """Says that every model was trained with three seeds."""
    return table.assign(seeds=3)


def table_rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def with_bounds(low: float, high: float, *, of: dict[str, object]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Gives every row with an interval wide bounds, and the rows `of` these."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.assign(ci_low_all=table["ci_low_all"] * 0 - 1, ci_high_all=table["ci_high_all"] * 0 + 1)
        chosen = np.all([table[name] == value for name, value in of.items()], axis=0)
        assert chosen.any()
        return table.assign(
            ci_low_all=table["ci_low_all"].mask(chosen, low), ci_high_all=table["ci_high_all"].mask(chosen, high)
        )

    return change


@pytest.mark.parametrize(
    ("decision", "name"),
    [
        ({"depth": 2, "selection": "first:2"}, "depth 2, decided"),
        ({"depth": None, "selection": None}, "depth 3"),
        ({"depth": 4, "selection": "first:4"}, "depth 3"),
    ],
)
def test_the_decided_selection_is_shown_or_else_the_deepest_below_the_full_model(
    decision: dict[str, Any], name: str, own_study: Path
) -> None:
    decide_on(own_study, **decision)
    study = read_study(own_study)
    assert study.slice_differences is not None
    table = shown_differences(study.slice_differences, study.decision)
    assert table["name"].unique().tolist() == [name, "distilled student", "SASRec"]
    assert (table[["metric", "k"]] == ["ndcg", 10]).all(axis=None)
    expected = rows_of(own_study, metric="ndcg", selection=f"first:{name[6]}", kind="variant")
    own = table[table["name"] == name]
    assert own["relative"].tolist() == pytest.approx((expected["difference"] / expected["full_value"]).tolist())
    for bound in ("ci_low", "ci_high", "ci_low_all", "ci_high_all"):
        np.testing.assert_allclose(own[f"relative_{bound}"], expected[bound] / expected["full_value"])


def test_of_selections_as_deep_the_first_layers_are_shown(mixed_study: Path) -> None:
    study = read_study(mixed_study)
    assert study.slice_differences is not None
    assert (study.slice_differences["selection"] == "drop:1").any()  # keeps three layers, too
    table = shown_differences(study.slice_differences, None)
    assert table["selection"].unique().tolist() == ["first:3", "first:2", ""]


def test_the_sentence_names_who_loses_and_gains_significantly(own_study: Path) -> None:
    decide_on(own_study, depth=2, selection="first:2")
    rewrite(own_study, train_again)
    rows = rows_of(own_study, kind="variant", selection="first:2", metric="ndcg", slice=LENGTH)
    group, share = rows.loc[rows["ci_low_all"].notna(), ["group", "relative"]].iloc[0]
    rewrite(own_study, with_bounds(-0.2, -0.1, of={"selection": "first:2", "slice": LENGTH, "group": group}))
    text = text_of(own_study)
    lost = f"loses for users with {group} ({100 * share:.1f} %) items in the history"
    assert f"(95 % confidence, for all groups of a model together): depth 2, decided: {lost}; " in text
    # The student keeps first:2 as well, so its row was given the bounds, too.
    assert text.count("loses for users with") == 2
    assert "SASRec: none." in text
    rewrite(own_study, with_bounds(0.1, 0.2, of={"kind": "sasrec", "slice": LENGTH, "group": group}))
    text = text_of(own_study)
    assert "depth 2, decided: none; distilled student: none; SASRec: gains" in text
    assert f"SASRec: gains for users with {group} (" in text


def test_an_interval_of_the_group_alone_is_not_enough_to_be_significant(own_study: Path) -> None:
    def narrow(table: pd.DataFrame) -> pd.DataFrame:
        bounds = with_bounds(-1, 1, of={"kind": "sasrec"})(table)
        return bounds.assign(ci_low=-0.2, ci_high=-0.1)

    rewrite(own_study, narrow)
    rewrite(own_study, train_again)
    text = text_of(own_study)
    assert "for all groups of a model together): none. This does not prove" in text
    assert "]*" not in text


def test_without_any_interval_nothing_is_said_of_who_loses(rich_study: Path) -> None:
    assert "No group has enough users for an interval, so it is not known who loses." in text_of(rich_study)


def test_the_table_has_every_group_and_marks_what_is_significant(own_study: Path) -> None:
    decide_on(own_study, depth=2, selection="first:2")
    rows = rows_of(own_study, metric="ndcg", kind="sasrec")
    certain = rows.loc[rows["ci_low_all"].notna(), "group"].iloc[-1]
    rewrite(own_study, with_bounds(0.1, 0.2, of={"kind": "sasrec", "group": certain}))
    header, _, *lines = table_rows(text_of(own_study))
    assert header == ["Users by", "Group", "Users", "depth 2, decided", "distilled student", "SASRec"]
    assert len(lines) == len(rows) == 8
    for cells, row in zip(lines, rows.itertuples(), strict=True):
        low, high = (100 * bound / row.full_value for bound in (row.ci_low, row.ci_high))
        shown = "" if np.isnan(low) else f" [{low:.1f} %, {high:.1f} %]{'*' if row.group == certain else ''}"
        assert cells[1:3] == [f"cold ({row.group})" if row.group == "0" else row.group, str(row.n_users)]
        assert cells[5] == f"{100 * row.relative:.1f} %{shown}"


def test_models_of_one_training_are_named(fake_study: Path, rich_study: Path) -> None:
    once = "Trained once, so the intervals do not cover the noise of training: "
    assert f"{once}depth 3; distilled student; SASRec." in text_of(fake_study).replace(", decided", "")
    assert f"{once}SASRec." in text_of(rich_study)


def test_the_figure_has_a_panel_per_slice_with_zero_and_margin(mixed_study: Path) -> None:
    study = read_study(mixed_study)
    (named,) = difference_part(study).figures
    assert named.name == "slice-differences"
    assert len(named.figure.axes) == 3
    for axes, (name, rows) in zip(named.figure.axes, named.table.groupby("slice", sort=False), strict=True):
        vertical = [float(line.get_xdata()[0]) for line in axes.lines if len(set(line.get_xdata())) == 1]
        assert {0.0, -2.0} <= set(vertical), name
        drawn = np.concatenate([np.asarray(points.get_offsets())[:, 0] for points in axes.collections[2:9:3]])
        assert sorted(drawn.tolist()) == pytest.approx(sorted((100 * rows["relative"]).tolist()))


def test_a_point_beyond_the_panel_is_an_arrow_at_its_edge(own_study: Path) -> None:
    study = read_study(own_study)
    assert study.slice_differences is not None
    table = shown_differences(study.slice_differences, study.decision)
    table.loc[0, ["relative", "relative_ci_high"]] = [7.0, 9.0]
    axes = differences_figure(table, None, "caption").axes[0]
    assert axes.get_xlim() == (-100, 100)
    arrows = [np.asarray(points.get_offsets()) for points in axes.collections[9:] if len(points.get_offsets())]
    assert [arrow[:, 0].tolist() for arrow in arrows] == [[95.0]]


def test_students_differ_in_looks() -> None:
    names = ["a", "b", "c"]
    looks = model_looks(pd.DataFrame({"name": [*names, "SASRec"], "kind": ["distilled"] * 3 + ["sasrec"]}))
    assert len(set(looks.values())) == 4


def test_readable_days_stand_in_the_report_and_seconds_in_the_file(mixed_study: Path) -> None:
    files = rows_of(mixed_study, slice="recency")["group"].unique()
    assert all(group.endswith(" s") for group in files)
    lines = [cells for cells in table_rows(text_of(mixed_study)) if cells[0] == "time since the last item"]
    assert len(lines) == len(files) == 4
    assert lines[-1][1].endswith("days")
    assert "Recency is the time from the last item of the history to the target; bounds" in text_of(mixed_study)


@pytest.mark.parametrize(
    ("has_times", "line"),
    [
        (False, "is not known, because the log has no times."),
        (True, "is the same for all users (for example, times"),
    ],
)
def test_absent_recency_is_said_with_its_reason(has_times: bool, line: str, own_study: Path) -> None:
    path = own_study / "data" / "facts.json"
    facts = read_json(path)
    write_json(path, facts | {"audit": facts["audit"] | {"has_times": has_times}})
    assert f"No groups by recency: time since the last item {line}" in text_of(own_study)


def test_times_of_an_unknown_unit_are_said_to_be_the_logs_own(own_study: Path) -> None:
    rewrite(own_study, lambda table: table.assign(slice=table["slice"].replace(LENGTH, "recency")))
    assert "to the target, in the log's own unit." in text_of(own_study)


def test_a_sentence_needs_no_known_level(own_study: Path) -> None:
    study = read_study(own_study)
    assert study.slice_differences is not None
    table = shown_differences(study.slice_differences.assign(seeds=3), study.decision)
    assert who_loses(table, None).startswith("Significant differences in NDCG@10 from the full model (for all")
    assert who_loses(table, 0.1).startswith("Significant differences in NDCG@10 from the full model (90 % confidence,")


def test_of_models_trained_once_nothing_is_called_significant(own_study: Path) -> None:
    study = read_study(own_study)
    assert study.slice_differences is not None
    table = shown_differences(study.slice_differences, study.decision)
    text = who_loses(table, 0.1)
    assert text.startswith("Differences in NDCG@10 from the full model whose 90 % interval, for all groups of a model")
    assert (
        "trained once, so this holds for these trained models: depth 3: none; distilled student: none; SASRec: loses"
        in text
    )
    assert "ignific" not in text
    mixed = who_loses(table.assign(seeds=[1 if name == "SASRec" else 3 for name in table["name"]]), 0.1)
    assert mixed.index("Significant differences") < mixed.index("equally well") < mixed.index("trained once")
    assert mixed.count("SASRec") == 1
