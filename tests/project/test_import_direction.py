"""Imports point one way, from what is computed first to what is computed from it."""

from __future__ import annotations

import pytest

BASE = {"columns", "errors", "processes", "ranges", "arguments", "safe_yaml", "html", "kinds", "wording"}
COMPUTE = BASE | {"store", "data", "items", "backbone", "recommender", "evaluation", "training"}
MEASURE = COMPUTE | {"similarity", "probing", "distillation"}
ALLOWED = {
    "columns": set(),
    "errors": set(),
    "kinds": set(),
    "wording": {"errors"},
    "html": set(),
    "ranges": set(),
    "arguments": {"errors", "ranges"},
    "safe_yaml": {"errors", "ranges", "arguments"},
    "processes": {"errors"},
    "store": BASE,
    "data": BASE | {"store"},
    "items": BASE | {"store", "data"},
    "backbone": BASE | {"store", "data"},
    "recommender": BASE | {"store", "data", "items", "backbone"},
    "evaluation": BASE | {"store", "data", "items", "backbone", "recommender"},
    "training": COMPUTE - {"training"},
    "similarity": COMPUTE,
    "probing": COMPUTE,
    "distillation": COMPUTE,
    "reporting": BASE | {"store", "evaluation.metrics", "evaluation.uncertainty", "probing.curves"},
    "export": MEASURE,
    "study": MEASURE | {"export"},
    "sweep": MEASURE | {"study"},
    "stages": MEASURE | {"export", "reporting", "study", "sweep"},
    "publishing": BASE | {"store", "data", "evaluation", "probing", "reporting", "study", "stages.tables"},
    "pipeline": MEASURE | {"export", "reporting", "study", "sweep", "stages"},
    "cli": MEASURE | {"export", "reporting", "study", "sweep", "stages", "publishing", "pipeline"},
}
FRONT_DOOR = {"layerprobe", "layerprobe.__main__"}  # the public names and `python -m` may reach anything


def folder_of(name: str) -> str:
    return name.split(".")[1]


def is_allowed(target: str, known: set[str], allowed: set[str]) -> bool:
    """Whether a dotted name inside the package is one of the allowed folders or modules, or lies in one."""
    inside = target.removeprefix("layerprobe.")
    if any(inside == entry or inside.startswith(f"{entry}.") for entry in allowed):
        return True
    # `from layerprobe.evaluation import metrics` also names the folder: the module decides, not the empty folder file.
    return target in known and any(entry.startswith(f"{inside}.") for entry in allowed)


def violations(module, known: set[str]) -> list[str]:
    own = folder_of(module.name)
    allowed = ALLOWED[own] | {own, "__version__"}
    return [
        f"{module.name} imports {target}"
        for target in sorted(module.imports())
        if target.startswith("layerprobe.") and not is_allowed(target, known, allowed)
    ]


def test_every_folder_of_the_package_has_a_rule(modules):
    assert {folder_of(name) for name in modules if name not in FRONT_DOOR} == set(ALLOWED)


def test_every_module_imports_only_what_lies_before_it(modules):
    checked = [module for name, module in modules.items() if name not in FRONT_DOOR]
    assert len(checked) > 60
    assert [line for module in checked for line in violations(module, set(modules))] == []


def test_the_allowed_directions_hold_no_circle():
    done: set[str] = set()
    while len(done) < len(ALLOWED):
        ready = {f for f, seen in ALLOWED.items() if f not in done and {s.split(".")[0] for s in seen} <= done}
        assert ready, f"a circle among {sorted(set(ALLOWED) - done)}"
        done |= ready


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("layerprobe.data.splits", "from layerprobe.items.table import ItemTable"),
        ("layerprobe.recommender.model", "from layerprobe.training import loop"),
        ("layerprobe.evaluation.ranks", "import layerprobe.training.loop"),
        ("layerprobe.probing.exits", "def late():\n    from layerprobe.similarity.cka import linear_cka"),
        ("layerprobe.reporting.figures.canvas", "from layerprobe.evaluation import ranks"),
        ("layerprobe.reporting.figures.canvas", "from layerprobe.evaluation.ranks import rank_targets"),
        ("layerprobe.reporting.figures.canvas", "from ...probing import exits"),
        ("layerprobe.data.splits", "from layerprobe import Recommender"),
        ("layerprobe.export.student", "from layerprobe.pipeline.run import run"),
    ],
)
def test_an_import_against_the_direction_is_found(modules, parse_module, name, line):
    assert violations(parse_module(name, line), set(modules) | {"layerprobe.evaluation", "layerprobe.probing"})


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("layerprobe.reporting.figures.canvas", "from layerprobe.evaluation import metrics"),
        ("layerprobe.reporting.figures.canvas", "from layerprobe.probing.curves import curve_rows"),
        ("layerprobe.training.loop", "from layerprobe.evaluation.ranks import rank_targets"),
        ("layerprobe.data.splits", "from .sequences import Sequences"),
    ],
)
def test_an_import_along_the_direction_is_not_flagged(modules, parse_module, name, line):
    assert violations(parse_module(name, line), set(modules)) == []
