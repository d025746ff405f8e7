"""Labels at the edge: nothing overlaps, nothing moves without need."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy.optimize import isotonic_regression

from layerprobe.reporting.figures.canvas import new_figure, panel
from layerprobe.reporting.figures.direct_labels import GAP_POINTS, EdgeLabel, label_right_edge, spread


def test_labels_far_apart_stay_where_they_are() -> None:
    assert spread(np.array([0.9, 0.1, 0.5]), 0.2, 0.0, 1.0).tolist() == pytest.approx([0.9, 0.1, 0.5])


def test_two_labels_at_one_height_move_apart_by_half_a_gap_each() -> None:
    assert spread(np.array([0.5, 0.5]), 0.2, 0.0, 1.0).tolist() == pytest.approx([0.5 - 0.2 / 2, 0.5 + 0.2 / 2])


def test_labels_are_kept_inside_the_range() -> None:
    assert spread(np.array([0.0, 0.0, 0.05]), 0.1, 0.0, 1.0).tolist() == pytest.approx([0.0, 0.1, 0.2])
    assert spread(np.array([1.0, 1.0]), 0.1, 0.0, 1.0).tolist() == pytest.approx([0.9, 1.0])


def test_labels_that_do_not_fit_stay_a_gap_apart() -> None:
    assert spread(np.zeros(3), 0.6, 0.0, 1.0).tolist() == pytest.approx([0.0, 0.6, 1.2])


def test_no_label_is_no_work() -> None:
    assert spread(np.empty(0), 0.1, 0.0, 1.0).shape == (0,)


@pytest.mark.parametrize("seed", range(20))
def test_positions_are_the_closest_ones_that_keep_order_and_gap(seed: int) -> None:
    positions = np.random.default_rng(seed).uniform(size=6)
    moved = spread(positions, 0.12, -10.0, 10.0)
    steps = 0.12 * np.arange(6)
    expected = isotonic_regression(np.sort(positions) - steps).x + steps
    assert np.sort(moved) == pytest.approx(expected)
    assert np.array_equal(np.argsort(moved), np.argsort(positions))


def test_texts_of_close_lines_do_not_overlap_when_drawn() -> None:
    figure = new_figure(3.0)
    axes = panel(figure, 0.5, 0.5, 5.0, 2.0)
    axes.set_ylim(0, 1)
    label_right_edge(axes, [EdgeLabel(value, "popularity") for value in (0.3, 0.31, 0.3, 0.32)])
    boxes = [text.get_window_extent(FigureCanvasAgg(figure).get_renderer()) for text in axes.texts]
    middles = sorted((box.y0 + box.y1) / 2 for box in boxes)
    assert np.diff(middles).min() >= 0.99 * GAP_POINTS * figure.dpi / 72
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[place + 1 :])
