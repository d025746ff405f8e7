"""What the project tests look at: the package's modules, parsed once."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Doctest collection imports files by name, and there may be one module named conftest only.
collect_ignore = ["conftest.py"]


class Module(NamedTuple):
    """One module of the package: its dotted name, its file, its lines and its syntax tree."""

    name: str
    path: Path
    lines: list[str]
    tree: ast.Module

    @property
    def package(self) -> str:
        """The folder its relative imports start from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    def imports(self) -> set[str]:
        """Every dotted name it imports, wherever the import stands; `from a import b` counts as `a` and `a.b`."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node)
                found.update([base, *(f"{base}.{alias.name}" for alias in node.names)])
        return found

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parents = self.package.split(".")
        return ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [node.module])])


def parse(name: str, path: Path, text: str) -> Module:
    """Returns the module with that source text."""
    return Module(name, path, text.splitlines(), ast.parse(text, filename=str(path)))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's folder."""
    return ROOT


@pytest.fixture(scope="session")
def modules() -> dict[str, Module]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted((ROOT / "layerprobe").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = parse(name, path, path.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="session")
def parse_module():
    """Parses source text that is not on disk, to show that a rule catches what it must catch."""
    return lambda name, text: parse(name, Path(f"{name.replace('.', '/')}.py"), text)
