"""What the users of the built-in data are drawn from: popularity, items of their own, listed pairs, walks on cycles.

Takes plain sizes and a generator, hands places and items to `data.synthetic`, which says what they mean.
"""

from __future__ import annotations

import numpy as np

PAIR = 3  # item, successor, divider


def popularity(n_items: int, skew: float) -> np.ndarray:
    """Returns probabilities proportional to `rank ** -skew`, rank 1 first, shape (n_items,)."""
    weights = np.arange(1, n_items + 1, dtype=np.float64) ** -skew
    return weights / weights.sum()


def private_items(weights: np.ndarray, n_owned: int, n_users: int, generator: np.random.Generator) -> np.ndarray:
    """Returns `n_owned` different items per user in random order, drawn by weight, [users, n_owned].

    Largest keys log(weight) + Gumbel noise = weighted draws without replacement (Efraimidis and Spirakis 2006).
    """
    keys = np.log(weights) + generator.gumbel(size=(n_users, len(weights)))
    largest = np.argpartition(-keys, n_owned - 1, axis=1)[:, :n_owned]  # [users, n_owned], in no useful order
    return generator.permuted(largest, axis=1)


def listed_pairs(sizes: np.ndarray, most: int, n_pairs: int, generator: np.random.Generator) -> np.ndarray:
    """Returns the place of each listed pair's first item, [users, pairs]: every place once, then at random.

    Args:
        sizes: places on each user's cycle, shape (n_users,), at most `most`.
        most: places on the largest possible cycle.
        n_pairs: pairs to list, more than `most`.
        generator: source of the draws.
    """
    keys = generator.integers(0, sizes[:, None], (len(sizes), n_pairs))
    owned = np.arange(most)[None, :] < sizes[:, None]  # [users, most]
    # A random order of the places that exist: 2 is above every draw, so the others come last.
    once = np.argsort(np.where(owned, generator.random(owned.shape), 2.0), axis=1)
    keys[:, :most] = np.where(owned, once, keys[:, :most])
    return keys


def walk(
    starts: np.ndarray,
    sizes: np.ndarray,
    lengths: np.ndarray,
    noise: float,
    generator: np.random.Generator,
    lag: int = 1,
) -> np.ndarray:
    """Returns places on cycles: one step after the place `lag` columns before, or a new start.

    With a lag above 1 that many walks take turns, each with its own starts. The last two columns of every length never
    restart, since they hold the validation and the test target.

    Args:
        starts: the place at which a walk begins if it starts in that column, [users, columns].
        sizes: places on each user's cycle, shape (n_users,).
        lengths: columns each user fills, shape (n_users,), at least 2 + `lag`.
        noise: probability that a walk restarts in a column; in its first column it always starts.
        generator: source of the draws.
        lag: columns from one step of a walk to its next.
    """
    restarts = generator.random(starts.shape) < noise  # [users, columns]
    restarts &= np.arange(starts.shape[1])[None, :] < (lengths - 2)[:, None]
    places = np.empty_like(starts)
    for first in range(lag):
        places[:, first::lag] = _one_walk(starts[:, first::lag], sizes, restarts[:, first::lag])
    return places


def _one_walk(starts: np.ndarray, sizes: np.ndarray, restarts: np.ndarray) -> np.ndarray:
    column = np.arange(starts.shape[1])[None, :]
    since = np.maximum.accumulate(np.where(restarts, column, 0), axis=1)  # the latest restart up to each column
    return (np.take_along_axis(starts, since, axis=1) + column - since) % sizes[:, None]
