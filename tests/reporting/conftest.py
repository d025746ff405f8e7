"""Fixtures of reporting tests: made-up study folders, written once and copied for tests that change them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "builders"))
from fake_scores import RATES
from fake_study import FakeShape, write_fake_study

# Doctest collection imports files by name, and there may be one module named conftest only.
collect_ignore = ["conftest.py"]


ALL_MEASURES = ("cka", "cosine", "cosine-centred", "angular", *list(RATES)[1:])


@pytest.fixture(scope="session")
def fake_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole study folder; read it, do not change it."""
    return write_fake_study(tmp_path_factory.mktemp("fake") / "study")


@pytest.fixture(scope="session")
def rich_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deeper study with two seeds, other selections and no titles; read it, do not change it."""
    shape = FakeShape(
        n_layers=13,
        n_users=60,
        seeds=(0, 1),
        selections=("last:2", "random:3@7"),
        has_titles=False,
        measures=("cka", "cosine", "angular"),
    )
    return write_fake_study(tmp_path_factory.mktemp("rich") / "study", shape)


@pytest.fixture(scope="session")
def mixed_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of several selections per depth with a control arm; read it, do not change it."""
    selections = ("last:1", "every:2", "keep:0,3", "random:2@7", "drop:1")
    shape = FakeShape(
        selections=selections, has_controls=True, has_times=True, measures=("cka", "cosine", "angular", "mutual-knn")
    )
    return write_fake_study(tmp_path_factory.mktemp("mixed") / "study", shape)


@pytest.fixture(scope="session")
def seeded_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three seeds with a control arm; read it, do not change it."""
    shape = FakeShape(seeds=(0, 1, 2), selections=("last:1",), has_controls=True, has_times=True)
    return write_fake_study(tmp_path_factory.mktemp("seeded") / "study", shape)


@pytest.fixture(scope="session")
def deep_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deep study with more selections than a figure has looks for, some long; read it, do not change it."""
    kept = ("keep:0,1,2,3,4,5,6,7,8,24,25,26", "drop:9-20", "drop:3,5,7,9,11", "keep:0,27")
    counted = tuple(f"{form}:{k}" for form in ("last", "uniform", "ends") for k in (4, 8, 14))
    drawn = tuple(f"random:8@{seed}" for seed in range(5))
    shape = FakeShape(
        n_layers=28,
        n_users=60,
        selections=(*counted, "every:2", "every:4", *drawn, *kept),
        has_controls=True,
        measures=ALL_MEASURES,
    )
    return write_fake_study(tmp_path_factory.mktemp("deep") / "study", shape)


@pytest.fixture
def own_study(fake_study: Path, tmp_path: Path) -> Path:
    """A copy of the whole study that a test may change."""
    return Path(shutil.copytree(fake_study, tmp_path / "study"))
