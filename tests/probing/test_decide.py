from __future__ import annotations

import json
from dataclasses import replace
from math import log2

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from made_ranks import HR_1, evidence_of, hits, ranks_table, twice

from layerprobe import columns
from layerprobe.errors import InputError
from layerprobe.evaluation.uncertainty import simultaneous_bounds
from layerprobe.probing.comparisons import comparisons_of
from layerprobe.probing.decide import Decision, decide
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.looks import Look
from layerprobe.store.decision import DecisionRecord, LookRow
from layerprobe.store.records import from_plain, plain_of

TOGETHER = replace(HR_1, rule="simultaneous")


def test_the_smallest_depth_that_passes_is_chosen() -> None:
    decision = decide({8: hits(0.5), 0: hits(0.3), 1: hits(0.45), 4: hits(0.5), 2: hits(0.499)}, {}, HR_1)
    assert (decision.depth, decision.full_depth) == (2, 8)
    assert [(k, found.verdict) for k, found in decision.depths.items()] == [
        (0, "worse"),
        (1, "worse"),
        (2, "not worse"),
        (4, "not worse"),
        (8, "not worse"),
    ]


def test_numbers_are_means_of_paired_differences_with_simultaneous_bounds() -> None:
    generator = np.random.default_rng(0)
    ranks = {k: generator.integers(0, 15, 500) for k in (1, 2, 4)}
    options = DecisionOptions(n_boot=300, rule="simultaneous")
    decision = decide({k: ranks_table(n_higher) for k, n_higher in ranks.items()}, {}, options)
    gains = {k: np.where(n_higher < 10, 1 / np.log2(2 + n_higher), 0) for k, n_higher in ranks.items()}
    bounds = simultaneous_bounds(np.stack([gains[1] - gains[4], gains[2] - gains[4]], axis=1), 0.05, 300, seed=0)
    for column, k in enumerate((1, 2)):
        found = decision.depths[k]
        assert found.value == pytest.approx(gains[k].mean())
        assert found.difference == pytest.approx(gains[k].mean() - gains[4].mean())
        assert found.relative == pytest.approx(gains[k].mean() / gains[4].mean() - 1)
        assert found.lower_bound == pytest.approx(bounds.lower[column])
        assert (found.ci_low, found.ci_high) == pytest.approx((bounds.low[column], bounds.high[column]))
    assert decision.depths[4].difference == 0


def test_a_depth_passes_only_if_its_lower_bound_clears_the_margin() -> None:
    by_depth = {4: hits(0.5), 2: hits(0.49, flipped=0.1)}
    bound = -decide(by_depth, {}, HR_1).depths[2].lower_bound / 0.5
    for margin, passes in ((bound - 1e-6, False), (bound + 1e-6, True)):
        options = DecisionOptions(metric="hr", k=1, margin=margin, n_boot=500)
        assert decide(by_depth, {}, options).depths[2].not_worse is passes


def test_floors_do_not_widen_the_bounds_of_depths() -> None:
    by_depth = {4: hits(0.5), 2: hits(0.49, flipped=0.1)}
    floors = {f"floor-{seed}": hits(0.5, flipped=0.2, seed=seed) for seed in range(5)}
    assert decide(by_depth, floors, HR_1).depths == decide(by_depth, {}, HR_1).depths


def test_depths_out_of_step_get_a_note() -> None:
    decision = decide({8: hits(0.5), 1: hits(0.5), 2: hits(0.4), 4: hits(0.4)}, {}, TOGETHER)
    assert decision.depth == 1
    assert "Depths 2 and 4 are larger than 1 but did not pass the test: more layers are not always better here." in (
        decision.notes
    )


def test_seeds_are_averaged_per_user_and_named() -> None:
    single = decide({4: hits(0.5), 2: hits(0.4)}, {}, HR_1)
    assert any(note.startswith("Each depth was trained once. The intervals cover the choice") for note in single.notes)
    several = decide({4: [hits(0.5), hits(0.6)], 2: [hits(0.4), hits(0.5)]}, {"sasrec": hits(0.3)}, HR_1)
    assert any(note.startswith("Each depth was trained 2 times. The intervals cover") for note in several.notes)
    assert "SASRec was trained once: its interval does not cover its own training noise." in several.notes
    assert several.depths[4].value == pytest.approx((0.5 + 0.6) / 2)
    assert (several.depths[2].value, several.depths[2].seeds) == (pytest.approx((0.4 + 0.5) / 2), 2)


def any_passes(full: np.ndarray, others: np.ndarray, options: DecisionOptions) -> bool:
    """Compares values per user, [n_users] and [n_users, depths], by bounds that hold for all of them."""
    evidence = evidence_of(np.array([*others.T, full], dtype=float)[:, None], options)
    bounds = evidence.bounds([(selection, evidence.full_key) for selection in evidence.smaller])
    found = comparisons_of(evidence.smaller, evidence.full, bounds, options)
    return any(comparison.not_worse for comparison in found.values())


def test_an_equal_depth_is_shown_as_often_as_the_power_says() -> None:
    # 300 studies; a tenth of all users differ, so the difference has sd sqrt(.1), and the power at margin m is
    # Phi(m * .5 / sqrt(.1 / n) - 1.645) = .746.
    generator = np.random.default_rng(3)
    n_users, options = 1000, DecisionOptions(metric="hr", k=1, n_boot=200, margin=0.0462)
    found = []
    for _ in range(300):
        full = generator.random(n_users) < 0.5
        other = np.where(generator.random(n_users) < 0.2, generator.random(n_users) < 0.5, full)
        found.append(any_passes(full, other[:, None], options))
    expected = scipy.stats.norm.cdf(0.0462 * 0.5 / np.sqrt(0.1 / n_users) - scipy.stats.norm.ppf(0.95))
    assert np.mean(found) == pytest.approx(expected, abs=0.08)


def test_a_depth_that_loses_the_margin_passes_no_more_often_than_alpha() -> None:
    # 400 studies of four depths that all lose exactly the margin; "any of them passes" is the family-wise error.
    generator = np.random.default_rng(4)
    n_users, options = 800, DecisionOptions(metric="hr", k=1, n_boot=200, margin=0.1, alpha=0.1)
    wrong = []
    for _ in range(400):
        full = generator.random((n_users, 1)) < 0.5
        # .5 * .8 + .5 * .1 = .45, a loss of 10 %
        others = np.where(full, generator.random((n_users, 4)) < 0.8, generator.random((n_users, 4)) < 0.1)
        wrong.append(any_passes(full[:, 0], others, options))
    assert 0.04 < np.mean(wrong) < 0.14


def test_the_record_is_plain_json_with_the_promised_keys() -> None:
    decision: Decision = decide({4: hits(0.5), 2: hits(0.4)}, {"sasrec": hits(0.3)}, HR_1)
    content = json.loads(json.dumps(plain_of(decision.record()), allow_nan=False))
    assert from_plain(content, DecisionRecord) == decision.record()
    assert set(content) >= {"metric", "k", "margin", "alpha", "depth", "full_depth", "sentence", "notes"}
    assert [row["depth"] for row in content["depths"]] == [2, 4]
    keys = {"value", "difference", "relative", "ci_low", "ci_high", "lower_bound", "not_worse", "verdict"}
    assert keys <= set(content["depths"][0])
    assert keys <= set(content["baselines"][0])
    assert content["baselines"][0]["name"] == "sasrec"
    assert keys | {"differing", "proven_margin", "proven_alone", "could_be_best"} <= set(content["depths"][1])
    assert (content["verdict"], content["exploratory"], content["baseline"]) == (decision.verdict, True, None)
    assert content["level"] == 0.05
    pairs = [(row["selection"], row["depth"], row["baseline"]) for row in content["against_baselines"]]
    assert pairs == [("first:2", 2, "sasrec"), ("first:4", 4, "sasrec")]
    assert [row["difference"] for row in content["against_baselines"]] == pytest.approx([0.4 - 0.3, 0.5 - 0.3])
    assert [row["relative"] for row in content["against_baselines"]] == pytest.approx([0.4 / 0.3 - 1, 0.5 / 0.3 - 1])
    assert set(content["power"]) == {
        "selection",
        "minimal_detectable_relative_difference",
        "n_users",
        "n_seeds",
        "covers_training",
        "users_needed_for_margin",
        "seeds_needed_for_margin",
        "observed",
        "users_needed_at_observed",
        "seeds_needed_at_observed",
        "variance",
    }
    assert set(content["power"]["variance"]) == {"users", "joint", "seeds", "value"}


def test_the_level_of_a_look_replaces_alpha_in_bounds_and_words() -> None:
    by_depth = {4: twice(0.5), 2: twice(0.49, flipped=0.1), 1: twice(0.3)}
    look = Look(number=1, of=1, level=0.01, spent=0.01, planned=True, notes=())
    looked = decide(by_depth, {}, HR_1, look)
    assert (looked.level, looked.record().level, looked.options.alpha) == (0.01, 0.01, 0.05)
    assert looked.record().look == LookRow(number=1, of=1, level=0.01, spent=0.01)
    strict = decide(by_depth, {}, replace(HR_1, alpha=0.01, n_boot=5 * HR_1.n_boot))  # as many resamples in the tail
    assert looked.selections == strict.selections
    assert looked.sentence == strict.sentence
    assert "99 % confidence" in looked.sentence


def test_training_noise_can_be_left_out_or_asked_for() -> None:
    seeds = {4: [hits(0.5), hits(0.52)], 2: [hits(0.5), hits(0.52)]}
    left_out = decide(seeds, {}, replace(HR_1, cover="users"))
    assert left_out.notes[0].endswith("not training noise (decision.cover users).")
    assert (left_out.power.n_seeds, left_out.power.covers_training) == (2, False)
    assert left_out.power.seeds_needed_for_margin is None
    assert not left_out.exploratory
    assert "95 % confidence for these trained models, 10,000 users, 2 seeds" in left_out.sentence
    covered = decide(seeds, {}, replace(HR_1, cover="training"))
    assert covered.power.covers_training
    with pytest.raises(InputError, match="decision.cover training needs at least 2 training seeds .* depth 4 has 1"):
        decide({4: hits(0.5), 2: hits(0.5)}, {}, replace(HR_1, cover="training"))


def test_mrr_is_decided_without_a_cutoff() -> None:
    decision = decide({4: hits(0.5), 2: hits(0.5)}, {}, DecisionOptions(metric="mrr", k=0, n_boot=200))
    assert decision.depths[4].value == pytest.approx((1 + 1 / 51) / 2)
    assert "MRR of 0.5098" in decision.sentence


def test_ndcg_at_ten_is_the_default() -> None:
    decision = decide({4: ranks_table(np.full(50, 2)), 2: ranks_table(np.full(50, 2))}, {}, DecisionOptions())
    assert decision.depths[4].value == pytest.approx(1 / log2(4))
    assert "NDCG@10" in decision.sentence


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "recall"}, "metric must be one of hr, ndcg, mrr; got 'recall'"),
        ({"margin": 0.0}, "margin must lie between 0 and 1.*got 0.0"),
        ({"margin": 2}, "margin must lie between 0 and 1; got 2"),
        ({"alpha": 1.0}, r"alpha must lie in \[1e-12, 1\); got 1.0"),
        ({"k": 0}, "at least 1 for hr and ndcg and 0 for mrr; got ndcg with k = 0"),
        ({"metric": "mrr"}, "0 for mrr; got mrr with k = 10"),
        ({"k": -1}, "k must be at least 0; got -1"),
        ({"prior_noise": -0.01}, r"prior_noise must lie in \[0, 1\); got -0.01"),
        ({"prior_noise": 1}, r"prior_noise must lie in \[0, 1\).*got 1"),
        ({"prior_noise": 0.01, "cover": "users"}, "training noise, which cover users leaves out; drop one"),
        ({"planned_seeds": 1}, "planned_seeds must be at least 2, or null; got 1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        DecisionOptions(**options)


def without_test_rows(table: pd.DataFrame) -> pd.DataFrame:
    return table[table[columns.SPLIT] == "valid"]


def other_target(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(target=table[columns.TARGET] + 1)


@pytest.mark.parametrize(
    ("by_depth", "baselines", "message"),
    [
        ({4: hits(0.5)}, {}, r"needs the full model and a smaller depth; got depths \[4\]"),
        ({4: hits(0.0), 2: hits(0.5)}, {}, r"full model \(depth 4\) has an HR@1 of 0 on 10000 users"),
        ({4: hits(0.5), 2: hits(0.5, 9_990)}, {}, "depth 2 must be ranked on the same users .* as depth 4; 10 users"),
        ({4: hits(0.5), 2: other_target(hits(0.5))}, {}, "depth 2 must be ranked on the same users and targets"),
        ({4: hits(0.5), 2: hits(0.5)}, {"sasrec": hits(0.5, 9_999)}, "sasrec must be ranked on the same users"),
        ({4: hits(0.5), 2: [hits(0.5), hits(0.5, 10)]}, {}, "depth 2 must be ranked on the same users"),
        (
            {4: hits(0.5), 2: without_test_rows(hits(0.5))},
            {},
            "ranks of depth 2 must hold each user and target once.*got 0 rows",
        ),
        (
            {4: hits(0.5), 2: pd.concat([hits(0.5)] * 2)},
            {},
            "depth 2 must hold each user and target once.*got 20000 rows of 10000",
        ),
        ({4: hits(0.5), 2: []}, {}, "depth 2 has no ranks"),
        ({4: [hits(0.5)] * 2, 2: [hits(0.5)]}, {}, "with the same number of seeds; depth 2 has 1 and depth 4 2"),
    ],
)
def test_ranks_that_cannot_be_compared_are_refused_by_name(by_depth: dict, baselines: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        decide(by_depth, baselines, HR_1)
    assert "\n" not in str(caught.value)


def test_rows_in_another_order_change_nothing() -> None:
    shuffled = hits(0.49, flipped=0.1).sample(frac=1, random_state=0)
    ordered = decide({4: hits(0.5), 2: hits(0.49, flipped=0.1)}, {}, HR_1)
    assert decide({4: hits(0.5), 2: shuffled}, {}, HR_1) == ordered
