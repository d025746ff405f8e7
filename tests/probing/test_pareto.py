"""The Pareto front against its definition, tried on every pair."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made_decisions import made_decision, made_floor, made_row

from layerprobe import columns
from layerprobe.probing.pareto import front_rows, pareto_front


def is_dominated(place: int, quality: np.ndarray, cost: np.ndarray) -> bool:
    return any(
        quality[other] >= quality[place]
        and cost[other] <= cost[place]
        and (quality[other] > quality[place] or cost[other] < cost[place])
        for other in range(len(quality))
    )


@pytest.mark.parametrize("seed", range(30))
def test_the_front_is_what_no_pair_rules_out(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n = int(generator.integers(1, 40))
    values = generator.integers(0, 1 + seed % 9, size=(2, n)).astype(float)  # small ranges: ties of every kind
    found = pareto_front(values[0], values[1])
    assert found.tolist() == [not is_dominated(place, values[0], values[1]) for place in range(n)]
    assert found.any()


def test_models_equal_in_both_stay_together() -> None:
    assert pareto_front(np.array([0.2, 0.2, 0.1]), np.array([3.0, 3.0, 1.0])).tolist() == [True, True, True]
    assert pareto_front(np.array([0.2, 0.2, 0.3]), np.array([3.0, 3.0, 3.0])).tolist() == [False, False, True]


def test_no_model_has_no_front() -> None:
    assert pareto_front(np.array([]), np.array([])).tolist() == []


def test_rows_put_the_decisions_metric_beside_each_cost() -> None:
    blank = dict.fromkeys(columns.COSTS, 0.0)
    rows = [
        {"kind": "variant", "selection": "first:0", "depth": 0, "parameters": 10, "latency_ms_p95_1": 2.0},
        {"kind": "variant", "selection": "first:1", "depth": 1, "parameters": 20, "latency_ms_p95_1": 1.0},
        {"kind": "sasrec", "selection": "", "depth": None, "parameters": 30, "latency_ms_p95_1": 0.5},
        {"kind": "variant", "selection": "keep:1", "depth": 1, "parameters": 1, "latency_ms_p95_1": 0.1},
    ]
    costs = pd.DataFrame([{**blank, **row} for row in rows])
    decision = made_decision(
        depths=(made_row("first:0", 0, value=0.3), made_row("first:1", 1, value=0.2)),
        baselines=(made_floor("sasrec", value=0.1), made_floor("popularity", value=0.9)),
    )
    found = front_rows(costs, decision)
    assert list(found.columns) == list(columns.FRONT)
    latency, parameters = (found[found["cost"] == cost] for cost in ("latency_ms_p95_1", "parameters"))
    assert latency["amount"].tolist() == [2.0, 1.0, 0.5]  # keep:1 has no decision and is left out
    assert parameters["amount"].tolist() == [10, 20, 30]
    assert latency["value"].tolist() == parameters["value"].tolist() == [0.3, 0.2, 0.1]
    assert latency["on_front"].tolist() == [True, True, True]
    assert parameters["on_front"].tolist() == [True, False, False]
