"""The report of a study of many selections: their layers, and their twins with random weights."""

from __future__ import annotations

import shutil
from pathlib import Path

from test_report import cells

from layerprobe.reporting.files.study_files import read_study
from layerprobe.reporting.report import make_report
from layerprobe.reporting.sections.depth import depth_section
from layerprobe.store.atomic import read_json


def test_selections_are_listed_with_their_layers(mixed_study: Path) -> None:
    said = make_report(read_study(mixed_study)).text
    assert "Every selection is compared with the full model" in said
    for text, depth, layers in (("every:2", "2", "0, 2"), ("keep:0,3", "2", "0, 3"), ("drop:1", "3", "0, 2, 3")):
        assert cells(said, f"{text} ")[:3] == [text, depth, layers]
        assert cells(said.split("## Behind the decision")[1], f"depth {depth}, {text} ")[1] == layers
        assert f"fine-tuned, {text}, seed 0" in said
    assert cells(said.split("## Behind the decision")[1], "depth 4, first:4 (full)")[1] == "0-3"


def test_layers_that_are_not_stored_are_not_made_up(mixed_study: Path, tmp_path: Path) -> None:
    shutil.copy(mixed_study / "curve.csv", tmp_path / "curve.csv")
    assert cells(make_report(read_study(tmp_path)).text, "every:2 ") == ["every:2", "-", "-"]


def test_every_selection_is_compared_with_its_twin(mixed_study: Path) -> None:
    text = depth_section(read_study(mixed_study)).markdown
    (arm,) = read_json(mixed_study / "controls.json")["controls"]
    assert f"random ones in the same layers as good?** {arm['sentence']}" in text
    table = text.split("in the same layers as good?**")[1].split("\n\n")[1]
    assert len(table.splitlines()) == 2 + len(arm["selections"]) == 2 + 9
    (row,) = [row for row in arm["selections"] if row["selection"] == "keep:0,3"]
    assert cells(table, "keep:0,3") == [
        "keep:0,3",
        "0, 3",
        f"{row['value']:.4f}",
        f"{row['control_value']:.4f}",
        f"{row['value'] - row['control_value']:.4f}",
        f"[{row['ci_low']:.4f}, {row['ci_high']:.4f}]",
        row["verdict"],
    ]
    assert "random initialisation, keep:0,3, seed 0" in text
    assert "Hollow points are twins" in text


def test_a_control_arm_without_its_comparison_is_said(mixed_study: Path, tmp_path: Path) -> None:
    study = Path(shutil.copytree(mixed_study, tmp_path / "study"))
    (study / "controls.json").unlink()
    line = "Not in this study: the comparison with random initialisation (no `controls.json`). Run the decide stage."
    assert line in depth_section(read_study(study)).paragraphs
