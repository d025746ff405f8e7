"""What all tests of the pipeline share."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerprobe.reporting import report
from layerprobe.reporting.figures import FIGURE_SUFFIXES, NamedFigure
from layerprobe.store.atomic import write_text


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves figures empty in studies that a test runs itself: drawing them takes most of a tiny study's time.

    Studies shared by several tests, such as `finished`, are made before this and are drawn; so are all in `reporting/`.
    """

    def touch(folder: Path, named: NamedFigure) -> None:
        for suffix in FIGURE_SUFFIXES:
            write_text(folder / f"{named.name}{suffix}", "")

    monkeypatch.setattr(report, "save_figure", touch)
