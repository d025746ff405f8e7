"""Reading a study folder: bad folders get one clear line."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from layerprobe.errors import InputError
from layerprobe.reporting.files.study_files import read_study
from layerprobe.reporting.sections.layers import layers_section
from layerprobe.store.atomic import read_json, write_json


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("curve.csv", None, "curve.csv is missing; a report needs it"),
        ("curve.csv", "", "run the curve stage to make it again"),
        ("curve.csv", "kind,depth\n", "lacks the column"),
        ("decision.json", "{", "decision.json cannot be read"),
        ("decision.json", "{}", "decision.json is damaged or of another version: the key metric is missing"),
        ("controls.json", '{"control": []}', "controls.json is damaged .*: the key control is not known"),
        ("distilled.json", "[]", "distilled.json is damaged .*: DistilledRecord must be a mapping"),
        ("teacher/metrics.json", '{"kind": "variant"}', "metrics.json is damaged .*: the key selection is missing"),
        ("variants/first-1/seed-0/metrics.json", "{", "metrics.json cannot be read"),
        ("study.yaml", "a: [", "study.yaml cannot be read"),
        ("similarity/similarity.parquet", "no parquet", "similarity.parquet cannot be read"),
        ("similarity/importance.csv", "measure,value\n", "importance.csv must have the columns .*; missing: layer;"),
        (
            "similarity/importance.csv",
            "measure,layer,value,ci_low\n",
            ".*; missing: ci_high, n_rows, dim;",
        ),
        ("similarity/importance.csv", "measure,layer,value\na,0,big\n", "numbers in the column value; got 'big'"),
        ("similarity/student.parquet", "no parquet", "student.parquet cannot be read"),
        ("similarity/null.csv", "measure\n", "null.csv must have the columns .*; missing: layer_a, layer_b, value"),
        ("similarity/states.csv", "layer\n", "states.csv must have the columns .*; missing: n_rows, dim"),
        ("similarity/blocks.csv", "", "blocks.csv cannot be read"),
        ("similarity/greedy.csv", "step,layer,value\n1,last,0.5\n", "numbers in the column layer; got 'last'"),
        ("similarity/selections.json", "[", "selections.json cannot be read"),
        ("similarity/selections.json", "[]", "selections.json must hold, for each form, `kept`"),
        ("similarity/selections.json", '{"bi": {"order": [0]}}', "must hold, for each form, `kept`"),
        ("similarity/selections.json", '{"bi": {"kept": [[], [0], [1, 0]]}}', "k ascending layers"),
        ("similarity/selections.json", '{"bi": {"kept": [[], [0], [0]]}}', "k ascending layers for k = 0..L"),
        ("similarity/selections.json", '{"bi": {"kept": [[], [1]]}}', "k ascending layers for k = 0..L"),
        ("predictiveness.csv", "score,correlation\n", "predictiveness.csv .*; missing: ci_low"),
        ("predicted.csv", "score,selection,depth,value,measured\na,first:1,1,x,1\n", "column value; got 'x'"),
        ("slices.csv", "slice,value\n", "slices.csv must have the columns .*; missing: kind, selection"),
        ("slices.csv", "slice,value\nhistory_length,many\n", "slices.csv cannot be read"),
        ("slice_differences.csv", "slice,value\n", "slice_differences.csv must have the columns .*; missing: kind"),
        ("slice_differences.csv", "slice,seeds\nrecency,two\n", "slice_differences.csv cannot be read"),
        ("teacher/ranks.parquet", "", "ranks.parquet cannot be read"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(name: str, content: str | None, message: str, own_study: Path) -> None:
    path = own_study / name
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read_study(own_study)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"full_depth": 9}, "it has no row of the full depth, 9; run the decide stage again"),
        ({"depth": 2, "selection": "keep:0,3"}, "it has no row of the selection it chose, keep:0,3; run the decide"),
    ],
)
def test_a_decision_without_the_rows_it_speaks_of_is_damaged(change: dict, message: str, own_study: Path) -> None:
    path = own_study / "decision.json"
    write_json(path, read_json(path) | change)
    with pytest.raises(InputError, match=message):
        read_study(own_study)


def test_a_study_must_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent is not a folder"):
        read_study(tmp_path / "absent")


def test_an_unfinished_model_counts_as_absent(own_study: Path) -> None:
    (own_study / "distillation" / "student" / "ranks.parquet").unlink()
    assert read_study(own_study).students == ()


@pytest.mark.parametrize(
    ("git", "expected"),
    [
        ({"commit": "0123456789abcdef", "dirty": False}, "0123456789"),
        ({"commit": "0123456789abcdef", "dirty": True}, "0123456789 with uncommitted changes"),
        ({"commit": None, "dirty": None}, "unknown"),
    ],
)
def test_the_commit_says_whether_it_is_the_whole_truth(git: dict[str, object], expected: str, own_study: Path) -> None:
    path = own_study / "provenance.json"
    write_json(path, read_json(path) | {"git": git})
    assert read_study(own_study).commit == expected


def test_a_study_without_spec_is_called_by_its_folder(own_study: Path) -> None:
    (own_study / "study.yaml").unlink()
    study = read_study(own_study)
    assert study.name == own_study.name
    assert study.alpha is None


def test_groups_of_single_numbers_stay_text_and_floors_have_no_depth(own_study: Path) -> None:
    table = pd.read_csv(own_study / "slices.csv").assign(group=5)
    table.to_csv(own_study / "slices.csv", index=False)
    slices = read_study(own_study).slices
    assert slices is not None
    assert set(slices["group"]) == {"5"}
    assert slices.loc[slices["kind"] == "sasrec", "depth"].isna().all()
    assert set(slices.loc[slices["kind"] == "sasrec", "selection"]) == {""}
    pd.testing.assert_series_equal(slices["value"], table["value"])


def test_an_older_importance_has_no_intervals_and_that_is_said(own_study: Path) -> None:
    path = own_study / "similarity" / "importance.csv"
    table = pd.read_csv(path)
    table[["measure", "layer", "value"]].to_csv(path, index=False)
    study = read_study(own_study)
    assert study.scores.importance is not None
    assert study.scores.importance[["ci_low", "ci_high", "n_rows"]].isna().all(axis=None)
    pd.testing.assert_series_equal(study.scores.importance["value"], table["value"])
    section = layers_section(study)
    line = "Not in this study: intervals of importance (no `ci_low in similarity/importance.csv`). "
    assert f"{line}Run the similarity stage." in section.paragraphs
    assert "importance" in {named.name for named in section.figures}


def test_orders_keep_what_the_file_says(own_study: Path) -> None:
    stored = {"bi": {"kept": [[], [0], [0, 1]]}}
    write_json(own_study / "similarity" / "selections.json", stored)
    assert read_study(own_study).scores.kept == {"bi": ((), (0,), (0, 1))}
