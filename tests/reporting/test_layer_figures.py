"""Figures of layers: each shows the numbers of its table, on the scale its caption and axes name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection, QuadMesh
from matplotlib.patches import Rectangle

from layerprobe.reporting.figures.importance import blocks_figure, importance_figure
from layerprobe.reporting.figures.predicted import predicted_figure
from layerprobe.reporting.figures.similarity import similarity_figure, student_figure
from layerprobe.reporting.figures.to_final import to_final_figure
from layerprobe.reporting.files.study_files import StudyFiles, read_study
from layerprobe.reporting.findings.predictiveness import ranked
from layerprobe.reporting.tables.layers import to_final
from layerprobe.reporting.words.score_names import MEASURES

SHARES = ("cka", "cka-biased", "cka-rbf", "angular", "procrustes", "svcca", "pwcca", "mutual-knn")
SIGNED = ("cosine", "cosine-centred", "cosine-standardised", "rsa", "cknna")


@pytest.fixture(scope="module")
def deep(deep_study: Path) -> StudyFiles:
    return read_study(deep_study)


@pytest.fixture(scope="module")
def mixed(mixed_study: Path) -> StudyFiles:
    return read_study(mixed_study)


def pairs(n_first: int, n_second: int, measure: str, value: float = 0.25) -> pd.DataFrame:
    first, second = np.indices((n_first, n_second)).reshape(2, -1)
    table = pd.DataFrame({"layer_a": first, "layer_b": second, "value": value})
    return table.assign(measure=measure, rows="all")


def cells_of(axes: Axes) -> QuadMesh:
    (cells,) = [drawn for drawn in axes.collections if isinstance(drawn, QuadMesh)]
    return cells


def titles(axes: list[Axes]) -> list[str]:
    return [one.get_title(loc="left") for one in axes]


def test_every_measure_has_a_scale() -> None:
    assert sorted(MEASURES) == sorted([*SHARES, *SIGNED])


@pytest.mark.parametrize("measure", [*SHARES, *SIGNED])
def test_heat_maps_have_a_fixed_scale_and_one_colour_for_alike(measure: str) -> None:
    cells = cells_of(similarity_figure(pairs(3, 3, measure), "caption").axes[0])
    assert cells.get_clim() == ((-1, 1) if measure in SIGNED else (0, 1))
    alike = 0.0 if measure == "angular" else 1.0
    shown = cells.cmap(cells.norm(alike))[:3]
    yellow, brown = (0.99, 0.91, 0.14), (0.50, 0.23, 0.03)
    assert shown == pytest.approx(brown if measure in SIGNED else yellow, abs=0.01)


@pytest.mark.parametrize(
    ("n_maps", "n_states", "n_numbers"), [(1, 3, 9), (4, 11, 121), (4, 12, 0), (5, 7, 49), (5, 8, 0)]
)
def test_small_heat_maps_carry_their_numbers(n_maps: int, n_states: int, n_numbers: int) -> None:
    table = pd.concat([pairs(n_states, n_states, name) for name in list(SHARES)[:n_maps]])
    figure = similarity_figure(table, "caption")
    assert len(figure.axes) == n_maps
    for axes in figure.axes:
        assert [text.get_text() for text in axes.texts] == [".25"] * n_numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.004, "0"), (-0.004, "0"), (0.5, ".50"), (-0.5, "-.50"), (0.996, ">.99"), (1.0, "1"), (-1.0, "-1")],
)
def test_cells_have_two_digits(value: float, text: str) -> None:
    axes = similarity_figure(pairs(2, 2, "cosine", value), "caption").axes[0]
    assert {one.get_text() for one in axes.texts} == {text}


def test_a_map_of_rows_of_their_own_says_which() -> None:
    table = pd.concat([pairs(2, 2, "cka"), pairs(2, 2, "cka").assign(rows="positions")])
    assert titles(similarity_figure(table, "").axes) == ["linear CKA, debiased, all", "linear CKA, debiased, positions"]


def test_teacher_goes_up_and_student_to_the_right() -> None:
    table = pairs(5, 3, "cka")
    table["value"] = 0.1 * table["layer_a"] + 0.01 * table["layer_b"]
    axes = student_figure(table, "caption").axes[0]
    matrix = np.asarray(cells_of(axes).get_array())
    np.testing.assert_allclose(matrix, 0.1 * np.arange(5)[:, None] + 0.01 * np.arange(3))
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 3), (0, 5))  # the first row at the bottom
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("student, after k layers", "teacher, after k layers")
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0", "1", "2", "3", "4"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1", "2"]


def test_each_measure_has_a_panel_with_line_interval_and_chance(mixed: StudyFiles) -> None:
    assert mixed.scores.similarity is not None
    table = to_final(mixed.scores.similarity, mixed.scores.null)
    figure = to_final_figure(table, "caption")
    assert titles(figure.axes) == ["linear CKA, debiased", "mean cosine", "1 - angular distance", "mutual kNN"]
    for axes, (_, rows) in zip(figure.axes, table.groupby("measure", sort=False), strict=True):
        np.testing.assert_allclose(axes.lines[0].get_xydata(), rows[["layer", "value"]])
        null, own = (one.get_datalim(axes.transData) for one in axes.collections if isinstance(one, PolyCollection))
        assert (null.y0, null.y1) == pytest.approx((rows["null_low"].min(), rows["null_high"].max()))
        assert (own.y0, own.y1) == pytest.approx((rows["ci_low"].min(), rows["ci_high"].max()))
        assert axes.get_ylim() == figure.axes[0].get_ylim()


def test_without_shuffled_rows_the_legend_does_not_speak_of_them(mixed: StudyFiles) -> None:
    assert mixed.scores.similarity is not None
    for null, n_entries in ((mixed.scores.null, 2), (None, 1)):
        figure = to_final_figure(to_final(mixed.scores.similarity, null), "caption")
        assert len(figure.legends[0].get_texts()) == n_entries


def bars(rows: list[tuple[str, int, float, float, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["measure", "layer", "value", "ci_low", "ci_high"])


def test_bars_show_losses_in_per_cent_and_influence_as_it_is_with_whiskers() -> None:
    nan = float("nan")
    influence = [("block-influence", 0, 0.4, 0.3, 0.6), ("block-influence", 1, 0.1, nan, nan)]
    table = bars([*influence, ("drop-one-ndcg", 0, 0.5, 0.4, 0.6), ("drop-one-ndcg", 1, -0.01, -0.02, 0.01)])
    figure = importance_figure(table, "caption")
    heights = [[bar.get_height() for bar in axes.patches] for axes in figure.axes]
    assert heights[0] == pytest.approx([0.4, 0.1])
    assert heights[1] == pytest.approx([50, -1])
    whiskers = [[line[:, 1] for line in axes.collections[0].get_segments() if len(line)] for axes in figure.axes]
    np.testing.assert_allclose(whiskers[0], [[0.3, 0.6]])
    np.testing.assert_allclose(whiskers[1], [[40, 60], [-2, 1]])


def test_the_triangle_frames_the_run_of_each_length_that_moves_least() -> None:
    rows = [(0, 1, 0.3), (1, 1, 0.1), (2, 1, 0.2), (0, 2, 0.25), (1, 2, 0.25), (0, 3, 0.4)]
    table = pd.DataFrame(rows, columns=["start", "length", "value"]).assign(measure="angular")
    table = table.assign(ci_low=table["value"] - 0.01, ci_high=table["value"] + 0.01, n_rows=9)
    triangle, least = blocks_figure(table, "caption").axes
    nan = np.nan
    shown = np.ma.filled(cells_of(triangle).get_array().astype(float), nan)
    np.testing.assert_allclose(shown, [[0.3, 0.1, 0.2], [0.25, 0.25, nan], [0.4, nan, nan]])
    assert cells_of(triangle).get_clim() == (0, 0.5)
    framed = [one.get_xy() for one in triangle.patches if isinstance(one, Rectangle)]
    assert framed == [(1, 0), (1, 1), (0, 2)]  # lower left corners, as (start, length - 1)
    assert {one.get_position(): one.get_text() for one in triangle.texts}[(1.5, 0.5)] == ".10"
    np.testing.assert_allclose(least.lines[0].get_xydata(), [(1, 0.1), (2, 0.25), (3, 0.4)])


def test_every_score_is_a_panel_of_points_the_best_first(deep: StudyFiles) -> None:
    predicted, worth = deep.scores.predicted, deep.scores.predictiveness
    assert predicted is not None
    assert worth is not None
    figure = predicted_figure(predicted, ranked(worth), "caption")
    *panels, bar = figure.axes
    assert len(panels) == 12
    assert bar.get_ylabel() == "depth (layers kept)"
    assert panels[0].get_title(loc="left").startswith("block influence\n1.00 [0.92, 1.00]")
    assert panels[-1].get_title(loc="left").startswith("depth\n")
    for axes, name in ((panels[0], "block-influence"), (panels[-1], "depth")):
        (points,) = [one for one in axes.collections if isinstance(one, PathCollection)]
        rows = predicted[predicted["score"] == name]
        np.testing.assert_allclose(points.get_offsets(), rows[["value", "measured"]])
        np.testing.assert_array_equal(points.get_array(), rows["depth"])
    shown = [float(axes.get_title(loc="left").split("\n")[1].split(" ")[0]) for axes in panels[:-1]]
    assert shown == sorted(shown, reverse=True)


def test_a_score_without_a_correlation_keeps_its_panel(deep: StudyFiles) -> None:
    predicted, worth = deep.scores.predicted, deep.scores.predictiveness
    assert predicted is not None
    assert worth is not None
    worth = worth[worth["score"] != "taylor"]
    worth = worth.assign(correlation=worth["correlation"].mask(worth["score"] == "cka-drop"))
    names = [text.split("\n") for text in titles(predicted_figure(predicted, ranked(worth), "").axes)]
    assert ["CKA drop", "not defined"] in names
    assert ["Taylor, first order", ""] in names
