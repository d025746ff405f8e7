"""README: every number of its table stands in a committed report, and its commands exist."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import layerprobe
from layerprobe.cli.main import build_parser
from layerprobe.store.atomic import read_json

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| \[([\w-]+)\]\(reports/[\w-]+/report\.md\) \|(.+)\|$", README, flags=re.MULTILINE)


DECISIONS = re.findall(r"^- \*\*([\w-]+)\*\*: \"(.+)\"", README, flags=re.MULTILINE)


def value(curve: pd.DataFrame, kind: str, depth: int | None = None) -> str:
    """Returns NDCG@10 of one kind, of `first:depth` where a depth is given; with several seeds their mean."""
    rows = curve.query("split == 'test' and protocol == 'full' and metric == 'ndcg' and k == 10")
    rows = rows[rows["kind"] == kind]
    if depth is not None:
        rows = rows[rows["selection"] == f"first:{depth}"]
    return f"{rows['value'].mean():.4f}"


def test_the_table_is_found() -> None:
    assert len(ROWS) >= 4


@pytest.mark.parametrize(("name", "cells"), ROWS, ids=[name for name, _ in ROWS])
def test_numbers_of_the_table_are_those_of_the_report(name: str, cells: str) -> None:
    curve = pd.read_csv(ROOT / "reports" / name / "curve.csv")
    by_depth, student, sasrec, markov = [cell.strip() for cell in cells.split("|")][2:]
    depths = sorted(set(curve[curve["kind"] == "variant"]["depth"].astype(int)))
    assert by_depth == " ".join(value(curve, "variant", depth) for depth in depths)
    assert student == value(curve, "distilled")
    assert (sasrec, markov) == (value(curve, "sasrec"), value(curve, "markov-1"))


def test_each_report_is_quoted_with_the_sentence_it_decides_by() -> None:
    found = {name: sentence for name, sentence in DECISIONS}
    assert set(found) == {name for name, _ in ROWS}
    for name, sentence in found.items():
        assert sentence == read_json(ROOT / "reports" / name / "decision.json")["sentence"]


@pytest.mark.parametrize(("name", "cells"), ROWS, ids=[name for name, _ in ROWS])
def test_the_command_of_a_row_names_an_existing_config(name: str, cells: str) -> None:
    command = cells.split("|")[0].strip().strip("`")
    if command != "make demo":
        assert (ROOT / command.split()[2]).exists()
        assert f"name: {name}" in (ROOT / command.split()[2]).read_text(encoding="utf-8")


def test_every_command_the_readme_shows_exists() -> None:
    shown = set(re.findall(r"^layerprobe (\w+)", README, flags=re.MULTILINE))
    known = next(action.choices for action in build_parser()._actions if action.dest == "command")
    assert len(shown) >= 3
    assert shown <= set(known or {})


def python_section() -> str:
    return re.findall(r"^## From Python$.*?^```python\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)[0]


def test_the_python_section_is_short_and_uses_public_names_alone() -> None:
    code = python_section()
    assert len(code.splitlines()) <= 25
    tree = ast.parse(code)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["import layerprobe as lp"]
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "lp"
    }
    assert {"prepare", "fit", "rank", "decide", "distil", "export_student"} <= used <= set(layerprobe.__all__)


def test_the_python_section_runs_from_a_log_to_a_student(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    command = [sys.executable, "-W", "error", "-c", python_section()]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    sentence, table = done.stdout.split("\n", 1)
    verdict = re.sub(r"^Exploratory, one training seed: ", "", sentence).lower()
    assert re.match(r"keep (\d of 4|no) layers?|use the baseline |undecided: |the full model is needed: ", verdict)
    assert len(table.splitlines()) == 1 + 3  # header, and the three best items
    assert (tmp_path / "my-student" / "backbone" / "model.safetensors").exists()


def test_links_of_the_readme_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
