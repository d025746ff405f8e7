"""Figures: what they show, and that all text is inside the picture and readable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from layerprobe import kinds
from layerprobe.reporting.figures.canvas import NamedFigure, legend_lines, new_figure, save_figure
from layerprobe.reporting.figures.series import places, variant_series
from layerprobe.reporting.figures.ticks import depth_ticks
from layerprobe.reporting.files.study_files import StudyFiles, read_study
from layerprobe.reporting.report import make_report
from layerprobe.reporting.sections.depth import draw_exits, draw_variants

NAMES = (
    "depth-variants",
    "depth-exits",
    "decision-margin",
    "proven-margin",
    "slices",
    "slice-differences",
    "similarity",
    "to-final",
    "similarity-student",
    "importance",
    "blocks",
    "predicted",
)


@pytest.fixture(scope="module", params=["fake_study", "rich_study", "mixed_study", "deep_study"])
def drawn(request: pytest.FixtureRequest) -> dict[str, Figure]:
    """All figures of a study's report."""
    report = make_report(read_study(request.getfixturevalue(request.param)))
    return {named.name: named.figure for named in report.figures}


@pytest.fixture(scope="module")
def study(fake_study: Path) -> StudyFiles:
    return read_study(fake_study)


def words(figure: Figure) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in figure.findobj(Text))


def texts(figure: Figure) -> list[tuple[Text, Bbox]]:
    """Every text that is drawn, with its box in pixels. Ticks beyond an axis' limits are objects but not drawn."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    hidden = {id(text) for axes in figure.findobj(Axes) for text in ticks_outside(axes)}
    drawn = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text() and id(text) not in hidden]
    return [(text, text.get_window_extent(canvas.get_renderer())) for text in drawn]


def ticks_outside(axes: Axes) -> list[Text]:
    outside = []
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        outside += [tick.label1 for tick in axis.get_major_ticks() if not low - 1e-9 <= tick.get_loc() <= high + 1e-9]
        outside += [tick.label2 for tick in axis.get_major_ticks() if not low - 1e-9 <= tick.get_loc() <= high + 1e-9]
    return outside


@pytest.mark.parametrize("name", NAMES)
def test_no_text_is_cut_and_no_two_texts_overlap(name: str, drawn: dict[str, Figure]) -> None:
    figure = drawn[name]
    width, height = figure.get_size_inches() * figure.dpi
    drawn_texts = texts(figure)
    assert len(drawn_texts) > 8
    for text, box in drawn_texts:
        assert min(box.x0, box.y0) >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text
    for (one, first), (other, second) in combinations(drawn_texts, 2):
        shared_x = min(first.x1, second.x1) - max(first.x0, second.x0)
        shared_y = min(first.y1, second.y1) - max(first.y0, second.y0)
        rotated = one.get_rotation() not in (0, 90) or other.get_rotation() not in (0, 90)
        assert rotated or min(shared_x, shared_y) <= 1, (one, other)


@pytest.mark.parametrize("name", NAMES)
def test_the_caption_names_study_and_commit(name: str, drawn: dict[str, Figure]) -> None:
    assert "Study fake, commit 0123456789." in words(drawn[name])


@pytest.mark.parametrize("draw", [draw_variants, draw_exits])
def test_depth_captions_name_the_users_the_band_and_the_ranking(
    draw: Callable[..., NamedFigure], study: StudyFiles
) -> None:
    text = words(draw(study).figure)
    assert "400 users" in text
    assert "95 % bootstrap interval over users" in text
    assert "among the whole catalogue" in text
    assert "999 uniform negatives" in words(draw(study, "sampled-999").figure)


def line_values(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(line.get_ydata(), dtype=float) for axes in figure.axes for line in axes.lines]


def is_drawn(values: pd.Series, figure: Figure) -> bool:
    wanted = values.to_numpy()
    return any(len(line) == len(wanted) and np.allclose(line, wanted) for line in line_values(figure))


def test_variants_and_exits_are_drawn_in_figures_of_their_own(study: StudyFiles) -> None:
    variants, exits = draw_variants(study), draw_exits(study)
    shown = {"variant": variants, "exit-norm": exits, "exit-raw": exits, "exit-probe": exits}
    for kind, named in shown.items():
        other = exits if named is variants else variants
        rows = named.table[(named.table["kind"] == kind) & (named.table["metric"] == "ndcg")]
        values = rows.sort_values("depth")["value"]
        assert len(values) == 5
        assert is_drawn(values, named.figure)
        assert not is_drawn(values, other.figure)


@pytest.mark.parametrize("draw", [draw_variants, draw_exits])
def test_every_floor_is_a_line_with_a_label_in_both_panels(draw: Callable[..., NamedFigure], study: StudyFiles) -> None:
    named = draw(study)
    assert [axes.get_ylabel() for axes in named.figure.axes] == ["NDCG@10", "HR@10"]
    for axes, metric in zip(named.figure.axes, ("ndcg", "hr"), strict=True):
        assert [text.get_text() for text in axes.texts] == ["SASRec", "TF-IDF", "Markov-1", "popularity"]
        for kind in ("sasrec", "tfidf", "markov-1", "popularity"):
            rows = named.table[(named.table["kind"] == kind) & (named.table["metric"] == metric)]
            heights = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 2]
            assert any(np.allclose(height, rows["value"].iloc[0]) for height in heights)


@pytest.mark.parametrize("draw", [draw_variants, draw_exits])
def test_a_new_floor_is_on_every_curve_with_a_look_and_a_label(
    draw: Callable[..., NamedFigure], study: StudyFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "KINDS", (*kinds.KINDS, kinds.Kind("item-knn", "item kNN", "floor")))
    popular = study.curve[study.curve["kind"] == "popularity"]
    new = popular.assign(kind="item-knn", value=1.5 * popular["value"])
    for axes, metric in zip(
        draw(replace(study, curve=pd.concat([study.curve, new]))).figure.axes, ("ndcg", "hr"), strict=True
    ):
        assert [text.get_text() for text in axes.texts][-1] == "item kNN"
        is_drawn = (new["metric"] == metric) & (new["k"] == 10) & (new["protocol"] == "full") & (new["split"] == "test")
        (value,) = new.loc[is_drawn, "value"]
        assert any(list(line.get_ydata()) == [value, value] for line in axes.lines)


@pytest.mark.parametrize(
    ("draw", "zero", "kind"), [(draw_variants, "0\ncontrol", "variant"), (draw_exits, "0\ninput", "exit-norm")]
)
def test_depth_zero_and_the_full_model_are_marked(
    draw: Callable[..., NamedFigure], zero: str, kind: str, study: StudyFiles
) -> None:
    named = draw(study)
    axes = named.figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == [zero, "1", "2", "3", "4\nfull"]
    (ring,) = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    rows = named.table.set_index(["kind", "depth", "metric"])
    assert ring.get_xydata() == pytest.approx(np.array([[4, rows.loc[(kind, 4, "ndcg"), "value"]]]))


def marked(figure: Figure, label: str) -> list[tuple[float, float]]:
    """Points of the first panel that are drawn like the legend entry `label`."""
    entries = [
        (text.get_text(), handle)
        for legend in figure.legends
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
    ]
    (look,) = [handle for text, handle in entries if text == label]
    alike = [
        line
        for line in figure.axes[0].lines
        if (line.get_color(), line.get_marker(), line.get_markerfacecolor())
        == (look.get_color(), look.get_marker(), look.get_markerfacecolor())
    ]
    return [(float(x), float(y)) for line in alike for x, y in line.get_xydata()]


def test_selections_of_one_depth_stand_side_by_side_with_looks_of_their_own(mixed_study: Path) -> None:
    named = draw_variants(read_study(mixed_study))
    value = named.table[named.table["metric"] == "ndcg"].set_index(["kind", "selection"])["value"]
    drawn_at = {text: marked(named.figure, text) for text in ("last:1", "every:2", "keep:0,3", "random:2@7", "drop:1")}
    # L = 4, so a step aside is 0.1; the first to the right of each depth is the student's.
    assert drawn_at == {
        "last:1": [(pytest.approx(0.9), pytest.approx(value["variant", "last:1"]))],
        "every:2": [(pytest.approx(1.9), pytest.approx(value["variant", "every:2"]))],
        "keep:0,3": [(pytest.approx(2.2), pytest.approx(value["variant", "keep:0,3"]))],
        "random:2@7": [(pytest.approx(1.8), pytest.approx(value["variant", "random:2@7"]))],
        "drop:1": [(pytest.approx(2.9), pytest.approx(value["variant", "drop:1"]))],
    }


def test_twins_are_hollow_and_stand_where_their_pretrained_twins_stand(mixed_study: Path) -> None:
    named = draw_variants(read_study(mixed_study))
    rows = named.table[(named.table["metric"] == "ndcg") & (named.table["kind"] == "random-init")]
    value = rows.set_index("selection")["value"]
    where = {"first:1": 1, "first:2": 2, "first:3": 3, "first:4": 4}
    where |= {"last:1": 0.9, "every:2": 1.9, "keep:0,3": 2.2, "random:2@7": 1.8, "drop:1": 2.9}
    drawn = sorted(marked(named.figure, "same layers, random initialisation"))
    expected = sorted((place, value[text]) for text, place in where.items())
    assert np.array(drawn) == pytest.approx(np.array(expected))
    # A ring marks the full model, not its twin.
    (ring,) = [line for line in named.figure.axes[0].lines if line.get_markersize() == 13]
    assert len(ring.get_xdata()) == 1


def test_no_two_families_look_alike() -> None:
    families = ["last:1", "uniform:1", "ends:1", "every:2", "random:1@1", "keep:1", "drop:1"]
    table = pd.DataFrame(
        {"kind": "variant", "selection": families, "family": [text.split(":")[0] for text in families]}
    )
    series = variant_series(table)
    assert len({one.look for one in series}) == len(families) + 1


def test_many_listed_selections_share_the_look_of_their_family() -> None:
    kept = [f"keep:{layer}" for layer in range(8)]
    table = pd.DataFrame({"kind": "variant", "selection": kept, "family": "keep"})
    assert [one.label for one in variant_series(table)] == ["first:k", "keep"]
    assert [one.label for one in variant_series(table.head(2))] == ["first:k", "keep:0", "keep:1"]


def test_selections_crowd_at_most_to_a_point_four_of_a_layer_from_their_depth() -> None:
    drawn = [f"random:8@{seed}" for seed in range(9)]
    table = pd.DataFrame({"kind": "variant", "selection": ["first:8", *drawn], "depth": 8})
    placed = places(table.assign(family=["first", *["random"] * 9]), 28)
    assert placed["first:8"] == 8
    assert len(set(placed.values())) == 10
    assert max(abs(place - 8) for place in placed.values()) == pytest.approx(0.4)
    alone = places(pd.DataFrame({"kind": "variant", "selection": ["keep:1"], "depth": 1, "family": "keep"}), 4)
    assert alone == {"keep:1": 1}


def test_a_legend_takes_as_many_lines_as_its_words_need() -> None:
    assert legend_lines(["first:k", "full model"]) == [2]
    assert legend_lines(["x" * 40] * 5) == [2, 2, 1]  # 0.58 + 40 * 0.078 = 3.7 of 9 inches each


def test_other_selections_are_named_beside_the_depths_of_the_margin_figure(mixed_study: Path) -> None:
    figure = {one.name: one.figure for one in make_report(read_study(mixed_study)).figures}["decision-margin"]
    axes = figure.axes[0]
    shown = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    names = [text.get_text() for _, text in sorted(shown, key=lambda tick: tick[0])]
    assert names[:5] == ["0", "1", "2", "3", "4"]
    assert set(names[5:10]) == {"last:1", "every:2", "keep:0,3", "random:2@7", "drop:1"}
    assert names[10:] == ["SASRec", "TF-IDF", "Markov-1", "popularity"]


def test_a_report_leaves_pyplot_and_the_settings_of_matplotlib_as_they_were(fake_study: Path) -> None:
    before, opened = dict(mpl.rcParams), plt.get_fignums()
    make_report(read_study(fake_study))
    assert plt.get_fignums() == opened
    assert dict(mpl.rcParams) == before


def test_ticks_hold_both_ends_and_do_not_crowd() -> None:
    assert depth_ticks(0) == [0]
    assert depth_ticks(4) == [0, 1, 2, 3, 4]
    for n_layers in range(1, 100):
        ticks = depth_ticks(n_layers)
        assert ticks[0] == 0
        assert ticks[-1] == n_layers
        assert len(ticks) <= 13


def test_a_saved_figure_has_no_date_and_brings_its_numbers(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [0.1 + 0.2]})
    save_figure(tmp_path, NamedFigure("one", new_figure(1.0), table))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.csv", "one.png", "one.svg"]
    assert "<dc:date>" not in (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert pd.read_csv(tmp_path / "one.csv")["a"].iloc[0] == 0.1 + 0.2
