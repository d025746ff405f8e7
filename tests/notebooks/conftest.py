"""Fixture of notebook tests: a made-up study folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "reporting" / "builders"))
from fake_study import write_fake_study

# Doctest collection imports files by name, and there may be one module named conftest only.
collect_ignore = ["conftest.py"]


@pytest.fixture(scope="session")
def notebook_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole study folder; read it, do not change it."""
    return write_fake_study(tmp_path_factory.mktemp("notebook") / "study")
