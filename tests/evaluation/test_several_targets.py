"""Users with several targets: the user is the unit of every mean, interval, slice and comparison."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from layerprobe import columns
from layerprobe.data.batches import SequenceBatch
from layerprobe.data.sequences import Sequences
from layerprobe.data.splits import PARTS, Split
from layerprobe.data.times.cuts import TimeCuts
from layerprobe.errors import InputError
from layerprobe.evaluation.metrics import metric_table, metric_values
from layerprobe.evaluation.negatives import has_enough, sampled_negatives
from layerprobe.evaluation.ranking import rank
from layerprobe.evaluation.ranks import Protocols
from layerprobe.evaluation.seeds import seeded_intervals
from layerprobe.evaluation.slice_differences import SlicedModel, slice_differences
from layerprobe.evaluation.slices import slice_cuts, slice_rows
from layerprobe.evaluation.uncertainty import mean_intervals
from layerprobe.pipeline.dry_run.step_costs import some_users
from layerprobe.probing.curves import CurvePoint, curve_rows
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.per_user import PerUser, paired
from layerprobe.recommender.baselines import Markov1
from layerprobe.similarity.sampling import sampled_users, valid_batches

NDCG = [("ndcg", 10)]
FULL_ONLY = Protocols(sampled=None)


@pytest.fixture
def by_time() -> Split:
    """900 users over 40 items; every item behind a cut is a target, and users of validation and test differ."""
    generator = np.random.default_rng(3)
    lengths = generator.integers(1, 12, 900)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    times = np.concatenate([np.sort(generator.integers(0, 300, n)) + generator.integers(700) for n in lengths])
    return Split(Sequences(generator.integers(1, 41, offsets[-1]), offsets, 40), None, times, TimeCuts(500, 650, "all"))


@pytest.fixture
def ranks(by_time: Split) -> pd.DataFrame:
    return rank(Markov1(by_time), by_time, Protocols(sampled=9))


def of_test(ranks: pd.DataFrame) -> pd.DataFrame:
    return ranks.loc[(ranks[columns.SPLIT] == "test") & (ranks[columns.PROTOCOL] == "full")]


def means(rows: pd.DataFrame) -> pd.Series:
    """The mean NDCG@10 of each user, one user after the other."""
    found = {}
    for user in sorted(set(rows["user"])):
        values = metric_values(rows.loc[rows["user"] == user], "ndcg", 10)
        found[user] = sum(values) / len(values)
    return pd.Series(found)


def test_there_is_a_row_for_each_target_and_none_is_ranked_by_what_follows_it(
    by_time: Split, ranks: pd.DataFrame
) -> None:
    for part in PARTS:
        queries = by_time.queries(part)
        rows = ranks.loc[(ranks["split"] == part) & (ranks["protocol"] == "full")]
        assert rows["target"].tolist() == queries.targets.tolist()
        assert rows["history_length"].tolist() == (queries.ends - queries.starts).tolist()
        assert len(rows) > rows["user"].nunique() > 100
    assert set(by_time.users("valid")) != set(by_time.users("test"))


def test_negatives_are_drawn_for_each_query_and_never_met(by_time: Split) -> None:
    queries = by_time.queries("test")
    every = sampled_negatives(by_time, "test", 9, 0, np.arange(len(queries)))
    for row in range(0, len(queries), 17):
        user = queries.users[row]
        met = by_time.sequences.items[by_time.sequences.offsets[user] : by_time.sequences.offsets[user + 1]]
        assert not set(every[row]) & set(met)
        assert len(set(every[row])) == 9
    some = np.arange(len(queries))[::7]
    np.testing.assert_array_equal(sampled_negatives(by_time, "test", 9, 0, some), every[some])
    assert has_enough(by_time, 9)
    assert not has_enough(by_time, 40)


def test_curves_average_and_resample_users(ranks: pd.DataFrame) -> None:
    rows = curve_rows(ranks, CurvePoint("markov-1"), [10], 0.05, 200)
    table = metric_table(ranks, [10])
    for part in PARTS:
        expected = means(ranks.loc[(ranks["split"] == part) & (ranks["protocol"] == "full")])
        chosen = "split == @part and protocol == 'full' and metric == 'ndcg'"
        row = rows.query(chosen).iloc[0]
        low, high = mean_intervals(expected.to_numpy()[:, None], 0.05, 200, 0)
        assert (row["value"], row["n_users"]) == (pytest.approx(expected.mean()), len(expected))
        assert (row["ci_low"], row["ci_high"]) == (pytest.approx(low[0], abs=1e-6), pytest.approx(high[0], abs=1e-6))
        assert table.query(chosen)[["value", "n_users"]].to_numpy()[0].tolist() == [
            pytest.approx(expected.mean()),
            len(expected),
        ]


def test_slices_average_each_user_within_a_group(ranks: pd.DataFrame) -> None:
    test = of_test(ranks)
    cuts = slice_cuts(test)
    assert sum(cuts[0].n_rows) == len(test)
    rows = slice_rows(test, cuts, NDCG, 0.05, 200, 0)
    position = cuts[0].assign(test)
    for group, name in enumerate(cuts[0].groups):
        expected = means(test[position == group])
        row = rows.loc[(rows["slice"] == "history_length") & (rows["group"] == name)].iloc[0]
        assert (row["value"], row["n_users"]) == (pytest.approx(expected.mean()), len(expected))


def test_differences_of_slices_are_over_users(ranks: pd.DataFrame) -> None:
    test = of_test(ranks)
    other = test.assign(n_higher=np.random.default_rng(0).permutation(test["n_higher"]))
    cuts = slice_cuts(test)
    models = [SlicedModel("variant", name, 1, {0: table}) for name, table in (("first:2", test), ("first:1", other))]
    rows = slice_differences(models[0], models[1:], cuts, NDCG, 0.05)
    seen_interval = False
    for cut in cuts:
        position = cut.assign(test)
        for group, name in enumerate(cut.groups):
            differences = (means(other[position == group]) - means(test[position == group])).to_numpy()
            row = rows.loc[(rows["slice"] == cut.column) & (rows["group"] == name)].iloc[0]
            assert (row["difference"], row["n_users"]) == (pytest.approx(differences.mean()), len(differences))
            if len(differences) >= 100:
                low, high = seeded_intervals(differences[None, :, None], 0.05)
                assert [row["ci_low"], row["ci_high"]] == [pytest.approx(low[0]), pytest.approx(high[0])]
                seen_interval = True
    assert seen_interval
    twice = SlicedModel("variant", "first:1", 1, {0: pd.concat([other, other.iloc[:1]])})
    with pytest.raises(InputError, match="same users and targets"):
        slice_differences(models[0], [twice], cuts, NDCG, 0.05)


def test_a_decision_compares_users_and_checks_their_targets(ranks: pd.DataFrame) -> None:
    options, test = DecisionOptions(metric="ndcg", k=10), of_test(ranks)
    model = PerUser.read("depth 2", ranks, options)
    expected = means(test)
    assert model.users.tolist() == expected.index.tolist()
    np.testing.assert_allclose(model.metric[0], expected.to_numpy())
    shuffled = PerUser.read("depth 1", ranks.assign(n_higher=ranks["n_higher"] + 1), options)
    assert paired(shuffled, model).shape == (1, len(expected))
    rows = test.index[test["user"].duplicated()]
    with pytest.raises(InputError, match="depth 1 must be ranked on the same users and targets as depth 2"):
        paired(PerUser.read("depth 1", ranks.drop(index=rows[0]), options), model)
    with pytest.raises(InputError, match="each user and target once"):
        PerUser.read("depth 1", pd.concat([ranks, ranks.loc[rows[:1]]]), options)


def test_layers_are_compared_on_one_history_per_validation_user(by_time: Split) -> None:
    users = sampled_users(by_time, 60, 0)
    assert set(users) <= set(by_time.users("valid"))
    batches: list[SequenceBatch] = [batch for batch, _ in valid_batches(by_time, users, 5, 16)]
    newest = by_time.queries("valid").newest()
    ends = newest.ends[np.isin(newest.users, users)]
    assert torch.cat([batch.flat for batch in batches]).tolist() == (ends - 1).tolist()


def test_a_few_users_of_both_parts_stand_for_all_in_a_dry_run(by_time: Split) -> None:
    few = some_users(by_time, 10)
    assert 10 <= few.sequences.n_users <= 20
    assert few.cuts == by_time.cuts
    for part in PARTS:
        assert 0 < len(few.queries(part)) < len(by_time.queries(part))
        assert set(few.queries(part).targets) <= set(by_time.queries(part).targets)
