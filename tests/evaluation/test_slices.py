"""Slices: cut from the data alone, the same users for every model, and values that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from layerprobe import columns
from layerprobe.errors import InputError
from layerprobe.evaluation.metrics import metric_values
from layerprobe.evaluation.slices import MIN_USERS, SliceCuts, length_cuts, popularity_cuts, slice_cuts, slice_rows
from layerprobe.evaluation.uncertainty import mean_intervals

NDCG, HR = ("ndcg", 10), ("hr", 10)


def make_ranks(n_higher: list[int], lengths: list[int], popularity: list[int]) -> pd.DataFrame:
    """A ranks table of one split and protocol; users are numbered, nothing ties."""
    return pd.DataFrame(
        {
            columns.USER: range(len(n_higher)),
            columns.TARGET: 1,
            columns.SPLIT: "test",
            columns.PROTOCOL: "full",
            columns.N_HIGHER: n_higher,
            columns.N_TIES: 0,
            columns.N_CANDIDATES: 1000,
            columns.HISTORY_LENGTH: lengths,
            columns.TARGET_POPULARITY: popularity,
        }
    )[list(columns.RANKS)]


def random_ranks(n_users: int, seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    facts = np.random.default_rng(0)  # users are the same for every seed, ranks are not
    return make_ranks(
        generator.integers(0, 15, n_users).tolist(),
        facts.geometric(0.2, n_users).tolist(),
        (facts.geometric(0.05, n_users) - 1).tolist(),
    )


@pytest.mark.parametrize(
    ("lengths", "groups", "n_users"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], ("1-2", "3-4", "5-6", "7-8"), (2, 2, 2, 2)),
        ([8, 1, 6, 3, 5, 4, 7, 2], ("1-2", "3-4", "5-6", "7-8"), (2, 2, 2, 2)),
        # Five of eight users have length 4: both the first and the second quarter end there.
        ([4, 4, 4, 4, 4, 6, 7, 20], ("4", "5-6", "7-20"), (5, 1, 2)),
        # Up to 1 are 24 %, up to 2 are 74 %: the first is nearest to a quarter, the second to a half (24 against 26).
        ([1] * 24 + [2] * 50 + [3] * 26, ("1", "2", "3"), (24, 50, 26)),
        # 40 % is nearer to a quarter than anything below it, of which there is nothing.
        ([5] * 40 + [6] * 60, ("5", "6"), (40, 60)),
        ([7, 7, 7], ("7",), (3,)),
        ([3, 9], ("3", "4-9"), (1, 1)),
        # A quarter of six users is 1.5: one and two users below are equally near, the lower cut is taken; 4.5 likewise.
        ([1, 2, 3, 4, 5, 6], ("1", "2-3", "4", "5-6"), (1, 2, 1, 2)),
    ],
)
def test_lengths_are_cut_in_quarters_and_equal_lengths_stay_together(
    lengths: list[int], groups: tuple[str, ...], n_users: tuple[int, ...]
) -> None:
    cuts = length_cuts(np.array(lengths))
    assert (cuts.column, cuts.groups, cuts.n_rows) == ("history_length", groups, n_users)


@pytest.mark.parametrize(
    ("popularity", "groups", "n_users"),
    [
        ([0, 0, 1, 2, 3, 4, 5, 60], ("0", "1-2", "3-4", "5-60"), (2, 2, 2, 2)),
        # Nobody is cold: thirds, and the first begins at the lowest popularity there is.
        ([2, 2, 3, 3, 9, 9], ("2", "3", "4-9"), (2, 2, 2)),
        # The group after the cold one begins at 1, whatever its lowest popularity is.
        ([0, 5, 6, 7], ("0", "1-5", "6", "7"), (1, 1, 1, 1)),
        ([0, 0, 0], ("0",), (3,)),
        ([0, 4, 4, 4], ("0", "1-4"), (1, 3)),
    ],
)
def test_popularity_is_cut_in_cold_and_thirds(
    popularity: list[int], groups: tuple[str, ...], n_users: tuple[int, ...]
) -> None:
    cuts = popularity_cuts(np.array(popularity))
    assert (cuts.column, cuts.groups, cuts.n_rows) == ("target_popularity", groups, n_users)


@pytest.mark.parametrize("seed", range(5))
def test_every_user_is_in_the_one_group_whose_bounds_hold_it(seed: int) -> None:
    generator = np.random.default_rng(seed)
    ranks = make_ranks([0] * 300, generator.geometric(0.1, 300).tolist(), generator.integers(0, 9, 300).tolist())
    for cuts in slice_cuts(ranks):
        bounds = [(int(name.split("-")[0]), int(name.split("-")[-1])) for name in cuts.groups]
        inside = np.array([[low <= value <= high for low, high in bounds] for value in ranks[cuts.column]])
        assert (inside.sum(axis=1) == 1).all()
        assert (inside.argmax(axis=1) == cuts.assign(ranks)).all()
        assert cuts.n_rows == tuple(inside.sum(axis=0))
        assert min(cuts.n_rows) > 0
        assert sum(cuts.n_rows) == 300


def test_values_are_those_of_the_groups_users() -> None:
    # Lengths 1, 2, 3, 4 in pairs; targets: two cold, then two of each popularity.
    ranks = make_ranks([0, 2, 50, 1, 0, 0, 50, 50], [1, 1, 2, 2, 3, 3, 4, 4], [0, 7, 7, 1, 1, 3, 3, 0])
    table = slice_rows(ranks, slice_cuts(ranks), [NDCG, HR], 0.05, 100, 0)
    assert list(table.columns) == list(columns.SLICE_ROWS)
    second, third = 1 / np.log2(3), 1 / np.log2(4)  # NDCG of places 2 and 3; place 1 is 1, place 51 is 0
    found = {tuple(row[:4]): (row[4], row[7]) for row in table.itertuples(index=False)}
    assert found == {
        ("history_length", "1", *NDCG): (pytest.approx((1 + third) / 2), 2),
        ("history_length", "1", *HR): (1, 2),
        ("history_length", "2", *NDCG): (pytest.approx(second / 2), 2),
        ("history_length", "2", *HR): (1 / 2, 2),
        ("history_length", "3", *NDCG): (1, 2),
        ("history_length", "3", *HR): (1, 2),
        ("history_length", "4", *NDCG): (0, 2),
        ("history_length", "4", *HR): (0, 2),
        ("target_popularity", "0", *NDCG): (1 / 2, 2),
        ("target_popularity", "0", *HR): (1 / 2, 2),
        ("target_popularity", "1", *NDCG): (pytest.approx((second + 1) / 2), 2),
        ("target_popularity", "1", *HR): (1, 2),
        ("target_popularity", "2-3", *NDCG): (1 / 2, 2),
        ("target_popularity", "2-3", *HR): (1 / 2, 2),
        ("target_popularity", "4-7", *NDCG): (pytest.approx(third / 2), 2),
        ("target_popularity", "4-7", *HR): (1 / 2, 2),
    }
    assert table[[columns.CI_LOW, columns.CI_HIGH]].isna().all(axis=None)


def test_groups_add_up_to_all_users_and_average_to_the_whole_value() -> None:
    ranks = random_ranks(700, seed=1)
    table = slice_rows(ranks, slice_cuts(ranks), [NDCG, HR], 0.05, 100, 0)
    for (_, metric, k), rows in table.groupby([columns.SLICE, columns.METRIC, columns.K]):
        assert rows[columns.N_USERS].sum() == 700
        whole = metric_values(ranks, str(metric), int(k)).mean()
        assert (rows[columns.VALUE] * rows[columns.N_USERS]).sum() / 700 == pytest.approx(whole)


def test_intervals_are_the_bootstrap_over_the_groups_users_alone() -> None:
    ranks = random_ranks(900, seed=2)
    table = slice_rows(ranks, [length_cuts(ranks[columns.HISTORY_LENGTH].to_numpy())], [NDCG, HR], 0.1, 300, 5)
    for group, rows in table.groupby(columns.GROUP):
        low_end, high_end = (int(str(group).split("-")[side]) for side in (0, -1))
        inside = ranks[ranks[columns.HISTORY_LENGTH].between(low_end, high_end)]
        assert len(inside) >= MIN_USERS
        values = np.stack([metric_values(inside, *NDCG), metric_values(inside, *HR)], axis=1)
        low, high = mean_intervals(values, 0.1, 300, 5)
        np.testing.assert_array_equal(rows[[columns.CI_LOW, columns.CI_HIGH]], np.stack([low, high], axis=1))


@pytest.mark.parametrize(
    ("n_users", "n_higher", "has_interval"),
    [(MIN_USERS, [0, 5], True), (MIN_USERS - 2, [0, 5], False), (MIN_USERS, [50, 50], False)],
)
def test_few_users_or_one_value_for_all_give_no_interval(n_users: int, n_higher: list[int], has_interval: bool) -> None:
    ranks = make_ranks(n_higher * (n_users // 2), [3] * n_users, [1] * n_users)
    table = slice_rows(ranks, slice_cuts(ranks), [NDCG], 0.05, 100, 0)
    assert table[columns.CI_LOW].notna().tolist() == [has_interval] * 2
    assert table[columns.CI_HIGH].notna().tolist() == [has_interval] * 2


def test_cuts_of_one_model_serve_another_and_the_order_of_users_changes_no_value() -> None:
    first, second = random_ranks(400, seed=1), random_ranks(400, seed=2)
    assert slice_cuts(first) == slice_cuts(second)
    ordered = slice_rows(second, slice_cuts(first), [NDCG], 0.05, 100, 0)
    shuffled = slice_rows(second.sample(frac=1, random_state=0), slice_cuts(first), [NDCG], 0.05, 100, 0)
    names = [columns.SLICE, columns.GROUP, columns.VALUE, columns.N_USERS]
    pd.testing.assert_frame_equal(ordered[names], shuffled[names])


CUTS = SliceCuts("history_length", 2, (5, 9), (2, 1))


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([2, 6, 9], r"groups 2-5, 6-9 were cut with \(2, 1\) targets and hold \(1, 2\) here"),
        ([2, 5, 10], r"hold \(2, 0, 1\) here"),
        ([1, 5, 9], r"the same users for every model"),
        ([2, 5], r"hold \(2, 0\) here"),
    ],
)
def test_other_users_are_refused(lengths: list[int], message: str) -> None:
    ranks = make_ranks([0] * len(lengths), lengths, [1] * len(lengths))
    with pytest.raises(InputError, match=message):
        slice_rows(ranks, [CUTS], [NDCG], 0.05, 100, 0)


def two_parts(column: str, other: str) -> pd.DataFrame:
    ranks = make_ranks([0], [3], [1])
    return pd.concat([ranks, ranks.assign(**{column: other})])


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        (two_parts("split", "valid"), "one protocol and one split; got full test, full valid"),
        (two_parts("protocol", "sampled-20"), "got full test, sampled-20 test"),
        (make_ranks([], [], []), "got no rows"),
    ],
)
def test_a_table_of_several_parts_is_refused(ranks: pd.DataFrame, message: str) -> None:
    with pytest.raises(InputError, match=message):
        slice_cuts(ranks)
    with pytest.raises(InputError, match=message):
        slice_rows(ranks, [CUTS], [NDCG], 0.05, 100, 0)
