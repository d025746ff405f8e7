from __future__ import annotations

from collections.abc import Callable
from math import log, sqrt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from layerprobe import columns
from layerprobe.data.batches import history_batch
from layerprobe.data.catalogue import Catalogue, build_catalogue
from layerprobe.data.sequences import Sequences
from layerprobe.data.splits import Split
from layerprobe.errors import InputError
from layerprobe.evaluation.metrics import hit_rate, ndcg
from layerprobe.evaluation.ranks import Protocols, Scorer, rank_targets
from layerprobe.recommender.baselines import Markov1, Popularity, TfIdf


def split_of(*histories: list[int], n_items: int) -> Split:
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in histories])])
    return Split(Sequences(np.concatenate(histories).astype(np.int64), offsets, n_items))


def scores_after(scorer: Scorer, *histories: list[int]) -> torch.Tensor:
    (scores,) = scorer.scores(history_batch([np.array(history) for history in histories], scorer.max_len))
    return scores


# The last two items of a user with three or more are held out: 5 and 6 are never training items.
SPLIT = split_of([1, 2, 1, 2, 3, 5, 6], [2, 1, 5, 6], [4, 2], n_items=6)
TITLES = ["Red lipstick, RED", "red lipstick red", "Blue nail polish", "a 5 !", "", "polish of 5"]
CATALOGUE = Catalogue(np.array(list("abcdef"), dtype=object), np.array(TITLES, dtype=object))


def test_popularity_counts_training_items_only() -> None:
    scores = scores_after(Popularity(SPLIT), [1], [2, 3])
    assert scores[:, 1:].tolist() == [[3, 4, 1, 1, 0, 0]] * 2


def test_markov_counts_training_neighbours_inside_a_user() -> None:
    scores = scores_after(Markov1(SPLIT), [1], [5, 2], [4])
    # After 1: 2 twice. After 2: 1 twice and 3 once. After 4: 2 once; 1 -> 4 and 3 -> 2 cross users.
    assert scores[0, 2] == 2
    assert scores[1, [1, 3]].tolist() == [2, 1]
    assert scores[2, 2] == 1
    assert (scores >= 1).sum(dim=1).tolist() == [1, 2, 1]


def test_items_that_never_followed_come_last_by_popularity() -> None:
    scores = scores_after(Markov1(SPLIT), [1], [6])
    assert torch.argsort(scores[0, 1:], descending=True, stable=True).tolist() == [1, 0, 2, 3, 4, 5]
    assert scores[1, 1:].tolist() == pytest.approx([3 / 5, 4 / 5, 1 / 5, 1 / 5, 0, 0])
    assert scores[1, 3] == scores[1, 4]


def test_tfidf_is_the_cosine_of_weighted_words() -> None:
    scores = scores_after(TfIdf(SPLIT, CATALOGUE), [3])
    # N = 6; "blue", "nail" and "of" stand in one title each, "polish" in two; single characters are no words.
    once, twice = log(7 / 2) + 1, log(7 / 3) + 1
    blue = sqrt(2 * once**2 + twice**2)
    of = sqrt(once**2 + twice**2)
    assert scores[0].tolist() == pytest.approx([0, 0, 0, 1, 0, 0, twice**2 / (blue * of)], abs=1e-7)


def test_tfidf_equals_the_dense_formula_on_random_titles() -> None:
    generator = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(30)])
    titles = np.array(
        [" ".join(generator.choice(words, size=size)) for size in generator.integers(1, 9, 40)], dtype=object
    )
    catalogue = Catalogue(np.arange(40).astype(str).astype(object), titles)
    counts = np.array([[title.split().count(word) for word in words] for title in titles], dtype=float)
    weights = counts * (np.log(41 / (1 + (counts > 0).sum(axis=0))) + 1)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    scores = scores_after(TfIdf(split_of([1, 2, 40], n_items=40), catalogue), *([i] for i in range(1, 41)))
    np.testing.assert_allclose(scores[:, 1:], weights @ weights.T, atol=1e-6)


def test_equal_words_tie_exactly_whatever_case_and_order() -> None:
    titles = ["cat dog mouse bird"] + ["Mouse Cat, bird", "bird mouse CAT", "cat bird mouse", "dog horse fish"] * 2
    catalogue = Catalogue(np.arange(9).astype(str).astype(object), np.array(titles, dtype=object))
    scores = scores_after(TfIdf(split_of([1, 2, 9], n_items=9), catalogue), [1])[0]
    assert len({float(scores[i]) for i in (2, 3, 4, 6, 7, 8)}) == 1
    assert scores[5] == scores[9]


@pytest.mark.parametrize("make", [Popularity, Markov1, lambda split: TfIdf(split, CATALOGUE)])
def test_a_floor_scores_every_item_and_does_not_depend_on_the_batch(make: Callable[[Split], Scorer]) -> None:
    scorer = make(SPLIT)
    histories = [[1, 2], [3], [2, 2, 5], [3]]
    together = scores_after(scorer, *histories)
    assert together.shape == (4, 7)
    assert together.dtype == torch.float32
    for row, history in enumerate(histories):
        assert torch.equal(scores_after(scorer, history)[0], together[row])


@pytest.mark.parametrize(
    ("titles", "message"),
    [
        (None, "needs item titles; this catalogue has none"),
        (["", "a", "5", "!", "", ""], "baseline compares; no title holds one"),
        (["ab", "cd"], "must hold 6 items; it holds 2"),
    ],
)
def test_tfidf_says_why_it_cannot_be_made(titles: list[str] | None, message: str) -> None:
    ids = np.arange(6 if titles is None else len(titles)).astype(str).astype(object)
    catalogue = Catalogue(ids, None if titles is None else np.array(titles, dtype=object))
    with pytest.raises(InputError, match=message):
        TfIdf(SPLIT, catalogue)


def read(folder: Path) -> tuple[Split, Catalogue]:
    log = pd.read_csv(folder / "interactions.csv.gz", dtype=str)
    items = pd.read_csv(folder / "items.csv.gz", dtype=str, keep_default_na=False)
    titles = dict(zip(items[columns.ITEM], items[columns.TITLE], strict=True))
    catalogue = build_catalogue(log[columns.ITEM].unique(), titles, seed=0)
    users, _ = pd.factorize(log[columns.USER])
    offsets = np.concatenate([[0], np.cumsum(np.bincount(users))])
    return Split(Sequences(catalogue.index_of(log[columns.ITEM].tolist()), offsets, catalogue.n_items)), catalogue


@pytest.fixture(scope="module")
def beauty(shared_data: Path) -> tuple[Split, Catalogue]:
    return read(shared_data / "amazon-beauty")


@pytest.fixture(scope="module")
def games(shared_data: Path) -> tuple[Split, Catalogue]:
    return read(shared_data / "amazon-games")


def quality(scorer: Scorer, split: Split) -> tuple[float, float]:
    ranks = rank_targets(scorer, split, ["test"], Protocols(sampled=None))[scorer.names[0]]
    n_higher, n_ties = ranks[columns.N_HIGHER].to_numpy(), ranks[columns.N_TIES].to_numpy()
    return float(hit_rate(n_higher, n_ties, 10).mean()), float(ndcg(n_higher, n_ties, 10).mean())


FLOORS = {"popularity": Popularity, "markov-1": Markov1}


@pytest.mark.parametrize(
    ("floor", "expected"),
    [("popularity", (0.0115, 0.0054)), ("markov-1", (0.0645, 0.0434)), ("tfidf", (0.0674, 0.0428))],
)
def test_the_floors_of_beauty_are_met(
    beauty: tuple[Split, Catalogue], floor: str, expected: tuple[float, float]
) -> None:
    split, catalogue = beauty
    scorer = TfIdf(split, catalogue) if floor == "tfidf" else FLOORS[floor](split)
    assert quality(scorer, split) == pytest.approx(expected, abs=0.0005)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("floor", "expected"),
    [("popularity", (0.0107, 0.0059)), ("markov-1", (0.0616, 0.0392)), ("tfidf", (0.0401, 0.0238))],
)
def test_the_floors_of_games_are_met(games: tuple[Split, Catalogue], floor: str, expected: tuple[float, float]) -> None:
    split, catalogue = games
    scorer = TfIdf(split, catalogue) if floor == "tfidf" else FLOORS[floor](split)
    assert quality(scorer, split) == pytest.approx(expected, abs=0.0005)


def test_titles_of_other_items_are_worth_nothing(beauty: tuple[Split, Catalogue]) -> None:
    everyone, catalogue = beauty
    assert catalogue.titles is not None
    offsets = everyone.sequences.offsets[:6001]
    split = Split(Sequences(everyone.sequences.items[: offsets[-1]], offsets, catalogue.n_items))
    shuffled = Catalogue(catalogue.item_ids, np.random.default_rng(0).permutation(catalogue.titles))
    chance = 10 / catalogue.n_items
    assert quality(TfIdf(split, shuffled), split)[0] < 2 * chance
