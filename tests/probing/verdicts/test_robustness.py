"""The verdict under every metric: each row is what `decide` says by that metric."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_ranks import hits, ranks_table

from layerprobe import columns
from layerprobe.probing.decide import decide
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.verdicts.robustness import LOOK_BOOT, robustness

OPTIONS = DecisionOptions(metric="ndcg", k=10, n_boot=300)
ALL = [("hr", 1), ("hr", 10), ("ndcg", 1), ("ndcg", 10), ("mrr", 0)]


def study(n_users: int = 400) -> tuple[dict, dict]:
    """Three depths of two seeds and a floor; depth 1 differs in its first places only."""
    generator = np.random.default_rng(2)
    base = generator.integers(0, 15, n_users)
    shifts = {4: 0, 2: generator.integers(0, 2, n_users), 1: np.where(base < 3, 3, 0)}
    tables = {
        k: [ranks_table(base + shift + (generator.random(n_users) < 0.1)) for _ in range(2)]
        for k, shift in shifts.items()
    }
    return tables, {"popularity": ranks_table(generator.integers(0, 60, n_users))}


def of(frame: pd.DataFrame, metric: str, k: int) -> pd.DataFrame:
    return frame[(frame[columns.METRIC] == metric) & (frame[columns.K] == k)]


@pytest.mark.parametrize("rule", ["sequence", "simultaneous"])
@pytest.mark.parametrize(("metric", "k"), ALL)
def test_each_row_is_what_the_decision_by_that_metric_says(rule: str, metric: str, k: int) -> None:
    tables, floors = study()
    options = replace(OPTIONS, rule=rule)
    frame = robustness(tables, floors, options, [1, 10])
    assert tuple(frame.columns) == columns.ROBUSTNESS
    decision = decide(tables, floors, replace(options, metric=metric, k=k))
    rows = of(frame, metric, k)
    assert list(rows[columns.SELECTION]) == ["first:1", "first:2", "first:4"]
    assert set(rows[columns.VERDICT]) == {decision.verdict}
    assert set(rows[columns.KEPT]) == {"" if decision.selection is None else decision.selection.text}
    assert set(rows[columns.IS_OWN]) == {(metric, k) == ("ndcg", 10)}
    full = decision.depths[4].value
    for row in rows.to_dict("records"):
        found = decision.depths[row[columns.DEPTH]]
        assert row[columns.VALUE] == pytest.approx(found.value)
        assert row[columns.RELATIVE] == pytest.approx(found.relative)
        assert (row[columns.CI_LOW], row[columns.CI_HIGH]) == (
            pytest.approx(found.ci_low / full), pytest.approx(found.ci_high / full),
        )  # fmt: skip
        assert row[columns.OWN_VERDICT] == found.verdict


def test_metrics_disagree_where_a_depth_loses_the_first_place_alone() -> None:
    tables, floors = study()
    frame = robustness(tables, floors, replace(OPTIONS, margin=0.1), [1, 10])
    first = frame[frame[columns.DEPTH] == 1].set_index([columns.METRIC, columns.K])[columns.RELATIVE]
    assert first["hr", 1] < -0.5 < -0.05 < first["hr", 10]


def test_a_metric_of_which_the_full_model_has_nothing_is_left_out() -> None:
    tables = {4: [ranks_table(np.full(50, 5))] * 2, 2: [ranks_table(np.full(50, 4))] * 2}
    frame = robustness(tables, {}, OPTIONS, [1, 10])
    assert set(zip(frame[columns.METRIC], frame[columns.K], strict=True)) == {("hr", 10), ("ndcg", 10), ("mrr", 0)}


def test_a_metric_that_a_later_seed_alone_has_is_told() -> None:
    none, some = hits(0.0, 200), hits(0.5, 200)
    frame = robustness({4: [none, some], 2: [some, none]}, {}, OPTIONS, [1])
    assert of(frame, "hr", 1)[columns.VALUE].tolist() == [0.25, 0.25]


def test_a_look_takes_fewer_resamples_and_the_level_it_is_given() -> None:
    tables, floors = study()
    many = robustness(tables, floors, replace(OPTIONS, n_boot=5000), [10])
    few = robustness(tables, floors, replace(OPTIONS, n_boot=LOOK_BOOT), [10])
    own = many[columns.IS_OWN]
    pd.testing.assert_frame_equal(many[~own], few[~own])
    decided = decide(tables, floors, replace(OPTIONS, n_boot=5000)).record()
    shares = [row.ci_low / decided.full.value for row in decided.depths]
    assert many.loc[own, columns.CI_LOW].to_list() == pytest.approx(shares)
    strict = robustness(tables, floors, OPTIONS, [10], level=0.01)
    # A fifth of alpha takes five times the resamples, so that as many of them lie in the tail.
    same = robustness(tables, floors, replace(OPTIONS, alpha=0.01, n_boot=5 * OPTIONS.n_boot), [10])
    pd.testing.assert_frame_equal(strict[own], same[own])
    assert (strict[columns.CI_LOW] <= robustness(tables, floors, OPTIONS, [10])[columns.CI_LOW]).all()
