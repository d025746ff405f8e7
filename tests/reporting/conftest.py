"""Fixtures of reporting tests: made-up study folders, written once and copied for tests that change them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "builders"))
from fake_study import FakeShape, write_fake_study

# Doctest collection imports files by name, and there may be one module named conftest only.
collect_ignore = ["conftest.py"]


@pytest.fixture(scope="session")
def fake_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole study folder; read it, do not change it."""
    return write_fake_study(tmp_path_factory.mktemp("fake") / "study")


@pytest.fixture(scope="session")
def rich_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deeper study with two seeds, other selections and no titles; read it, do not change it."""
    shape = FakeShape(n_layers=13, n_users=60, seeds=(0, 1), selections=("last:2", "random:3"), has_titles=False)
    return write_fake_study(tmp_path_factory.mktemp("rich") / "study", shape)


@pytest.fixture
def own_study(fake_study: Path, tmp_path: Path) -> Path:
    """A copy of the whole study that a test may change."""
    return Path(shutil.copytree(fake_study, tmp_path / "study"))
