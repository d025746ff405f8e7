"""pyproject.toml, constraints.txt, Makefile and .ci/run agree with each other and with the code."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import layerprobe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DISTRIBUTION = {"yaml": "pyyaml"}  # where the name to import is not the name to install


@pytest.fixture(scope="module")
def project(root) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def pins(root) -> dict[str, Requirement]:
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in found}


def declared(project: dict) -> list[Requirement]:
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    return [Requirement(line) for line in [*project["dependencies"], *extras] if not line.startswith("layerprobe[")]


def test_every_library_the_package_imports_is_a_declared_dependency(project, modules):
    names = {name.split(".")[0] for module in modules.values() for name in module.imports()}
    outside = names - set(sys.stdlib_module_names) - {"layerprobe"}
    assert {"torch", "numpy", "pandas"} <= outside
    base = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    assert {DISTRIBUTION.get(name, canonicalize_name(name)) for name in outside} - base == set()


def test_dependencies_are_floors_and_only_transformers_has_a_ceiling(project):
    for requirement in declared(project):
        operators = {part.operator for part in requirement.specifier}
        assert operators == ({">=", "<"} if requirement.name == "transformers" else {">="}), requirement


def test_every_declared_dependency_is_pinned_and_the_pin_respects_the_floor(project, pins):
    for requirement in declared(project):
        pin = pins[canonicalize_name(requirement.name)]
        version = next(iter(pin.specifier)).version
        assert requirement.specifier.contains(version), f"{pin} is outside {requirement}"


def test_constraints_are_exact_and_leave_the_choice_of_device_open(pins):
    assert str(pins["torch"]) == "torch==2.13.0"
    for name, pin in pins.items():
        assert [part.operator for part in pin.specifier] == ["=="], pin
        assert "+" not in str(pin.specifier), pin
        assert not re.match(r"nvidia-|cuda-|triton", name), pin


def test_the_command_is_the_cli_and_the_version_is_written_once(project):
    assert project["scripts"] == {"layerprobe": "layerprobe.cli.main:main"}
    assert project["dynamic"] == ["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", layerprobe.__version__)


def test_every_file_that_is_not_code_is_package_data(root: Path):
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    package = root / "layerprobe"
    shipped = {path for pattern in settings["package-data"]["layerprobe"] for path in package.glob(pattern)}
    files = {path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert shipped
    assert sorted(path.name for path in files - shipped if path.suffix not in {".py", ".pyc"}) == []


def test_ci_runs_the_linters_and_then_the_readmes_test_command(root: Path):
    script = (root / ".ci" / "run").read_text(encoding="utf-8")
    assert re.findall(r"^make \w+$", script, flags=re.MULTILINE) == ["make lint", "make test"]
    assert "set -euo pipefail" in script


@pytest.mark.parametrize("target", ["help", "demo", "test", "lint", "notebooks", "bench", "clean"])
def test_each_promised_make_target_exists_and_says_what_it_does(root: Path, target):
    text = (root / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:.*## \w", text, flags=re.MULTILINE)


@pytest.mark.parametrize("target", ["demo", "test", "lint", "notebooks", "bench"])
def test_what_needs_the_environment_makes_it_first(root: Path, target):
    text = (root / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}: \$\(STAMP\) ##", text, flags=re.MULTILINE)
