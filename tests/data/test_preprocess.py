"""Preprocessing steps: what each keeps, in which order, and what is counted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from layerprobe.data.interactions import Interactions, from_columns
from layerprobe.data.preprocess import PreprocessOptions, StepCount, k_core_rows, preprocess
from layerprobe.errors import InputError


def log_of(pairs: str, ratings: list[float] | None = None) -> Interactions:
    """`"ax ay bx"` -> user a met x and y, user b met x."""
    words = pairs.split()
    user, item = np.array([word[0] for word in words]), np.array([word[1:] for word in words])
    return from_columns(user, item, np.arange(len(words)), None if ratings is None else np.array(ratings))


def pairs_of(log: Interactions) -> str:
    return " ".join(f"{log.user_ids[u]}{log.item_ids[i]}" for u, i in zip(log.user, log.item, strict=True))


def naive_core(rows: list[tuple[int, int]], min_user: int, min_item: int) -> set[tuple[int, int]]:
    """Removes one weak user or item at a time, from sets: nothing in common with the code under test."""
    left = set(rows)
    while True:
        users, items = Counter(u for u, _ in left), Counter(i for _, i in left)
        weak_user = next((u for u in users if users[u] < min_user), None)
        weak_item = next((i for i in items if items[i] < min_item), None)
        if weak_user is None and weak_item is None:
            return left
        left = {(u, i) for u, i in left if u != weak_user and (weak_user is not None or i != weak_item)}


@pytest.mark.parametrize(("min_user", "min_item"), [(2, 2), (4, 3), (1, 6), (5, 1), (9, 9)])
def test_k_core_equals_removal_one_by_one(min_user: int, min_item: int) -> None:
    generator = np.random.default_rng(min_user * 10 + min_item)
    rows = sorted({(int(u), int(i)) for u, i in generator.integers(0, 30, (150, 2))})
    user, item = np.array(rows).T
    kept = k_core_rows(user, item, min_user, min_item)
    assert {rows[row] for row in np.flatnonzero(kept)} == naive_core(rows, min_user, min_item)


def test_k_core_needs_more_than_one_round() -> None:
    # y falls (1 row), so a falls (1 row left), so x keeps 2 rows of b and c, who both have z too
    kept, steps = preprocess(log_of("ax ay bx bz cx cz"), PreprocessOptions(None, "k-core", 2, 2))
    assert pairs_of(kept) == "bx bz cx cz"
    assert steps[-1] == StepCount("k-core: users >= 2, items >= 2", 2, 2, 4)


def test_one_pass_counts_users_and_items_once_on_the_same_rows() -> None:
    # counted once: item y has 2 rows although user a, who gives one of them, falls for his single row
    kept, steps = preprocess(log_of("ay bx by cx cz"), PreprocessOptions(None, "one-pass", 2, 2))
    # step 1 drops a (1 row) and z (1 row); y stays with 1 row; step 2 drops c, whose z went
    assert pairs_of(kept) == "bx by"
    assert [(step.users, step.items, step.interactions) for step in steps] == [
        (3, 3, 5),
        (2, 2, 3),
        (1, 2, 2),
        (1, 2, 2),
    ]


def test_one_pass_drops_users_again_after_repeats() -> None:
    options = PreprocessOptions(None, "one-pass", 2, 1, drop_repeats=True)
    kept, steps = preprocess(log_of("ax ax bx by bx"), options)
    assert pairs_of(kept) == "bx by"
    assert [step.step for step in steps] == [
        "read",
        "users >= 2, items >= 1, counted once",
        "users >= 2, second time",
        "repeats dropped, first kept",
        "users >= 2, last time",
    ]
    assert [step.interactions for step in steps] == [5, 5, 5, 3, 2]


def test_k_core_counts_after_repeats_are_gone() -> None:
    options = PreprocessOptions(None, "k-core", 2, 2, drop_repeats=True)
    kept, _ = preprocess(log_of("ax ax ay bx by cy cy"), options)
    assert pairs_of(kept) == "ax ay bx by"


def test_repeats_keep_the_first_row_in_the_order_given() -> None:
    kept, _ = preprocess(log_of("ax ay ax bx ay"), PreprocessOptions(drop_repeats=True))
    assert pairs_of(kept) == "ax ay bx"
    assert kept.timestamp is not None
    assert kept.timestamp.tolist() == [0, 1, 3]


def test_rating_threshold_keeps_the_bound_itself() -> None:
    kept, steps = preprocess(log_of("ax ay bx by", [2.5, 3.0, 5.0, 1.0]), PreprocessOptions(min_rating=3))
    assert pairs_of(kept) == "ay bx"
    assert steps == [StepCount("read", 2, 2, 4), StepCount("rating >= 3", 2, 2, 2)]


def test_without_options_nothing_is_dropped() -> None:
    log = log_of("ax ax by")
    kept, steps = preprocess(log, PreprocessOptions())
    assert pairs_of(kept) == "ax ax by"
    assert steps == [StepCount("read", 2, 2, 3)]


@pytest.mark.parametrize(
    ("options", "step"),
    [
        (PreprocessOptions(min_rating=6), "rating >= 6"),
        (PreprocessOptions(None, "k-core", 3, 1), "k-core: users >= 3, items >= 1"),
        (PreprocessOptions(None, "one-pass", 9, 1), "users >= 9, items >= 1, counted once"),
        (PreprocessOptions(None, "one-pass", 2, 2), "users >= 2, second time"),
        (PreprocessOptions(None, "one-pass", 2, 1, drop_repeats=True), "users >= 2, last time"),
    ],
)
def test_a_step_that_leaves_nothing_is_named(options: PreprocessOptions, step: str) -> None:
    logs = {"users >= 2, second time": "ax ay bx bz", "users >= 2, last time": "ax ax"}
    log = log_of(logs.get(step, "ax ay bx by"))
    log = Interactions(log.user, log.item, log.timestamp, np.full(len(log), 5.0), log.user_ids, log.item_ids)
    with pytest.raises(InputError) as raised:
        preprocess(log, options)
    assert f"'{step}'" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_rating_threshold_without_ratings_is_refused() -> None:
    with pytest.raises(InputError, match="needs ratings"):
        preprocess(log_of("ax ay"), PreprocessOptions(min_rating=3))


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"filter": "core"}, "one of 'none', 'k-core', 'one-pass'"),
        ({"min_user": 0}, "at least 1"),
        ({"min_item": -2, "filter": "k-core"}, "at least 1"),
        ({"min_user": 5}, "filter = none would ignore"),
        ({"filter": "k-core"}, "above 1"),
    ],
)
def test_options_that_would_be_ignored_are_refused(options: dict, part: str) -> None:
    with pytest.raises(InputError, match=part):
        PreprocessOptions(**options)
