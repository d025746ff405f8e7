"""The house: no circle of modules, no crowded folder, and the places of a study's files known by one module."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

MOST_FILES = 16
GROWN = {"layerprobe.similarity": 22, "layerprobe.probing": 18}
"""Folders that were larger before the limit came; they may shrink."""
PLACES = {
    "teacher", "variants", "controls", "items", "baselines", "exits", "similarity", "costs", "distillation",
    "student", "report", "data", "tracking", "lr", "study.yaml", "provenance.json", "curve.csv", "slices.csv",
    "decision.json", "convergence.csv", "robustness.csv", "slice_differences.csv", "controls.json", "distilled.json",
    "predictiveness.csv", "predicted.csv", "ranks.parquet", "metrics.json", "spec.yaml", "checkpoint", "failed.json",
    "halted.json", "similarity.parquet", "importance.csv", "blocks.csv", "states.csv", "null.csv", "selections.json",
    "greedy.csv", "costs.csv", "costs.json", "front.csv", "probe_heads.safetensors", "item_table.safetensors",
    "decisions.jsonl", "manifest.json", "packed.json",
}  # fmt: skip
OTHER_FOLDERS = {"layerprobe.store.layout", "layerprobe.export.student", "layerprobe.data.sources.table"}
"""The layout itself; a student's folder and a log's folder have files of their own."""


def edges(module, known: set[str]) -> set[str]:
    """The modules that a module imports, wherever the import stands, but for types alone."""
    for_types = {
        id(node)
        for branch in ast.walk(module.tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    found = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in for_types:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (names & known) or ({node.module} & known)
    return found - {module.name}


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """Takes away what imports nothing that is left, again and again; what stays lies on a circle or above one."""
    left = {name: set(targets) for name, targets in graph.items()}
    while free := [name for name, targets in left.items() if not targets & set(left)]:
        for name in free:
            del left[name]
    return sorted(left)


def literal_places(module) -> list[str]:
    """Joins of a path with a literal name of a study's files: `folder / "teacher"`, also in an f-string's beginning."""
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            text = node.right.value if isinstance(node.right, ast.Constant) else None
            if isinstance(text, str) and PLACES & set(text.split("/")):
                found.append(f"{module.name}:{node.lineno}: {text}")
    return found


def test_no_modules_import_each_other_in_a_circle(modules) -> None:
    graph = {name: edges(module, set(modules)) for name, module in modules.items() if name != "layerprobe"}
    assert sum(map(len, graph.values())) > 500
    assert circle_in(graph) == []


def test_a_circle_is_found() -> None:
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]


def test_no_folder_is_crowded(modules) -> None:
    folders = Counter(module.package for name, module in modules.items() if module.path.name != "__init__.py")
    crowded = {folder: count for folder, count in folders.items() if count > GROWN.get(folder, MOST_FILES)}
    assert crowded == {}


def test_only_the_layout_knows_where_files_of_a_study_lie(modules) -> None:
    checked = [module for name, module in modules.items() if name not in OTHER_FOLDERS]
    assert [line for module in checked for line in literal_places(module)] == []


@pytest.mark.parametrize("line", ['folder / "teacher"', 'folder / "similarity" / name', 'out / "report/report.md"'])
def test_a_literal_place_is_found(parse_module, line: str) -> None:
    assert len(literal_places(parse_module("layerprobe.stages.made_up", f"path = {line}"))) == 1
