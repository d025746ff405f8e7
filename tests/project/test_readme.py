"""README: every number of its table stands in a committed report, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

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


def test_links_of_the_readme_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
