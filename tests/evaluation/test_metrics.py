from __future__ import annotations

from itertools import permutations
from math import log2

import ir_measures
import numpy as np
import pandas as pd
import pytest
from ir_measures import RR, Success, nDCG

from layerprobe import columns
from layerprobe.errors import InputError
from layerprobe.evaluation.metrics import hit_rate, metric_columns, metric_table, metric_values, mrr, ndcg


def ranks_table(n_higher: list[int], n_ties: list[int], protocol: str = "full", split: str = "test") -> pd.DataFrame:
    return pd.DataFrame(
        {
            columns.USER: np.arange(len(n_higher)),
            columns.PROTOCOL: protocol,
            columns.SPLIT: split,
            columns.N_HIGHER: np.array(n_higher, dtype=np.int32),
            columns.N_TIES: np.array(n_ties, dtype=np.int32),
        }
    )


def test_values_without_ties_are_the_textbook_ones() -> None:
    n_higher, n_ties = np.array([0, 1, 9, 10]), np.zeros(4, dtype=np.int32)
    assert hit_rate(n_higher, n_ties, 10).tolist() == [1, 1, 1, 0]
    np.testing.assert_allclose(ndcg(n_higher, n_ties, 10), [1, 1 / log2(3), 1 / log2(11), 0], rtol=1e-14)
    np.testing.assert_allclose(mrr(n_higher, n_ties), [1, 1 / 2, 1 / 10, 1 / 11], rtol=1e-12)


@pytest.mark.parametrize("n_higher", [0, 1, 3, 7])
@pytest.mark.parametrize("n_ties", [0, 1, 2, 4])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_ties_give_the_mean_over_all_orders_of_the_tied_items(n_higher: int, n_ties: int, k: int) -> None:
    places = [n_higher + 1 + order.index("target") for order in permutations(["target", *range(n_ties)])]
    higher, ties = np.array([n_higher]), np.array([n_ties])
    assert hit_rate(higher, ties, k)[0] == pytest.approx(np.mean([place <= k for place in places]), abs=1e-14)
    gains = [1 / log2(1 + place) if place <= k else 0 for place in places]
    assert ndcg(higher, ties, k)[0] == pytest.approx(np.mean(gains), abs=1e-14)
    assert mrr(higher, ties)[0] == pytest.approx(np.mean([1 / place for place in places]), abs=1e-14)


@pytest.mark.parametrize("n_candidates", [10, 11, 1000])
def test_all_equal_scores_give_chance(n_candidates: int) -> None:
    n_higher, n_ties = np.array([0]), np.array([n_candidates - 1])
    assert hit_rate(n_higher, n_ties, 10)[0] == pytest.approx(10 / n_candidates, rel=1e-14)
    gains = sum(1 / log2(1 + place) for place in range(1, 11))
    assert ndcg(n_higher, n_ties, 10)[0] == pytest.approx(gains / n_candidates, rel=1e-14)


@pytest.mark.parametrize("levels", [None, 12, 3], ids=["no ties", "some ties", "many ties"])
def test_metrics_equal_ir_measures_averaged_over_every_place_a_tied_target_can_take(levels: int | None) -> None:
    generator = np.random.default_rng(0)
    n_users, n_items, ks = 60, 40, (1, 3, 5, 10, 20)
    if levels is None:
        scores = np.argsort(generator.random((n_users, n_items)), axis=1).astype(float)
    else:
        scores = generator.integers(0, levels, size=(n_users, n_items)).astype(float)
    targets = generator.integers(0, n_items, size=n_users)
    own = scores[np.arange(n_users), targets][:, None]
    ranks = ranks_table((scores > own).sum(axis=1).tolist(), ((scores == own).sum(axis=1) - 1).tolist())
    assert (ranks[columns.N_TIES].max() > 3) == (levels is not None)
    wanted = {Success @ k: ("hr", k) for k in ks} | {nDCG @ k: ("ndcg", k) for k in ks} | {RR: ("mrr", None)}
    found = oracle(list(wanted), scores, targets, ranks[columns.N_TIES].tolist())
    for measure, (metric, k) in wanted.items():
        np.testing.assert_allclose(metric_values(ranks, metric, k), found[measure], rtol=0, atol=1e-12, err_msg=metric)


def oracle(measures: list, scores: np.ndarray, targets: np.ndarray, n_ties: list[int]) -> dict[object, list[float]]:
    """Values per user; a user whose target ties is asked once per place, the tied items then being put in order."""
    run, qrels = {}, {}
    for user, target in enumerate(targets):
        tied = [item for item in np.flatnonzero(scores[user] == scores[user, target]) if item != target]
        for place in range(n_ties[user] + 1):
            ordered = [*tied[:place], target, *tied[place:]]
            broken = scores[user].copy()
            broken[ordered] -= np.arange(len(ordered)) / 100  # levels lie 1 apart
            run[f"{user}/{place}"] = {str(item): float(score) for item, score in enumerate(broken)}
            qrels[f"{user}/{place}"] = {str(target): 1}
    values = {measure: [[] for _ in targets] for measure in measures}
    for found in ir_measures.iter_calc(measures, qrels, run):
        values[found.measure][int(found.query_id.split("/")[0])].append(found.value)
    return {measure: [float(np.mean(each)) for each in of_users] for measure, of_users in values.items()}


def test_ndcg_lies_between_the_bounds_that_hit_rates_set() -> None:
    # All hits at 2..5 stand at worst at place 5 and at best at place 2.
    generator = np.random.default_rng(1)
    for _ in range(200):
        n_higher, n_ties = generator.integers(0, 9, size=30), generator.integers(0, 4, size=30)
        hr_1, hr_5 = hit_rate(n_higher, n_ties, 1).mean(), hit_rate(n_higher, n_ties, 5).mean()
        value = ndcg(n_higher, n_ties, 5).mean()
        assert hr_1 + (hr_5 - hr_1) / log2(6) - 1e-12 <= value <= hr_1 + (hr_5 - hr_1) / log2(3) + 1e-12


def test_the_table_averages_over_users_per_protocol_and_split() -> None:
    ranks = pd.concat(
        [
            ranks_table([0, 4], [0, 0]),
            ranks_table([1, 1], [0, 0], split="valid"),
            ranks_table([0, 2], [1, 0], "sampled-9"),
        ]
    )
    table = metric_table(ranks, ks=[1, 5])
    assert list(table.columns) == ["protocol", "split", "metric", "k", "value", "n_users"]
    found = {tuple(row[:4]): row[4] for row in table.to_numpy().tolist()}
    assert len(found) == 3 * 5
    assert found[("full", "test", "hr", 1)] == 1 / 2
    assert found[("full", "test", "hr", 5)] == 1
    assert found[("full", "test", "ndcg", 5)] == pytest.approx((1 + 1 / log2(6)) / 2)
    assert found[("full", "test", "mrr", 0)] == pytest.approx((1 + 1 / 5) / 2)
    assert found[("full", "valid", "hr", 1)] == 0
    assert found[("sampled-9", "test", "mrr", 0)] == pytest.approx(((1 + 1 / 2) / 2 + 1 / 3) / 2)
    assert table[columns.N_USERS].tolist() == [2] * 15
    assert table[columns.PROTOCOL].drop_duplicates().tolist() == ["full", "sampled-9"]


def test_every_metric_is_shown_at_every_cutoff_and_mrr_once() -> None:
    assert metric_columns([1, 10]) == [("hr", 1), ("hr", 10), ("ndcg", 1), ("ndcg", 10), ("mrr", 0)]


def test_mrr_may_be_asked_for_with_no_cutoff_in_either_spelling() -> None:
    ranks = ranks_table([3], [0])
    assert metric_values(ranks, "mrr", None) == metric_values(ranks, "mrr", 0) == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("metric", "k", "message"),
    [
        ("recall", 10, "metric must be one of hr, ndcg, mrr; got 'recall'"),
        ("hr", 0, "at least 1; got 0"),
        ("ndcg", -3, "at least 1; got -3"),
        ("ndcg", None, "ndcg needs a cut-off k >= 1; got none"),
        ("mrr", 10, "mrr has no cut-off; got k = 10"),
    ],
)
def test_a_metric_that_does_not_exist_is_refused(metric: str, k: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        metric_values(ranks_table([0], [0]), metric, k)
