"""Who loses: differences by group equal a computation by hand, pair seed with seed, and hold together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_slices import make_ranks as popular_ranks

from layerprobe import columns
from layerprobe.errors import InputError
from layerprobe.evaluation.metrics import metric_values
from layerprobe.evaluation.seeds import seeded_intervals, shared_noise
from layerprobe.evaluation.slice_differences import SlicedModel, slice_differences
from layerprobe.evaluation.slices import MIN_USERS, recency_cuts, slice_cuts

NDCG, HR = ("ndcg", 10), ("hr", 10)
SECOND, THIRD = 1 / np.log2(3), 1 / np.log2(4)  # NDCG of places 2 and 3; place 1 is 1, place 51 is 0


def make_ranks(n_higher: list[int], lengths: list[int], gaps: list[int] | None = None) -> pd.DataFrame:
    """Ranks of one split and protocol: users are numbered, nothing ties, every target is as popular."""
    ranks = popular_ranks(n_higher, lengths, [1] * len(n_higher))
    return ranks if gaps is None else ranks.assign(**{columns.RECENCY: gaps})


def random_ranks(n_users: int, seed: int, skill: float = 0.0) -> pd.DataFrame:
    """Users differ by a difficulty and a length that all models share."""
    facts, own = np.random.default_rng(0), np.random.default_rng(seed)
    difficulty, lengths = facts.normal(size=n_users), facts.geometric(0.2, n_users)
    places = np.exp(2 + difficulty - skill + 0.3 * own.normal(size=n_users)).astype(int)
    return make_ranks(places.tolist(), lengths.tolist(), facts.integers(0, 9, n_users).tolist())


def variant(depth: int, *ranks: pd.DataFrame) -> SlicedModel:
    return SlicedModel("variant", f"first:{depth}", depth, dict(enumerate(ranks)))


def floor(ranks: pd.DataFrame, seed: int | None = None) -> SlicedModel:
    return SlicedModel("sasrec", "", None, {seed: ranks})


def compared(full: SlicedModel, *others: SlicedModel, alpha: float = 0.05) -> pd.DataFrame:
    cuts = slice_cuts(next(iter(full.ranks.values())))
    return slice_differences(full, others, cuts, [NDCG, HR], alpha)


def test_differences_of_one_seed_are_those_of_the_groups_users() -> None:
    lengths = [1, 1, 2, 2, 3, 3, 4, 4]
    full = variant(4, make_ranks([0, 1, 0, 50, 50, 50, 2, 2], lengths))
    small = variant(2, make_ranks([1, 1, 0, 0, 2, 50, 50, 50], lengths))
    table = compared(full, small)
    assert list(table.columns) == list(columns.SLICE_DIFFERENCES)
    rows = table[(table["slice"] == "history_length") & (table["metric"] == "ndcg")].set_index("group")
    expected = {
        "1": (SECOND, (1 + SECOND) / 2, (SECOND - 1) / 2),
        "2": (1, 1 / 2, 1 / 2),
        "3": (THIRD / 2, 0, THIRD / 2),
        "4": (0, THIRD, -THIRD),
    }
    for group, (value, full_value, difference) in expected.items():
        found = rows.loc[group]
        assert [found["value"], found["full_value"]] == pytest.approx([value, full_value])
        assert found["difference"] == pytest.approx(difference)
        assert found["n_users"] == 2
        assert found["seeds"] == 1
    assert rows.loc["1", "relative"] == pytest.approx((SECOND - 1) / (1 + SECOND))
    assert np.isnan(rows.loc["3", "relative"])  # a share of nothing
    hits = table[(table["slice"] == "history_length") & (table["metric"] == "hr")].set_index("group")["difference"]
    assert hits.to_dict() == {"1": 0, "2": 1 / 2, "3": 1 / 2, "4": -1}


def test_seeds_are_put_together_pair_by_pair_and_a_floor_stands_against_each() -> None:
    lengths = [1, 1, 9, 9]
    full = variant(4, make_ranks([0, 50, 0, 0], lengths), make_ranks([0, 0, 0, 50], lengths))
    small = variant(2, make_ranks([50, 50, 0, 0], lengths), make_ranks([50, 0, 0, 0], lengths))
    student = SlicedModel("distilled", "first:2", 2, {1: make_ranks([0, 0, 0, 0], lengths)})
    table = compared(full, small, student, floor(make_ranks([0, 0, 50, 50], lengths)))
    rows = table[(table["slice"] == "history_length") & (table["metric"] == "hr")].set_index(["kind", "group"])
    # Full model: seed 0 finds one of two and both, seed 1 both and one of two.
    expected = {
        ("variant", "1"): ((0 + 1 / 2) / 2, (1 / 2 + 1) / 2, 2),
        ("variant", "2-9"): (1, (1 + 1 / 2) / 2, 2),
        ("distilled", "1"): (1, 1, 1),  # against the full model of its own seed, 1
        ("distilled", "2-9"): (1, 1 / 2, 1),
        ("sasrec", "1"): (1, (1 / 2 + 1) / 2, 1),
        ("sasrec", "2-9"): (0, (1 + 1 / 2) / 2, 1),
    }
    assert set(rows.index) == set(expected)
    for key, (value, full_value, seeds) in expected.items():
        found = rows.loc[key]
        assert (found["value"], found["full_value"], found["seeds"]) == (value, full_value, seeds)
        assert found["difference"] == value - full_value


def test_users_of_a_slice_add_up_and_average_to_the_difference_of_all() -> None:
    full, small = random_ranks(700, 1), random_ranks(700, 2, skill=0.3)
    for (_, metric, k), rows in compared(variant(4, full), variant(2, small)).groupby(["slice", "metric", "k"]):
        assert rows["n_users"].sum() == 700
        whole = (metric_values(small, str(metric), int(k)) - metric_values(full, str(metric), int(k))).mean()
        assert (rows["difference"] * rows["n_users"]).sum() / 700 == pytest.approx(whole)


def test_with_one_seed_the_interval_is_that_of_a_paired_t_test() -> None:
    full, small = random_ranks(900, 1), random_ranks(900, 2, skill=0.3)
    table = compared(variant(4, full), variant(2, small), alpha=0.1)
    family = (table.loc[table["metric"] == "ndcg", "n_users"] >= MIN_USERS).sum()
    assert 6 < family == table.loc[table["metric"] == "ndcg", "ci_low"].notna().sum()
    for cut in slice_cuts(full):
        for group, row in table[(table["slice"] == cut.column) & (table["metric"] == "ndcg")].groupby("group"):
            inside = cut.assign(full) == cut.groups.index(str(group))
            if inside.sum() < MIN_USERS:
                continue
            test = stats.ttest_rel(metric_values(small, *NDCG)[inside], metric_values(full, *NDCG)[inside])
            for names, level in ((("ci_low", "ci_high"), 0.9), (("ci_low_all", "ci_high_all"), 1 - 0.1 / family)):
                bounds = test.confidence_interval(level)
                assert row[list(names)].iloc[0].tolist() == pytest.approx([bounds.low, bounds.high])


def test_with_several_seeds_models_of_the_study_share_their_noise_within_a_group() -> None:
    full, small, other = ([random_ranks(800, 10 * depth + seed) for seed in range(3)] for depth in (4, 2, 1))
    sasrec = random_ranks(800, 99)
    table = compared(variant(4, *full), variant(2, *small), variant(1, *other), floor(sasrec, 0))
    (cut, *_) = slice_cuts(full[0])
    inside = cut.assign(full[0]) == 1
    values = [np.stack([metric_values(each, *HR)[inside] for each in ranks]) for ranks in (full, small, other)]
    noise = shared_noise([values[1] - values[0], values[2] - values[0]])
    family = (table.loc[(table["kind"] == "sasrec") & (table["metric"] == "hr"), "n_users"] >= MIN_USERS).sum()
    row = table[(table["slice"] == cut.column) & (table["group"] == cut.groups[1]) & (table["metric"] == "hr")]
    once = metric_values(sasrec, *HR)[inside]
    for key, own, trained in (("first:2", values[1], 2), ("first:1", values[2], 2), ("", once[None], 1)):
        found = row[row["selection"] == key].iloc[0]
        for names, alpha in ((("ci_low", "ci_high"), 0.05), (("ci_low_all", "ci_high_all"), 0.05 / family)):
            low, high = seeded_intervals((own - values[0])[:, :, None], alpha, noise, trained)
            assert found[list(names)].tolist() == pytest.approx([low[0], high[0]])
    seen_alone = seeded_intervals((values[1] - values[0])[:, :, None], 0.05, None, 2)
    assert row[row["selection"] == "first:2"]["ci_low"].item() != pytest.approx(seen_alone[0][0])


@pytest.mark.parametrize(
    ("n_users", "other", "has_interval"),
    [(MIN_USERS, [0, 50], True), (MIN_USERS - 2, [0, 50], False), (MIN_USERS, [1, 1], False)],
)
def test_few_users_or_one_difference_for_all_give_no_interval(
    n_users: int, other: list[int], has_interval: bool
) -> None:
    full, small = (make_ranks(places * (n_users // 2), [3] * n_users) for places in ([1, 1], other))
    table = compared(variant(4, full), variant(2, small))
    bounds = table[["ci_low", "ci_high", "ci_low_all", "ci_high_all"]]
    assert bounds.notna().all(axis=None) == has_interval
    assert bounds.isna().all(axis=None) != has_interval


def test_all_groups_of_a_model_without_a_difference_are_covered_together_in_enough_studies() -> None:
    """Two models that are alike: some group looks other than 0 alone in many studies, together in at most alpha."""
    alone, together, n_studies = 0, 0, 60
    for study in range(n_studies):
        full, small = random_ranks(1200, 2 * study + 1), random_ranks(1200, 2 * study + 2)
        table = compared(variant(4, full), variant(2, small), alpha=0.1).query("metric == 'ndcg'")
        alone += int(((table["ci_low"] > 0) | (table["ci_high"] < 0)).any())
        together += int(((table["ci_low_all"] > 0) | (table["ci_high_all"] < 0)).any())
    assert alone > 0.25 * n_studies
    assert together <= stats.binom.ppf(0.999, n_studies, 0.1)


def test_the_order_of_users_changes_nothing() -> None:
    full, small = random_ranks(400, 1), random_ranks(400, 2)
    shuffled = variant(2, small.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(compared(variant(4, full), shuffled), compared(variant(4, full), variant(2, small)))


def test_other_users_and_seeds_without_a_partner_are_refused() -> None:
    full, other = random_ranks(40, 1), random_ranks(40, 2)
    with pytest.raises(InputError, match="variant first:2 must be ranked on the same users and targets"):
        compared(variant(4, full), variant(2, other.assign(target=2)))
    with pytest.raises(InputError, match=r"share a training seed with the full model; it has \[7\] and .* \[0\]"):
        compared(variant(4, full), SlicedModel("variant", "first:2", 2, {7: other}))


@pytest.mark.parametrize(
    ("gaps", "groups", "n_users"),
    [
        ([0, 10, 20, 30, 40, 50, 60, 70], ("0-10", "11-30", "31-50", "51-70"), (2, 2, 2, 2)),
        # Half of the users have a gap of 0: the first two quarters are one group.
        ([0, 0, 0, 0, 5, 6, 7, 8], ("0", "1-6", "7-8"), (4, 2, 2)),
        ([3, 3, 3, 3], ("3",), (4,)),
    ],
)
def test_recency_is_cut_in_quarters_and_equal_gaps_stay_together(
    gaps: list[int], groups: tuple[str, ...], n_users: tuple[int, ...]
) -> None:
    cuts = recency_cuts(np.array(gaps))
    assert (cuts.column, cuts.groups, cuts.n_rows) == ("recency", groups, n_users)
    assert recency_cuts(np.array(gaps), "s").groups == tuple(f"{group} s" for group in groups)


def test_recency_is_a_third_slice_where_it_tells_users_apart() -> None:
    names = [
        [cut.column for cut in slice_cuts(make_ranks([0] * 4, [3] * 4, gaps))] for gaps in (None, [1] * 4, [0, 9] * 2)
    ]
    assert names == [["history_length", "target_popularity"]] * 2 + [["history_length", "target_popularity", "recency"]]
