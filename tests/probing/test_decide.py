from __future__ import annotations

import json
from dataclasses import replace
from math import ceil, log2

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from layerprobe import columns
from layerprobe.errors import InputError
from layerprobe.evaluation.uncertainty import simultaneous_bounds
from layerprobe.probing.comparisons import compare
from layerprobe.probing.decide import Decision, decide
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.per_user import PerUser
from layerprobe.probing.power import POWER
from layerprobe.store.decision import DecisionRecord
from layerprobe.store.records import from_plain, plain_of

HR_1 = DecisionOptions(metric="hr", k=1, n_boot=500)
TOGETHER = replace(HR_1, rule="simultaneous")


def ranks_table(n_higher: np.ndarray) -> pd.DataFrame:
    """Test targets ranked in the whole catalogue, and rows of another split and protocol that must not count."""
    n_users = len(n_higher)
    table = pd.DataFrame(
        {
            columns.USER: np.arange(n_users) * 2,
            columns.TARGET: np.arange(n_users) % 7 + 1,
            columns.SPLIT: "test",
            columns.PROTOCOL: "full",
            columns.N_HIGHER: n_higher,
            columns.N_TIES: 0,
        }
    )
    noise = [table.assign(split="valid", n_higher=0), table.assign(protocol="sampled-9", n_higher=0)]
    return pd.concat([*noise, table], ignore_index=True)


def hits(share: float, n_users: int = 10_000, flipped: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Ranks with HR@1 = share on the first users; `flipped` of all users change between hit and miss in pairs."""
    hit = np.arange(n_users) < share * n_users
    if flipped:
        generator = np.random.default_rng(seed)
        count = int(flipped * n_users / 2)
        for group in (np.flatnonzero(hit), np.flatnonzero(~hit)):
            chosen = generator.choice(group, count, replace=False)
            hit[chosen] = ~hit[chosen]
    return ranks_table(np.where(hit, 0, 50))


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
    assert decision.sentence.startswith(
        "Keep 2 of 8 layers: depth 2 has an HR@1 of 0.4990, compared with 0.5000 for the full model (-0.2 %). With 95 "
    )
    assert decision.sentence.endswith(
        "the loss is within the margin of 2 % (10,000 users). Depths were tested one by one, from the deepest down."
    )


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


def test_none_passed_and_all_are_significantly_worse() -> None:
    decision = decide({4: hits(0.5), 1: hits(0.3), 2: hits(0.4)}, {}, HR_1)
    assert decision.depth is None
    assert decision.sentence == (
        "Keep all layers (depth 4): none of the smaller depths is shown to be within 2 % of the full model's HR@1 "
        "of 0.5000 (95 % confidence, 10,000 users). Depths 1 and 2 are significantly worse, by more than 2 %."
    )


def test_too_few_users_leave_the_answer_open_and_say_how_many_are_needed() -> None:
    decision = decide({4: hits(0.5, 300), 1: hits(0.2, 300), 2: hits(0.5, 300, flipped=0.2)}, {}, HR_1)
    assert decision.depth is None
    assert decision.depths[2].verdict == "undecided"
    assert "Depth 1 is significantly worse, by more than 2 %. Depth 2 is undecided" in decision.sentence
    assert "a margin of 2 % needs about " in decision.sentence
    assert decision.power.users_needed_for_margin > 300
    assert f"a margin of {100 * decision.power.minimal_detectable_relative_difference:.1f} %" in decision.sentence


def test_a_small_loss_may_be_undecided_although_there_are_enough_users() -> None:
    decision = decide({4: hits(0.5, 40_000), 2: hits(0.4905, 40_000, flipped=0.02)}, {}, HR_1)
    assert decision.depths[2].verdict == "undecided"
    assert decision.power.users_needed_for_margin < 40_000
    assert decision.sentence.endswith("Depth 2 is undecided: its confidence interval covers both sides of the margin.")


def test_depth_zero_may_pass() -> None:
    decision = decide({4: hits(0.5), 0: hits(0.5), 2: hits(0.5)}, {}, TOGETHER)
    assert decision.depth == 0
    assert decision.sentence.startswith("Keep no layer (depth 0 of 4): item vectors and head alone have an HR@1 of 0.5")
    assert "there is no loss, so it is within the margin of 2 %" in decision.sentence
    assert decision.sentence.endswith("The layers add too little to matter for this metric and these users.")


def test_a_floor_that_is_good_enough_is_named() -> None:
    by_depth = {4: hits(0.5), 2: hits(0.3)}
    one = decide(by_depth, {"sasrec": hits(0.5), "popularity": hits(0.1)}, HR_1)
    assert one.baselines["sasrec"].not_worse
    assert not one.baselines["popularity"].not_worse
    assert one.sentence.endswith(
        " Even a baseline is good enough: sasrec (0.5000) is not worse than the full model by more than the same "
        "margin."
    )
    two = decide(by_depth, {"sasrec": hits(0.5), "markov-1": hits(0.51)}, HR_1)
    assert "Even baselines are good enough: sasrec (0.5000) and markov-1 (0.5100) are not worse" in two.sentence
    assert "Significantly better than the full model on HR@1 (95 % confidence): markov-1." in two.notes


def test_depths_that_are_significantly_better_are_named() -> None:
    decision = decide({4: hits(0.5), 1: hits(0.6), 2: hits(0.55)}, {"sasrec": hits(0.7), "tfidf": hits(0.5)}, HR_1)
    assert decision.notes[-1] == (
        "Significantly better than the full model on HR@1 (95 % confidence): depth 1, depth 2 and sasrec."
    )


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


def test_power_follows_from_the_spread_of_differences() -> None:
    n_users, options = 2000, DecisionOptions(metric="hr", k=1, n_boot=20_000, margin=0.05)
    decision = decide({4: hits(0.5, n_users), 2: hits(0.5, n_users, flipped=0.2)}, {}, options)
    # One difference: its sd is sqrt(.2), the one-sided critical value 1.645, 80 % power adds .8416.
    error = np.sqrt(0.2 / n_users) / 0.5
    expected = (scipy.stats.norm.ppf(0.95) + scipy.stats.norm.ppf(0.8)) * error
    power = decision.power
    assert power.n_users == n_users
    assert power.minimal_detectable_relative_difference == pytest.approx(expected, rel=0.02)
    assert power.users_needed_for_margin == ceil(n_users * (power.minimal_detectable_relative_difference / 0.05) ** 2)


@pytest.mark.parametrize(("df", "power"), [(2, 0.765), (4, 0.785)])
def test_power_at_few_degrees_of_freedom_is_what_the_docstring_says(df: int, power: float) -> None:
    critical = scipy.stats.t.ppf(0.95, df)
    true = 1 - scipy.stats.nct.cdf(critical, df, critical + scipy.stats.norm.ppf(POWER))
    assert true == pytest.approx(power, abs=5e-4)


def test_power_is_that_of_the_open_depths() -> None:
    calm, wild = hits(0.5, flipped=0.01), hits(0.2, flipped=0.3)
    with_worse = decide({4: hits(0.5), 1: wild, 2: calm}, {}, HR_1).power
    assert with_worse.minimal_detectable_relative_difference < 0.01


def any_passes(full: np.ndarray, others: np.ndarray, options: DecisionOptions) -> bool:
    """Compares values per user, [n_users] and [n_users, depths], without the detour of tables."""
    users = np.arange(len(full))
    first, *rest = [PerUser("", users, users, hit.astype(float)[None]) for hit in (full, *others.T)]
    return any(found.not_worse for found in compare(dict(enumerate(rest)), first, options)[0].values())


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
    assert set(content["power"]) == {
        "minimal_detectable_relative_difference",
        "n_users",
        "n_seeds",
        "covers_training",
        "users_needed_for_margin",
        "seeds_needed_for_margin",
    }


def test_training_noise_can_be_left_out_or_asked_for() -> None:
    seeds = {4: [hits(0.5), hits(0.52)], 2: [hits(0.5), hits(0.52)]}
    left_out = decide(seeds, {}, replace(HR_1, cover="users"))
    assert left_out.notes[0].endswith("not training noise (decision.cover users).")
    assert (left_out.power.n_seeds, left_out.power.covers_training) == (2, False)
    assert left_out.power.seeds_needed_for_margin is None
    covered = decide(seeds, {}, replace(HR_1, cover="training"))
    assert covered.power.covers_training
    with pytest.raises(InputError, match="decision.cover training needs at least 2 training seeds .* depth 4 has 1"):
        decide({4: hits(0.5), 2: hits(0.5)}, {}, replace(HR_1, cover="training"))


def test_mrr_is_decided_without_a_cutoff() -> None:
    decision = decide({4: hits(0.5), 2: hits(0.5)}, {}, DecisionOptions(metric="mrr", k=0, n_boot=200))
    assert decision.depths[4].value == pytest.approx((1 + 1 / 51) / 2)
    assert "has an MRR of 0.5098" in decision.sentence


def test_ndcg_at_ten_is_the_default() -> None:
    decision = decide({4: ranks_table(np.full(50, 2)), 2: ranks_table(np.full(50, 2))}, {}, DecisionOptions())
    assert decision.depths[4].value == pytest.approx(1 / log2(4))
    assert "NDCG@10" in decision.sentence


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "recall"}, "metric must be one of hr, ndcg, mrr; got 'recall'"),
        ({"margin": 0.0}, "margin must lie between 0 and 1.*got 0.0"),
        ({"margin": 2}, "margin must lie between 0 and 1 .a share: .02 means 2 %.; got 2"),
        ({"alpha": 1.0}, "alpha must lie between 0 and 1"),
        ({"k": 0}, "at least 1 for hr and ndcg and 0 for mrr; got ndcg with k = 0"),
        ({"metric": "mrr"}, "0 for mrr; got mrr with k = 10"),
        ({"k": -1}, "at least 1 for hr and ndcg"),
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
