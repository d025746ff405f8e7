"""The figure of a learning-rate test: what it shows, from made-up tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from layerprobe import columns
from layerprobe.reporting.figures.learning_rates import draw_rate_test, rate_figure
from layerprobe.store.atomic import write_csv, write_json

SUGGESTION = {"steepest": 0.02, "turn": 0.03, "largest_safe": 0.01, "suggested": 0.01, "from_edge": False}


def table(last: float = 9.0) -> pd.DataFrame:
    rates = np.geomspace(1e-5, 1.0, 11)
    loss = [5.0, 5.0, 5.0, 4.9, 4.5, 3.5, 3.0, 2.9, 3.5, 6.0, last]
    return pd.DataFrame(zip(range(11), rates, loss, loss, [1.0] * 11, strict=True), columns=list(columns.RATE_RANGE))


def facts(**changes: Any) -> dict[str, Any]:
    return {
        "model": "teacher",
        "seed": 0,
        "tried": {"low": 1e-5, "high": 1.0, "steps": 11},
        "training": {"batch_size": 32},
        "steps_done": 11,
        "ending": "rose",
        "diverged_at": 1.0,
        "suggestion": SUGGESTION,
        "own": {"key": "training.learning_rate", "rate": 0.003, "verdict": "safe"},
        "git": {"commit": "0123456789abcdef", "dirty": False},
        **changes,
    }


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for one in figure.legends for text in one.get_texts()]


def lines_at(figure: Figure) -> list[float]:
    """Where the vertical lines stand."""
    return [float(line.get_xdata()[0]) for line in figure.axes[0].lines if len(line.get_xdata()) == 2]


def test_it_marks_suggestion_own_rate_and_divergence() -> None:
    figure = rate_figure(table(), facts())
    assert legend(figure) == ["loss", "smoothed", "suggested 0.01", "study's own 0.003", "diverged 1", "safe"]
    assert lines_at(figure) == [0.01, 0.003, 1.0]
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    (safe,) = axes.patches
    assert safe.get_extents().x1 == pytest.approx(axes.transData.transform((0.01, 1.0))[0])
    low, high = axes.get_ylim()
    assert low < 2.9
    assert 5.0 < high < 9.0  # the explosion does not squeeze the rest
    assert "0123456789" in figure.texts[-1].get_text()


@pytest.mark.parametrize(
    ("changes", "last", "marks"),
    [
        ({"suggestion": None}, 9.0, ["study's own 0.003", "diverged 1"]),
        ({"ending": "not finite"}, np.nan, ["suggested 0.01", "study's own 0.003", "not finite 1", "safe"]),
        ({"ending": "end", "diverged_at": None}, 4.0, ["suggested 0.01", "study's own 0.003", "safe"]),
    ],
)
def test_it_marks_nothing_that_was_not_found(changes: dict[str, Any], last: float, marks: list[str]) -> None:
    assert legend(rate_figure(table(last), facts(**changes))) == ["loss", "smoothed", *marks]


def test_a_test_that_ended_at_once_still_has_a_figure() -> None:
    first = table()[:1].assign(**{columns.LOSS: np.nan, columns.SMOOTHED: np.nan})
    figure = rate_figure(first, facts(ending="not finite", diverged_at=1e-5, suggestion=None, steps_done=1))
    assert "not finite 1e-05" in legend(figure)


def test_all_text_lies_inside_the_picture() -> None:
    figure = rate_figure(table(), facts(model="keep-0_1_2_3_4_5_6_7_8_9", own={"key": "x", "rate": 0.00123}))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    boxes = [
        text.get_window_extent() for text in [*figure.texts, *(t for one in figure.legends for t in one.get_texts())]
    ]
    assert len(boxes) == 8
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)
    labels = figure.axes[0].xaxis.label, figure.axes[0].yaxis.label
    assert all(isinstance(one, Text) and one.get_window_extent().x0 >= 0 for one in labels)


def test_it_is_drawn_from_files_alone_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    write_csv(tmp_path / "range.csv", table(np.nan))
    write_json(tmp_path / "range.json", facts())
    draw_rate_test(tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == {"range.csv", "range.json", "range.svg", "range.png"}
    draw_rate_test(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
