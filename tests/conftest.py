"""Shared fixtures: small data and models, and where real data lies, if it is there at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_study import write_study

from layerprobe.backbone.load import BackboneOptions
from layerprobe.backbone.prompt import PromptOptions
from layerprobe.cli.main import main
from layerprobe.data.sequences import Sequences
from layerprobe.data.splits import Split
from layerprobe.probing.variant import RecipeOptions
from layerprobe.recommender.model import RecommenderOptions
from layerprobe.reporting import report
from layerprobe.reporting.figures.canvas import FIGURE_SUFFIXES, NamedFigure
from layerprobe.stages import cost
from layerprobe.store.atomic import write_text
from layerprobe.training.adapters import TuningOptions
from layerprobe.training.model_costs import Served

REPOSITORY = Path(__file__).resolve().parents[1]
PATCHED = ((cost, "serve"), (cost, "trained_bytes"), (report, "save_figure"))
REAL = {(module, name): getattr(module, name) for module, name in PATCHED}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the public data sets; tests that need them are skipped where it is absent."""
    folder = Path(os.environ.get("LAYERPROBE_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.exists():
        pytest.skip(f"the public data sets are not at {folder}; set LAYERPROBE_DATA to run this test")
    return folder


@pytest.fixture(autouse=True)
def made_up_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the clock out of studies that a test runs itself; a file that is about costs takes this back.

    Studies shared by several tests, such as `finished`, are made before this and are measured.
    """
    served = Served({1: [1.0], 64: [1.0]}, 1, 1)
    monkeypatch.setattr(cost, "serve", lambda models, *_: [served for _ in models])
    monkeypatch.setattr(cost, "trained_bytes", lambda _job, _split: 1)


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves figures empty in studies that a test of the pipeline runs: drawing takes most of a tiny study's time.

    Studies shared by several tests, such as `finished`, are made before this and are drawn; so are those elsewhere.
    """

    def touch(folder: Path, named: NamedFigure) -> None:
        for suffix in FIGURE_SUFFIXES:
            write_text(folder / f"{named.name}{suffix}", "")

    if request.path.parent.name in ("pipeline", "stages", "study", "sweep"):
        monkeypatch.setattr(report, "save_figure", touch)


@pytest.fixture
def split() -> Split:
    """Forty users over twelve items, lengths 2 to 9, seeded."""
    generator = np.random.default_rng(7)
    lengths = generator.integers(2, 10, size=40)
    items = generator.integers(1, 13, size=int(lengths.sum()))
    return Split(Sequences(items.astype(np.int64), np.concatenate([[0], np.cumsum(lengths)]), 12))


@pytest.fixture
def item_table() -> torch.Tensor:
    """Vectors of twelve items, width 6; row 0 is zero."""
    table = torch.randn(13, 6, generator=torch.Generator().manual_seed(3))
    table[0] = 0
    return table


@pytest.fixture
def recipe() -> RecipeOptions:
    """A four-layer Llama-shaped backbone of width 16 with everything around it."""
    backbone = BackboneOptions(layers=4, hidden_size=16, intermediate_size=24, heads=2, max_positions=64)
    return RecipeOptions(backbone, TuningOptions(), PromptOptions(), RecommenderOptions(max_len=8))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the finished tiny study. Read only."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:  # a test may ask for it when its own patches are in place
        for (module, name), real in REAL.items():
            patch.setattr(module, name, real)
        assert main(["run", str(write_study(folder)), "--out", str(folder / "study")]) == 0
    return folder / "study"


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished study, free to change."""
    shutil.copytree(finished, tmp_path / "study")
    return tmp_path / "study"
