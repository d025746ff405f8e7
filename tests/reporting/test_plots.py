"""Plots for notebooks: they draw the values of the table they get, into the axes they get, and refuse bad input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from fake_decision import decision_of, floor_row, selection_row
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.figure import Figure

from layerprobe.errors import InputError
from layerprobe.reporting.plots import plot_cost, plot_decision, plot_depth, plot_importance, plot_similarity
from layerprobe.store.decision import BudgetRow, DecisionRecord, read_decision


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    with mpl.rc_context({"backend": "agg"}):
        yield
    plt.close("all")


@pytest.fixture(scope="module")
def curve(mixed_study: Path) -> pd.DataFrame:
    """As a notebook reads it: floors have no depth and no selection."""
    return pd.read_csv(mixed_study / "curve.csv")


@pytest.fixture(scope="module")
def similarity(mixed_study: Path) -> pd.DataFrame:
    return pd.read_parquet(mixed_study / "similarity" / "similarity.parquet")


@pytest.fixture(scope="module")
def importance(mixed_study: Path) -> pd.DataFrame:
    return pd.read_csv(mixed_study / "similarity" / "importance.csv")


@pytest.fixture(scope="module")
def front(mixed_study: Path) -> pd.DataFrame:
    return pd.read_csv(mixed_study / "costs" / "front.csv")


@pytest.fixture(scope="module")
def decision(mixed_study: Path) -> DecisionRecord:
    return read_decision(mixed_study)


def values_of(curve: pd.DataFrame, kind: str, metric: str = "ndcg", k: int = 10) -> pd.DataFrame:
    is_point = (curve["kind"] == kind) & (curve["metric"] == metric) & (curve["k"] == k)
    return curve[is_point & (curve["split"] == "test") & (curve["protocol"] == "full")]


def lines(axes: Axes) -> list[list[list[float]]]:
    return [np.asarray(line.get_xydata(), dtype=float).tolist() for line in axes.lines]


def legend(axes: Axes) -> list[str]:
    drawn = axes.get_legend()
    return [] if drawn is None else [text.get_text() for text in drawn.get_texts()]


@pytest.mark.parametrize(("metric", "k", "label"), [("ndcg", 10, "NDCG@10"), ("hr", 5, "HR@5"), ("mrr", 0, "MRR")])
def test_depth_draws_the_variants_and_floors_of_the_metric(
    metric: str, k: int, label: str, curve: pd.DataFrame
) -> None:
    axes = plot_depth(curve, metric, k)
    assert axes.get_ylabel() == label
    variants = values_of(curve, "variant", metric, k)
    first = variants[variants["selection"].str.startswith("first:")].sort_values("depth")
    assert first[["depth", "value"]].to_numpy().tolist() in lines(axes)
    for kind in ("sasrec", "tfidf", "markov-1", "popularity"):
        (value,) = values_of(curve, kind, metric, k)["value"]
        assert any(np.asarray(line)[:, 1].tolist() == [value, value] for line in lines(axes))
    assert legend(axes)[:1] + legend(axes)[-5:] == [
        "first:k", "full model", "SASRec", "TF-IDF", "Markov-1", "popularity",
    ]  # fmt: skip


def test_depth_draws_exits_when_they_are_asked_for(curve: pd.DataFrame) -> None:
    axes = plot_depth(curve, exits=True)
    for kind in ("exit-probe", "exit-norm", "exit-raw"):
        rows = values_of(curve, kind).sort_values("depth")
        assert rows[["depth", "value"]].to_numpy().tolist() in lines(axes)
    assert legend(axes)[:2] == ["probed (own head per k)", "normed (final norm)"]


def test_similarity_draws_the_matrix_of_the_measure(similarity: pd.DataFrame) -> None:
    axes = plot_similarity(similarity, "cosine")
    rows = similarity[similarity["measure"] == "cosine"]
    (cells,) = [drawn for drawn in axes.collections if isinstance(drawn, QuadMesh)]
    expected = rows.pivot_table(index="layer_a", columns="layer_b", values="value").to_numpy()
    np.testing.assert_allclose(np.asarray(cells.get_array()), expected)
    assert axes.get_title(loc="left") == "mean cosine"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1", "2", "3", "4"]


def test_importance_draws_a_bar_per_layer(importance: pd.DataFrame) -> None:
    axes = plot_importance(importance, "taylor")
    rows = importance[importance["measure"] == "taylor"]
    assert [bar.get_height() for bar in axes.patches] == rows["value"].tolist()
    whiskers = [segment[:, 1].tolist() for segment in axes.collections[0].get_segments()]
    assert whiskers == rows[["ci_low", "ci_high"]].to_numpy().tolist()


def test_the_decision_is_drawn_with_its_bounds_and_its_margin() -> None:
    rows = [selection_row(1, value=0.1, relative=-0.5, verdict="worse"), selection_row(2, value=0.2)]
    decision = decision_of(rows, (floor_row("sasrec", relative=-0.25, verdict="worse"),), depth=1, margin=0.03)
    axes = plot_decision(decision)
    points = [
        point
        for drawn in axes.collections
        if isinstance(drawn, PathCollection)
        for point in np.asarray(drawn.get_offsets()).tolist()
    ]
    assert {round(y, 9) for _, y in points} == {-50.0, -25.0, 0.0}
    assert -3.0 in [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert legend(axes) == ["not worse", "worse", "lower bound", "margin", "chosen depth"]


def test_cost_draws_every_model_the_front_and_the_budget(front: pd.DataFrame, decision: DecisionRecord) -> None:
    pick = BudgetRow(
        latency_ms=7.0, parameters=None, selection="first:1", depth=1, layers=(0,), is_decided=False, costs={},
        sentence="made up",
    )  # fmt: skip
    axes = plot_cost(front, replace(decision, budget=pick))
    rows = front[front["cost"] == "latency_ms_p95_1"]
    drawn = {(x, y) for points in axes.collections for x, y in np.asarray(points.get_offsets()).tolist()}
    assert drawn == set(zip(rows["amount"], rows["value"], strict=True))
    assert [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"] == [7.0]
    assert {"Pareto front", "SASRec", "full model", "pick within the budget", "budget"} <= set(legend(axes))
    assert "budget" not in legend(plot_cost(front, decision, "parameters"))


@pytest.fixture
def calls(
    curve: pd.DataFrame,
    similarity: pd.DataFrame,
    importance: pd.DataFrame,
    front: pd.DataFrame,
    decision: DecisionRecord,
) -> list[Callable[..., Axes]]:
    return [
        lambda **given: plot_depth(curve, **given),
        lambda **given: plot_depth(curve, exits=True, **given),
        lambda **given: plot_similarity(similarity, **given),
        lambda **given: plot_importance(importance, **given),
        lambda **given: plot_decision(decision, **given),
        lambda **given: plot_cost(front, decision, **given),
    ]


def test_given_axes_are_used_and_returned(calls: list[Callable[..., Axes]]) -> None:
    for call in calls:
        for figure in (Figure(), plt.figure()):
            left, right = figure.subplots(1, 2)
            assert call(ax=right) is right
            assert not left.has_data()
            assert right.has_data()
            figure.canvas.draw()
            assert not right.spines["top"].get_visible()
            assert right.get_axisbelow()
            assert figure.axes == [left, right]


def test_new_axes_are_those_of_pyplot_and_the_settings_stay(calls: list[Callable[..., Axes]]) -> None:
    before = dict(mpl.rcParams)
    for call in calls:
        axes = call()
        assert axes is plt.gca()
        axes.figure.canvas.draw()
    assert dict(mpl.rcParams) == before
    assert len(plt.get_fignums()) == len(calls)


def test_new_axes_have_all_their_text_inside_the_picture(calls: list[Callable[..., Axes]]) -> None:
    for call in calls:
        figure = call().figure
        figure.canvas.draw()
        assert not any(text.get_window_extent().width > figure.bbox.width for text in figure.texts)
        box, inside = figure.get_tightbbox(), figure.get_size_inches()
        assert min(box.x0, box.y0) >= -0.01
        assert box.x1 <= inside[0] + 0.01
        assert box.y1 <= inside[1] + 0.01


def test_the_given_table_is_left_as_it_is(curve: pd.DataFrame, importance: pd.DataFrame) -> None:
    for table, call in ((curve, plot_depth), (importance, plot_importance)):
        copy = table.copy()
        call(table)
        pd.testing.assert_frame_equal(table, copy)


BAD: list[tuple[str, Callable[..., Any], str]] = [
    ("curve", lambda t: plot_depth(t["kind"]), "curve must be a pandas DataFrame; got Series"),
    ("curve", lambda t: plot_depth(t.iloc[:0]), "curve must have at least one row; it is empty"),
    ("curve", lambda t: plot_depth(t.drop(columns="ci_low")), "curve must have the columns .*; missing: ci_low"),
    ("curve", lambda t: plot_depth(t.assign(value="high")), "numbers in the column value; got 'high'"),
    ("curve", lambda t: plot_depth(t.assign(value=np.nan)), "a value in every row of the column value"),
    ("curve", lambda t: plot_depth(t.assign(depth=0.5)), "whole numbers from 0 on in the column depth; got 0.5"),
    ("curve", lambda t: plot_depth(t.assign(depth=np.nan)), "a value in every row of the column depth"),
    ("curve", lambda t: plot_depth(t, "recall"), "metric and k must be one of HR@1, .*, MRR; got recall@10"),
    ("curve", lambda t: plot_depth(t, k=7), "metric and k must be one of .*; got NDCG@7"),
    ("curve", lambda t: plot_depth(t, k=None), "k must be int; got None"),
    ("curve", lambda t: plot_depth(t[t["kind"] != "variant"]), "test points of the kind variant; it has none"),
    (
        "curve",
        lambda t: plot_depth(t[~t["kind"].str.startswith("exit")], exits=True),
        "points of the kind exit-probe or exit-norm or exit-raw; it has none",
    ),
    ("curve", lambda t: plot_depth(t, ax="left"), "ax must be matplotlib axes; got str"),
    ("similarity", lambda t: plot_similarity([t]), "table must be a pandas DataFrame; got list"),
    ("similarity", lambda t: plot_similarity(t.iloc[:0]), "table must have at least one row"),
    ("similarity", lambda t: plot_similarity(t.drop(columns="rows")), "missing: rows"),
    ("similarity", lambda t: plot_similarity(t, "rsa"), "measure must be one of cka, cosine, .*; got rsa"),
    ("similarity", lambda t: plot_similarity(t.assign(layer_a=-1)), "whole numbers from 0 on in the column layer_a"),
    ("similarity", lambda t: plot_similarity(t, ax=plt), "ax must be matplotlib axes; got module"),
    ("importance", lambda t: plot_importance(t["value"]), "table must be a pandas DataFrame; got Series"),
    ("importance", lambda t: plot_importance(t, "cka"), "measure must be one of block-influence, .*; got cka"),
    ("importance", lambda t: plot_importance(t.drop(columns=["layer", "value"])), "missing: layer, value"),
    ("importance", lambda t: plot_importance(t.assign(layer=np.nan)), "every row of the column layer"),
    ("decision", lambda t: plot_decision(t.depths), "or a study's .decision; got a tuple"),
    ("decision", lambda t: plot_decision(t, ax=1), "ax must be matplotlib axes; got int"),
    ("front", lambda t: plot_cost(t, {}), "or a study's .decision; got a dict"),
]
BAD_FRONTS: list[tuple[Callable[[pd.DataFrame], Any], str, str]] = [
    (lambda t: t.rename(columns={"amount": "price"}), "parameters", "front must have the columns .*; missing: amount"),
    (lambda t: t, "price", "cost must be one of latency_ms_p95_1, parameters; got price"),
    (lambda t: t.assign(amount=np.nan), "parameters", "every row of the column amount"),
    (lambda t: t.assign(on_front="yes"), "parameters", "True or False in the column on_front"),
    (lambda t: t.to_numpy(), "parameters", "front must be a pandas DataFrame; got ndarray"),
]


@pytest.mark.parametrize(("name", "call", "message"), BAD)
def test_bad_input_is_one_line(name: str, call: Callable[..., Any], message: str, request: Any) -> None:
    with pytest.raises(InputError, match=message) as caught:
        call(request.getfixturevalue(name))
    assert "\n" not in str(caught.value)
    assert not plt.get_fignums()


@pytest.mark.parametrize(("change", "cost", "message"), BAD_FRONTS)
def test_bad_fronts_are_one_line(
    change: Callable[[pd.DataFrame], Any], cost: str, message: str, front: pd.DataFrame, decision: DecisionRecord
) -> None:
    with pytest.raises(InputError, match=message):
        plot_cost(change(front), decision, cost)
    assert not plt.get_fignums()


def test_a_cost_that_only_sasrec_has_is_drawn(front: pd.DataFrame, decision: DecisionRecord) -> None:
    alone = front[front["kind"] == "sasrec"].assign(on_front=False)
    axes = plot_cost(alone, decision, "parameters")
    assert legend(axes) == ["Pareto front", "SASRec"]
