"""The floors that stand on every depth curve: popularity, Markov-1, Markov-1 of the past and TF-IDF of the last item.

They take the training part of a split (and titles) and score the whole catalogue like any model. No training, no
parameters. Their scores are counts or come from one fixed order of operations, so equal items tie exactly.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Protocol

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from layerprobe.data.batches import SequenceBatch
from layerprobe.data.catalogue import Catalogue
from layerprobe.data.splits import Split
from layerprobe.errors import InputError
from layerprobe.kinds import SCORED_FLOORS

WORDLESS = (
    "the titles must hold words of two or more characters, which the TF-IDF baseline compares; no title holds one: "
    "name their column (read.title_column), or read the log without titles: leave read.items_path out, or take the "
    "items file out of its folder"
)
WORD = re.compile(r"\w\w+")


class Floor(Protocol):
    """A scorer without training, as `evaluation.ranks.Scorer`, and how it is made from a log."""

    names: tuple[str, ...]
    max_len: int

    @classmethod
    def of(cls, split: Split, catalogue: Catalogue) -> Floor | None:
        """Returns the floor of a log, or None where the log lacks what the floor needs."""
        ...

    def scores(self, batch: SequenceBatch) -> Iterator[torch.Tensor]:
        """Yields the scores [batch, n_items + 1]."""
        ...


def floors(split: Split, catalogue: Catalogue, without: Collection[str] = ()) -> list[Floor]:
    """Returns the floors of `kinds` that this log can be scored by (TF-IDF needs titles).

    Args:
        split: the log.
        catalogue: its items.
        without: names of floors that are not built: counting pairs and words takes time on a large log.
    """
    wanted = [kind for kind in SCORED_FLOORS if kind.name not in without]
    classes: list[type[Floor]] = [globals()[str(kind.scorer)] for kind in wanted]
    return [floor for floor_class in classes if (floor := floor_class.of(split, catalogue)) is not None]


class Popularity:
    """Scores an item by its number of training interactions; equal counts tie."""

    names: tuple[str, ...] = ("popularity",)
    max_len: int = 1

    @classmethod
    def of(cls, split: Split, catalogue: Catalogue) -> Popularity:  # noqa: ARG003 - every floor is made alike
        """Returns the floor of a log."""
        return cls(split)

    def __init__(self, split: Split) -> None:
        self._counts = torch.from_numpy(split.train_counts().astype(np.float32))

    def scores(self, batch: SequenceBatch) -> Iterator[torch.Tensor]:
        """Yields the counts [batch, n_items + 1], the same for every user."""
        yield self._counts.expand(len(batch), -1)  # a view: one row of memory for all users


class Markov1:
    """Scores an item by how often it followed the user's last item in training.

    The score of b after a is the number of neighbours (a, b) in the training sequences; equal counts tie. Items that
    never followed a come after all that did, by popularity: their score is popularity / (largest popularity + 1),
    which lies below 1.
    """

    names: tuple[str, ...] = ("markov-1",)
    max_len: int = 1

    @classmethod
    def of(cls, split: Split, catalogue: Catalogue) -> Markov1:  # noqa: ARG003 - every floor is made alike
        """Returns the floor of a log."""
        return cls(split)

    def __init__(self, split: Split) -> None:
        counts = split.train_counts()
        # Below 1, so it orders the items that never followed and stays under every pair's whole count.
        self._fallback = torch.from_numpy((counts / (counts.max() + 1)).astype(np.float32))
        self._pairs = _pair_counts(split)

    def scores(self, batch: SequenceBatch) -> Iterator[torch.Tensor]:
        """Yields the scores [batch, n_items + 1]."""
        scores = self._fallback.repeat(len(batch), 1)  # [batch, n_items + 1]
        followers = self._pairs[_last_items(batch)]  # sparse [batch, n_items + 1]
        row = np.repeat(np.arange(len(batch)), np.diff(followers.indptr))
        scores[torch.from_numpy(row), torch.from_numpy(followers.indices).long()] = torch.from_numpy(followers.data)
        yield scores


class PastMarkov1:
    """Markov-1 whose counts, per target, come from the training rows before the target alone.

    The score of b after a is the number of neighbours (a, b) in the training sequences whose b is earlier than the
    target; the order of the others is that of `Markov1`, by popularity among the earlier training rows. So it is what
    Markov-1 could have known at that moment, and the difference between the two is what leave-one-out lends it of the
    future. A split by time needs no such floor.
    """

    names: tuple[str, ...] = ("markov-1-past",)
    max_len: int = 1

    @classmethod
    def of(cls, split: Split, catalogue: Catalogue) -> PastMarkov1 | None:  # noqa: ARG003 - every floor is made alike
        """Returns the floor of a log, or None where it has no times or is split by time."""
        return None if split.times is None or split.cuts is not None else cls(split)

    def __init__(self, split: Split) -> None:
        if split.times is None:
            raise InputError("past counts need the times of a log; this one has none; leave out the floor")
        self._times, self._n_columns = split.times, split.sequences.n_items + 1
        trained, follows = np.flatnonzero(split.train_mask()), _following(split)
        trained = trained[np.argsort(split.times[trained], kind="stable")]
        self._row_times, self._row_items = split.times[trained], split.sequences.items[trained]  # by time
        order = np.lexsort((split.times[follows], split.sequences.items[follows - 1]))
        follows = follows[order]  # by the item before it and then by time
        self._moments = np.unique(split.times[follows])
        self._base = len(self._moments) + 1
        places = np.searchsorted(self._moments, split.times[follows])
        # One number per item and time, in the order of both.
        self._pair_keys = split.sequences.items[follows - 1] * self._base + places
        self._followers = split.sequences.items[follows]

    def scores(self, batch: SequenceBatch) -> Iterator[torch.Tensor]:
        """Yields the scores [batch, n_items + 1]; the batch must be of held-out targets, whose times are known."""
        moments = self._times[batch.flat.numpy() + 1]  # the target is the row after the last of the history
        counts = self._earlier_counts(moments)  # [batch, n_items + 1]
        scores = np.divide(counts, counts.max(axis=1, keepdims=True) + 1, out=counts)
        last = _last_items(batch)
        start = np.searchsorted(self._pair_keys, last * self._base)
        before = np.searchsorted(self._moments, moments)  # distinct times of pairs that are earlier, [batch]
        n_pairs = np.searchsorted(self._pair_keys, last * self._base + before) - start  # [batch]
        row = np.repeat(np.arange(len(batch)), n_pairs)
        place = np.arange(len(row)) - np.repeat(np.cumsum(n_pairs) - n_pairs, n_pairs) + start[row]
        cells, times_met = np.unique(row * self._n_columns + self._followers[place], return_counts=True)
        scores.reshape(-1)[cells] = times_met
        yield torch.from_numpy(scores)

    def _earlier_counts(self, moments: np.ndarray) -> np.ndarray:
        """Counts, per moment, the training rows of each item before it, float32 [moments, n_items + 1]."""
        order = np.argsort(moments, kind="stable")
        n_rows = np.searchsorted(self._row_times, moments[order])  # rows before each moment, rising
        # Each row counts from the first moment behind it on: put there once, then added up over the moments.
        first = np.searchsorted(n_rows, np.arange(n_rows[-1]), side="right")
        cells = first * self._n_columns + self._row_items[: n_rows[-1]]
        steps = np.bincount(cells, minlength=len(moments) * self._n_columns).reshape(len(moments), -1)
        counts = np.cumsum(steps, axis=0, dtype=np.float32)  # whole numbers below 2^24: exact
        return counts[np.argsort(order)]


class TfIdf:
    """Scores an item by the cosine between the TF-IDF rows of its title and of the last item's title.

    Words are lower-case runs of two or more letters, digits or underscores. The weight of a word in a title is its
    count times ln((1 + N) / (1 + df)) + 1, with N items of which df have the word. Items without a common word score
    0 and tie.

    Raises:
        InputError: the catalogue has no titles, or no title holds a word.
    """

    names: tuple[str, ...] = ("tfidf",)
    max_len: int = 1

    @classmethod
    def of(cls, split: Split, catalogue: Catalogue) -> TfIdf | None:
        """Returns the floor of a log, or None where its items have no titles."""
        return None if catalogue.titles is None else cls(split, catalogue)

    def __init__(self, split: Split, catalogue: Catalogue) -> None:
        if catalogue.titles is None:
            raise InputError("TF-IDF needs item titles; this catalogue has none")
        if catalogue.n_items != split.sequences.n_items:
            raise InputError(f"the catalogue must hold {split.sequences.n_items} items; it holds {catalogue.n_items}")
        self._rows = _tfidf_rows(catalogue.titles)
        self._columns = self._rows.T.tocsr()  # [words, n_items + 1]; converted once, not in every product

    def scores(self, batch: SequenceBatch) -> Iterator[torch.Tensor]:
        """Yields the cosines [batch, n_items + 1]."""
        # Users who share a last item share a row, so each row is computed once.
        last, row = np.unique(_last_items(batch), return_inverse=True)
        cosines = (self._rows[last] @ self._columns).astype(np.float32).toarray()  # [different last items, n_items + 1]
        yield torch.from_numpy(cosines)[torch.from_numpy(row)]  # [batch, n_items + 1]


def require_words(catalogue: Catalogue) -> None:
    """Makes sure that the titles of a catalogue, where it has any, can be compared.

    Raises:
        InputError: no title holds a word.
    """
    if catalogue.titles is not None and not any(WORD.search(title) for title in catalogue.titles):
        raise InputError(WORDLESS)


def _last_items(batch: SequenceBatch) -> np.ndarray:
    return batch.items[torch.arange(len(batch)), batch.lengths - 1].numpy()


def _following(split: Split) -> np.ndarray:
    """Returns the places of the training items that follow another item of their user, ascending."""
    first_of_user = np.zeros(len(split.sequences.items) + 1, dtype=bool)
    first_of_user[split.sequences.offsets] = True
    # A user's first item follows nothing: the item before it belongs to another user.
    return np.flatnonzero(split.train_mask() & ~first_of_user[:-1])


def _pair_counts(split: Split) -> sp.csr_array:
    """Counts training neighbours: entry (a, b) of [n_items + 1, n_items + 1] is how often b came right after a."""
    sequences, follows = split.sequences, _following(split)
    pairs = sequences.items[follows - 1], sequences.items[follows]
    size = sequences.n_items + 1
    return sp.coo_array((np.ones(len(follows), dtype=np.float32), pairs), shape=(size, size)).tocsr()


def _tfidf_rows(titles: np.ndarray) -> sp.csr_array:
    """Returns rows of length 1 (or 0 without words), row i + 1 for title i, row 0 (padding) empty."""
    words = pd.Series(list(map(str, titles)), dtype=str).str.lower().map(WORD.findall).explode().dropna()
    if words.empty:
        raise InputError(WORDLESS)
    codes, vocabulary = pd.factorize(words)
    shape = (len(titles) + 1, len(vocabulary))
    ones = np.ones(len(codes))
    counts = sp.coo_array((ones, (words.index.to_numpy() + 1, codes)), shape=shape).tocsr()
    counts.sort_indices()  # one order of summation for every title, so that equal titles score equally to the last bit
    with_word = np.bincount(counts.indices, minlength=shape[1])
    counts.data *= np.log((1 + len(titles)) / (1 + with_word[counts.indices])) + 1
    norms = np.sqrt(counts.multiply(counts).sum(axis=1))
    counts.data /= np.repeat(norms, np.diff(counts.indptr))
    return counts
