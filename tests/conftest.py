"""Shared fixtures: where real data lies, if it is there at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the public data sets; tests that need them are skipped where it is absent."""
    folder = Path(os.environ.get("LAYERPROBE_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.exists():
        pytest.skip(f"the public data sets are not at {folder}; set LAYERPROBE_DATA to run this test")
    return folder
