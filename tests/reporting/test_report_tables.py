"""Tables behind the figures, and the check that HR and NDCG fit each other."""

from __future__ import annotations

from dataclasses import replace
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_decision import decision_of, floor_row, selection_row

from layerprobe import columns
from layerprobe.errors import InputError, StudyError
from layerprobe.reporting.files.study_files import read_study
from layerprobe.reporting.tables.curve import check_consistency, exits_table, full_depth, margin_table, variants_table
from layerprobe.reporting.tables.layers import similarity_matrix


def curve(rows: list[dict[str, Any]]) -> pd.DataFrame:
    base = {"kind": "variant", "selection": "first:2", "depth": 2, "seed": 0, "protocol": "full", "split": "test"}
    base |= {"metric": "ndcg", "k": 10, "value": 0.1, "ci_low": 0.0, "ci_high": 0.2, "n_users": 7}
    base |= {"parameters": 1, "train_seconds": 1.0, "users_per_second": 1.0}
    table = pd.DataFrame([base | row for row in rows])[list(columns.CURVE)]
    return table.assign(depth=table["depth"].astype("Int64"))


def point(hits: dict[int, float], gains: dict[int, float], **more: Any) -> list[dict[str, Any]]:
    rows = [{"metric": "hr", "k": k, "value": value} for k, value in hits.items()]
    rows += [{"metric": "ndcg", "k": k, "value": value} for k, value in gains.items()]
    return [row | more for row in rows]


def test_full_depth_is_the_largest_of_variants_and_exits() -> None:
    rows = [{"depth": 2}, {"depth": 5, "kind": "exit-raw"}, {"depth": 9, "kind": "distilled"}]
    assert full_depth(curve(rows)) == 5


def test_full_depth_needs_a_variant_or_an_exit() -> None:
    with pytest.raises(InputError, match="a variant or an exit; it has neither"):
        full_depth(curve([{"kind": "sasrec", "depth": None}]))


def test_seeds_become_one_point_with_mean_and_outermost_bounds() -> None:
    seeds = [{"seed": 0, "value": 0.1, "ci_low": 0.05, "ci_high": 0.12}]
    seeds.append({"seed": 1, "value": 0.3, "ci_low": 0.2, "ci_high": 0.4})
    table = variants_table(curve(seeds))
    assert len(table) == 1
    row = table.iloc[0]
    assert row["value"] == pytest.approx((0.1 + 0.3) / 2)
    assert (row["ci_low"], row["ci_high"], row["n_seeds"]) == (0.05, 0.4, 2)


def test_selections_of_one_depth_stay_apart() -> None:
    table = variants_table(curve([{"selection": "first:2"}, {"selection": "random:2@1"}, {"selection": "random:2@2"}]))
    assert table["family"].tolist() == ["first", "random", "random"]


def test_twins_are_points_of_the_variants_table_beside_their_variants() -> None:
    table = variants_table(curve([{"value": 0.3}, {"kind": "random-init", "value": 0.1}]))
    assert list(zip(table["kind"], table["value"], strict=True)) == [("variant", 0.3), ("random-init", 0.1)]


def test_variants_and_exits_are_never_in_one_table() -> None:
    rows = [{"kind": kind} for kind in ("variant", "exit-raw", "exit-norm", "exit-probe", "distilled")]
    table = curve([*rows, {"kind": "sasrec", "depth": None, "selection": ""}])
    assert variants_table(table)["kind"].tolist() == ["variant", "distilled", "sasrec"]
    assert exits_table(table)["kind"].tolist() == ["exit-raw", "exit-norm", "exit-probe", "sasrec"]


def test_rows_come_metric_by_metric_in_the_order_asked_for() -> None:
    rows = [{"metric": "hr"}, {"metric": "ndcg"}, {"metric": "hr", "k": 5}]
    assert variants_table(curve(rows))["metric"].tolist() == ["ndcg", "hr"]
    assert variants_table(curve(rows), metrics=[("hr", 5), ("hr", 10)])["k"].tolist() == [5, 10]


def test_only_the_part_and_protocol_asked_for_are_picked() -> None:
    table = curve([{"value": 0.1}, {"value": 0.2, "split": "valid"}, {"value": 0.3, "protocol": "sampled-9"}])
    assert variants_table(table)["value"].tolist() == [0.1]
    assert variants_table(table, protocol="sampled-9")["value"].tolist() == [0.3]
    with pytest.raises(InputError, match="ndcg@10, hr@10, protocol sampled-5, split test; it has no such row"):
        variants_table(table, protocol="sampled-5")


def test_margins_are_shares_of_the_full_model() -> None:
    bounds = {"ci_low": -0.02, "ci_high": 0.01, "lower_bound": -0.018, "verdict": "undecided", "relative": -0.05}
    rows = [selection_row(1, value=0.19, **bounds), selection_row(2, value=0.2)]
    decision = decision_of(rows, (floor_row("sasrec", **bounds),), depth=1)
    table = margin_table(decision)
    assert table["relative_ci_low"].tolist() == pytest.approx([-0.02 / 0.2, 0, -0.02 / 0.2])
    assert table["relative_lower_bound"].tolist() == pytest.approx([-0.018 / 0.2, 0, -0.018 / 0.2])
    assert table["depth"].isna().tolist() == [False, False, True]
    assert table["chosen"].tolist() == [True, False, False]
    assert not margin_table(replace(decision, depth=None))["chosen"].any()


def test_a_selection_is_chosen_by_its_layers_not_by_its_depth() -> None:
    rows = [selection_row(1, "first:1"), selection_row(1, "keep:1"), selection_row(2, "first:2")]
    table = margin_table(decision_of(rows, depth=1, selection="keep:1"))
    assert table["chosen"].tolist() == [False, True, False]
    assert table["name"].tolist() == ["", "keep:1", ""]


def test_a_similarity_table_with_one_triangle_gives_a_symmetric_matrix() -> None:
    pairs = pd.DataFrame([(0, 0, 1.0), (0, 1, 0.5), (1, 1, 1.0)], columns=["layer_a", "layer_b", "value"])
    table = pairs.assign(measure="cka", rows="all")
    table = pd.concat([table, table.assign(measure="cosine", value=0.0), table.assign(rows="few", value=0.0)])
    assert similarity_matrix(table, "cka", "all").tolist() == [[1.0, 0.5], [0.5, 1.0]]


def test_a_real_curve_is_consistent(fake_study: Path) -> None:
    check_consistency(read_study(fake_study).curve)


# One hit of ten beyond rank 1, at rank 10 (lowest gain) or rank 2 (highest).
LOW, HIGH = 0.2 + 0.1 / log2(11), 0.2 + 0.1 / log2(3)


@pytest.mark.parametrize("gain", [LOW, HIGH, (LOW + HIGH) / 2])
def test_gains_that_some_list_of_ranks_has_pass(gain: float) -> None:
    check_consistency(curve(point({1: 0.2, 10: 0.3}, {10: gain})))


@pytest.mark.parametrize(
    ("hits", "gain"),
    [
        ({1: 0.2, 10: 0.3}, LOW - 1e-4),
        ({1: 0.2, 10: 0.3}, HIGH + 1e-4),
        ({10: 0.3}, 0.3 + 1e-4),
        ({10: 0.3}, 0.3 / log2(11) - 1e-4),
    ],
)
def test_gains_that_no_list_of_ranks_has_are_refused(hits: dict[int, float], gain: float) -> None:
    rows = point({1: 0.2, 10: 0.3}, {10: LOW}, kind="sasrec", depth=None, selection="")
    with pytest.raises(StudyError, match=r"variant first:2 2 0 full test: NDCG@10 must lie in .* got"):
        check_consistency(curve(rows + point(hits, {10: gain})))


def test_first_place_hits_and_gains_are_the_same_number() -> None:
    check_consistency(curve(point({1: 0.2}, {1: 0.2})))
    with pytest.raises(StudyError, match="NDCG@1 must lie in"):
        check_consistency(curve(point({1: 0.2}, {1: 0.21})))


def test_the_published_impossible_cell_is_found() -> None:
    """DuoRec on Movie, SLMRec table 2: HR@1 .1007, HR@5 .2037, NDCG@5 .1796 of at most .1657."""
    with pytest.raises(StudyError, match=r"0\.1657"):
        check_consistency(curve(point({1: 0.1007, 5: 0.2037}, {5: 0.1796})))
    assert 0.1007 + (0.2037 - 0.1007) / np.log2(3) == pytest.approx(0.1657, abs=5e-5)
