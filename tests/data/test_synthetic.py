"""The planted rules of the built-in data, each checked by an oracle that reads the generated rows alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from layerprobe.data.sources.raw import RawLog
from layerprobe.data.synthetic import KINDS, SyntheticOptions, generate, induction_only, needed_depth
from layerprobe.errors import InputError

LAGGED = SyntheticOptions(share_markov=0, share_lagged=1, share_induction=0, popularity_skew=0)
SMALL = SyntheticOptions(
    n_users=300, min_length=41, max_length=50, share_markov=0.2, share_induction=0.4, share_composed=0.4
)


def histories(log: RawLog, kind: str) -> list[list[str]]:
    """Returns the item ids of each user of a kind, in order."""
    rows = log.interactions
    found: dict[str, list[str]] = {}
    for user, item in zip(rows.user_ids[rows.user], rows.item_ids[rows.item], strict=True):
        found.setdefault(user, []).append(item)
    return [items for user, items in found.items() if user.startswith(kind)]


def followed_last_time(history: list[str], item: str) -> str | None:
    """The induction oracle: what followed `item` at its latest earlier occurrence, dividers not counted."""
    after = [
        history[i + 1] for i in range(len(history) - 1) if history[i] == item and history[i + 1] != "composed-divider"
    ]
    return after[-1] if after else None


def majority_followed(history: list[str], item: str) -> str | None:
    """What followed `item` most often in the history."""
    after = [history[i + 1] for i in range(len(history) - 1) if history[i] == item]
    return max(set(after), key=after.count) if after else None


def global_successors(users: list[list[str]]) -> dict[str, str]:
    """The Markov-1 table over all users, their last two items left out."""
    counts: dict[str, dict[str, int]] = {}
    for items in users:
        for item, after in zip(items[:-3], items[1:-2], strict=True):
            counts.setdefault(item, {})[after] = counts.get(item, {}).get(after, 0) + 1
    return {item: max(after, key=lambda one: after[one]) for item, after in counts.items()}


def share_right(users: list[list[str]], predict, position: int = -1) -> float:
    """Share of the users whose item at `position` is what `predict` makes of the items before it."""
    return float(np.mean([predict(items[:position]) == items[position] for items in users]))


def test_same_seed_gives_the_same_log_and_another_seed_another():
    first, second = generate(SMALL), generate(SMALL)
    other = generate(SyntheticOptions(n_users=300, seed=1))
    assert first.interactions.to_frame().equals(second.interactions.to_frame())
    assert first.titles == second.titles
    assert not np.array_equal(first.interactions.item[:500], other.interactions.item[:500])


def test_the_rule_holds_across_the_blocks_it_is_drawn_in(monkeypatch):
    """Lengths, kinds and the rule do not depend on where one block of users ends and the next begins."""
    monkeypatch.setattr("layerprobe.data.synthetic.BLOCK", 7)
    log = generate(SMALL)
    assert np.bincount(log.interactions.user).min() >= 41
    searched = histories(log, "induction")
    assert share_right(searched, lambda history: majority_followed(history, history[-1])) >= 0.95
    assert all(item.startswith("induction-") for items in searched for item in items)


def test_shares_lengths_and_columns_are_as_asked():
    log = generate(SMALL)
    lengths = np.bincount(log.interactions.user)
    assert [len(histories(log, kind)) for kind in KINDS] == [60, 0, 120, 120]
    assert (len(lengths), lengths.min(), lengths.max()) == (300, 41, 50)
    assert log.ordered
    assert log.interactions.rating is None
    assert np.array_equal(np.unique(log.interactions.item), np.arange(len(log.interactions.item_ids)))


def test_times_strictly_rise_inside_every_user():
    rows = generate(SMALL).interactions
    assert rows.timestamp is not None
    same_user = np.diff(rows.user) == 0
    assert (np.diff(rows.timestamp)[same_user] > 0).all()
    assert rows.timestamp.min() > 0


def test_every_item_has_a_title_of_its_own_that_carries_its_group():
    log = generate(replace(SMALL, share_markov=0.1, share_lagged=0.1))
    assert log.titles is not None
    assert set(log.titles) == set(log.interactions.item_ids)
    assert len(set(log.titles.values())) == len(log.titles)
    words = {
        kind: {title.split()[2] for item, title in log.titles.items() if item.startswith(kind)} for kind in KINDS[:3]
    }
    assert words == {
        "markov": {"Trail", "Guidebook"},
        "lagged": {"Echo", "Relay"},
        "induction": {"Ritual", "Keepsake"},
    }


@pytest.mark.parametrize("position", [-1, -2])
def test_markov_targets_follow_one_successor_table_of_all_users(position):
    users = histories(generate(SyntheticOptions(n_users=400, share_markov=1.0, share_induction=0.0)), "markov")
    table = global_successors(users)
    assert share_right(users, lambda history: table.get(history[-1]), position) == 1.0


def lagged_rows(**changes) -> np.ndarray:
    """Returns the ranks in the item ids of lagged users of one length, [users, length]."""
    rows = generate(replace(LAGGED, **changes)).interactions
    ranks = np.array([int(name.removeprefix("lagged-")) for name in rows.item_ids])
    return ranks[rows.item].reshape(rows.user.max() + 1, -1)


def cycle_of(items: np.ndarray, lag: int = 2) -> np.ndarray:
    """Returns the successor of every item, as the pairs `lag` columns apart have it; fails where one has two."""
    pairs = np.unique(np.stack([items[:, :-lag].ravel(), items[:, lag:].ravel()], axis=1), axis=0)
    assert np.array_equal(pairs[:, 0], np.arange(items.max() + 1))
    return pairs[:, 1]


@pytest.mark.parametrize("lag", [2, 3, 4])
def test_every_lagged_item_is_the_successor_on_one_cycle_of_the_item_lag_places_before(lag):
    items = lagged_rows(n_users=200, lagged_items=30, noise=0.0, lag=lag)
    after, path = cycle_of(items, lag), [0]
    for _ in range(30):
        path.append(int(after[path[-1]]))
    assert sorted(path[:30]) == list(range(30))
    assert path[30] == 0


@pytest.mark.parametrize("lag", [2, 4])
def test_noise_breaks_the_lagged_rule_only_before_the_last_two_items(lag):
    after = cycle_of(lagged_rows(n_users=200, noise=0.0, lag=lag), lag)
    items = lagged_rows(n_users=2000, noise=0.3, lag=lag)
    followed = (after[items[:, :-lag]] == items[:, lag:]).mean(axis=0)
    np.testing.assert_array_equal(followed[-2:], 1.0)
    np.testing.assert_allclose(followed[:-2], 0.7 + 0.3 / 96, atol=0.05)


def chance_of(n_items: int, n_asked: int) -> object:
    """The share of right guesses among `n_items`, within four standard errors."""
    return pytest.approx(1 / n_items, abs=4 * (1 / n_items * (1 - 1 / n_items) / n_asked) ** 0.5)


@pytest.mark.parametrize("lag", [2, 4])
def test_the_items_after_the_deciding_one_say_nothing_about_the_next_lagged_item(lag):
    """All pairs of an item in between and a target are equally many; a first-order table of half the users guesses."""
    n_users, n_items = 20_000, 8
    items = lagged_rows(n_users=n_users, lagged_items=n_items, min_length=41, max_length=41, lag=lag)
    each, freedom = n_users / n_items**2, n_items**2 - 1
    for target in (-1, -2):
        for back in range(1, lag):
            counts = np.bincount(items[:, target - back] * n_items + items[:, target], minlength=n_items**2)
            assert ((counts - each) ** 2 / each).sum() <= freedom + 4 * (2 * freedom) ** 0.5
    learnt, asked = items[::2], items[1::2]
    table = np.zeros((n_items, n_items))
    np.add.at(table, (learnt[:, :-1], learnt[:, 1:]), 1)
    right = (table.argmax(axis=1)[asked[:, -2]] == asked[:, -1]).mean()
    assert right == chance_of(n_items, len(asked))


def test_lagged_items_change_nothing_where_nobody_is_lagged():
    first, second = generate(SMALL), generate(replace(SMALL, lagged_items=7))
    assert first.interactions.to_frame().equals(second.interactions.to_frame())
    assert first.titles == second.titles


@pytest.mark.parametrize("position", [-1, -2])
def test_induction_targets_need_the_users_own_history(position):
    users = histories(generate(induction_only(SyntheticOptions(n_users=500))), "induction")
    table = global_successors(users)
    assert share_right(users, lambda history: majority_followed(history, history[-1]), position) >= 0.99
    assert share_right(users, lambda history: followed_last_time(history, history[-1]), position) >= 0.85
    assert share_right(users, lambda history: table.get(history[-1]), position) <= 2.5 / 24


def test_bag_of_the_history_cannot_name_an_induction_target():
    """What one attention layer can at least do, naming an item of the history, is right once in 5 to 10 times."""
    users = histories(generate(induction_only(SyntheticOptions(n_users=500))), "induction")
    assert share_right(users, lambda history: max(set(history), key=history.count)) <= 0.3
    assert all(5 <= len(set(items)) <= 10 and items[-1] in items[:-1] for items in users)


@pytest.mark.parametrize("look_ups", [3, 4])
@pytest.mark.parametrize("position", [-1, -2])
def test_composed_targets_need_exactly_h_minus_1_steps_through_the_pairs(look_ups, position):
    options = SyntheticOptions(n_users=300, share_markov=0, share_induction=0, share_composed=1, look_ups=look_ups)
    users = histories(generate(options), "composed")

    def chained(steps: int):
        def predict(history: list[str]) -> str | None:
            listed = history[: history.index("composed-signal")]
            pairs = {listed[i - 2]: listed[i - 1] for i in range(2, len(listed)) if listed[i] == "composed-divider"}
            item = history[-1]
            for _ in range(steps):
                item = pairs.get(item, "")
            return item

        return predict

    right = {steps: share_right(users, chained(steps), position) for steps in range(1, 6)}
    assert right.pop(look_ups - 1) == 1.0
    assert max(right.values()) <= 0.35


def test_no_step_of_a_composed_walk_was_shown_before():
    users = histories(
        generate(SyntheticOptions(n_users=200, share_markov=0, share_induction=0, share_composed=1)), "composed"
    )
    for items in users:
        walk = items[items.index("composed-signal") + 1 :]
        shown = set(zip(items, items[1:], strict=False))
        listed = set(zip(items[: -len(walk)], items[1 : -len(walk)], strict=False))
        assert len(walk) == len(set(walk)) == 5
        assert not listed & set(zip(walk, walk[1:], strict=False))
        assert len(shown) > len(listed)


@pytest.mark.parametrize(
    ("owned", "candidates", "left"),
    [
        (5, lambda walked, after: {*after} - {*walked}, 1),
        (7, lambda walked, after: {after[walked[0]]}, 1),
        (9, lambda walked, after: {*after} - {*walked} - {after[item] for item in walked}, 1),
        (11, lambda walked, after: {*after} - {*walked} - {after[item] for item in walked}, 3),
    ],
)
def test_last_target_of_a_short_composed_cycle_can_be_told_without_chaining_pairs(owned, candidates, left):
    """The limit of h = 3: what is neither walked nor a successor of that is one item of 9, and three of 11."""
    options = SyntheticOptions(
        n_users=100, share_markov=0, share_induction=0, share_composed=1, private_min=owned, private_max=owned
    )
    for items in histories(generate(options), "composed"):
        signal = items.index("composed-signal")
        after = {items[i - 2]: items[i - 1] for i in range(2, signal) if items[i] == "composed-divider"}
        found = candidates(items[signal + 1 : -1], after)
        assert items[-1] in found
        assert len(found) == left


def test_noise_breaks_the_rule_only_before_the_last_two_items():
    def share_followed(noise: float, position: int) -> float:
        options = SyntheticOptions(n_users=400, share_markov=1.0, share_induction=0.0, noise=noise, popularity_skew=0)
        users = histories(generate(options), "markov")
        table = global_successors(users)
        return share_right(users, lambda history: table.get(history[-1]), position)

    assert share_followed(0.0, -3) == 1.0
    assert share_followed(0.4, -3) == pytest.approx(0.6, abs=0.08)
    assert share_followed(0.4, -2) == share_followed(0.4, -1) == 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_skew_makes_low_ranks_popular(kind):
    def share_of_first_quarter(skew: float) -> float:
        shares = {f"share_{name}": float(name == kind) for name in KINDS}
        options = SyntheticOptions(
            n_users=400, markov_items=24, lagged_items=24, noise=0.5, popularity_skew=skew, **shares
        )
        log = generate(options).interactions
        ranks = [name.split("-")[1] for name in log.item_ids[log.item]]
        return float(np.mean([int(rank) < 6 for rank in ranks if rank.isdigit()]))

    assert share_of_first_quarter(0.0) == pytest.approx(0.25, abs=0.04)
    assert share_of_first_quarter(1.5) >= 0.35


@pytest.mark.parametrize(
    ("options", "depth"),
    [
        (SyntheticOptions(share_markov=1, share_induction=0), 0),
        (SyntheticOptions(share_markov=0.9, share_lagged=0.1, share_induction=0), 1),
        (SyntheticOptions(share_markov=0, share_lagged=0.9, share_induction=0.1), 2),
        (induction_only(), 2),
        (induction_only(LAGGED), 2),
        (SyntheticOptions(share_markov=0.9, share_induction=0, share_composed=0.1, look_ups=3), 3),
        (SyntheticOptions(share_markov=0.9, share_induction=0, share_composed=0.1, look_ups=4), 4),
        (SyntheticOptions(share_markov=0.9, share_induction=0, share_composed=0.1, look_ups=5, private_max=9), 4),
    ],
)
def test_needed_depth_is_that_of_the_hardest_kind(options, depth):
    assert needed_depth(options) == depth


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"share_markov": 0.5}, "must add up to 1; got 0.5, 0.0, 0.6, 0.0"),
        ({"share_lagged": 0.1}, "must add up to 1"),
        ({"share_markov": -0.1, "share_induction": 1.1}, r"share_markov must lie in [0, 1]; got -0.1"),
        ({"n_users": 0}, "n_users must be at least 1; got 0"),
        ({"markov_items": 1}, "markov_items"),
        ({"lagged_items": 1}, "lagged_items must be at least 2; got 1"),
        ({"lag": 1}, "lag must be at least 2; got 1"),
        ({"lag": 62}, "lag must be less than min_length - 2, 62; got 62"),
        ({"look_ups": 2}, "look_ups must be at least 3; got 2"),
        ({"private_min": 4}, "private_min"),
        ({"private_min": 6, "private_max": 5}, "private_max must be at least private_min"),
        ({"popularity_skew": -1.0}, "popularity_skew"),
        ({"seed": -1}, "seed"),
        ({"noise": 1.0}, "noise must lie in [0, 1); got 1.0"),
        ({"max_length": 63}, "max_length must be at least min_length, 64; got 63"),
        ({"min_length": 40}, "min_length must be more than 4 times private_max, 40"),
        ({"induction_items": 9}, "induction_items must be at least private_max, 10"),
        ({"composed_items": 9}, "composed_items must be at least private_max, 10"),
        (
            {"share_markov": 0, "share_composed": 0.4, "private_min": 6, "private_max": 6},
            "a number without a common divisor with look_ups - 1 = 2; got 6 to 6",
        ),
    ],
)
def test_bad_options_are_refused_with_the_rule(changes, part):
    with pytest.raises(InputError) as caught:
        SyntheticOptions(**changes)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
