"""Histories for timing: drawn with the lengths of a public data set, or read from a prepared data folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from layerprobe.data.prepare import load_prepared
from layerprobe.data.sequences import Sequences
from layerprobe.data.splits import Split


@dataclass(frozen=True)
class Lengths:
    """Items per user: `shortest` plus a log-normal draw rounded down, at most `longest`; items are drawn uniformly."""

    users: int
    items: int
    shortest: int
    longest: int
    mean_log: float
    spread_log: float


BEAUTY = Lengths(users=22_363, items=12_101, shortest=5, longest=204, mean_log=0.65, spread_log=1.29)
"""Like Amazon Beauty 2014, 5-core, whose lengths have minimum 5, median 6, mean 8.9 and maximum 204."""
MOVIELENS = Lengths(users=943, items=1_682, shortest=20, longest=737, mean_log=3.84, spread_log=1.22)
"""Like MovieLens 100K, whose lengths have minimum 20, median 65, mean 106 and maximum 737."""


def drawn(like: Lengths, users: int | None = None, seed: int = 0) -> Split:
    """Returns seeded histories with such lengths; `users` None draws as many as the data set has."""
    generator = np.random.default_rng(seed)
    extra = np.exp(generator.normal(like.mean_log, like.spread_log, like.users if users is None else users))
    lengths = np.minimum(like.shortest + extra.astype(np.int64), like.longest)
    items = generator.integers(1, like.items, size=int(lengths.sum()), endpoint=True)
    return Split(Sequences(items, np.concatenate([[0], np.cumsum(lengths)]), like.items))


def prepared(folder: Path) -> Split:
    """Returns the histories of a folder that `layerprobe prepare` wrote."""
    return load_prepared(folder).split


def described(split: Split) -> str:
    """Returns users, items and lengths in words."""
    lengths = split.sequences.lengths
    return (
        f"{split.sequences.n_users:,} users, {split.sequences.n_items:,} items; items per user: minimum "
        f"{lengths.min()}, median {np.median(lengths):.0f}, mean {lengths.mean():.1f}, maximum {lengths.max()}"
    )
