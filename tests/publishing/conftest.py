"""The finished tiny study, published; and copies of it that a forger may change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from layerprobe.publishing.publish import publish


@pytest.fixture(scope="session")
def published(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished tiny study, published. Read only."""
    return publish(finished, tmp_path_factory.mktemp("published") / "tiny").folder


@pytest.fixture
def moved(published: Path, tmp_path: Path) -> Path:
    """A copy of the published study, free to change."""
    shutil.copytree(published, tmp_path / "moved")
    return tmp_path / "moved"
