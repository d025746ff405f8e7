"""Seeded uniform negatives for the protocol `sampled-n`: the same for every model and every epoch.

Takes a split, hands on the candidates that a target is ranked among. Queries are drawn in blocks of a fixed size, each
block with its own generator, so that the draws of a user never depend on which users are ranked together.
"""

from __future__ import annotations

import numpy as np

from layerprobe.data.catalogue import PADDING
from layerprobe.data.sequences import Sequences
from layerprobe.data.splits import PARTS, Part, Split
from layerprobe.errors import InputError

BLOCK = 128
"""Queries that share one generator. Part of the definition: another size gives other negatives."""
SLACK = 6.0
"""Spare draws in standard deviations, so that a block seldom has to be drawn a second time. Part of the definition."""


def sampled_negatives(split: Split, part: Part, n: int, seed: int, rows: np.ndarray) -> np.ndarray:
    """Draws `n` items per query, uniformly and without replacement, among the items the user never met.

    "Never met" means not in the user's whole sequence, held-out items included, so the target is never drawn.

    Args:
        split: where queries and sequences come from.
        part: the draws of `valid` and `test` are independent.
        n: number of negatives, at least 1.
        seed: any non-negative integer.
        rows: positions in `split.queries(part)`, shape (len(rows),).

    Returns:
        int64 catalogue indices [len(rows), n], in the order drawn; row i belongs to `rows[i]`.

    Raises:
        InputError: a user has fewer than `n` items left to draw from.
    """
    if n < 1:
        raise InputError(f"the number of negatives must be at least 1; got {n}")
    drawn = np.empty((len(rows), n), dtype=np.int64)
    for block in np.unique(rows // BLOCK):
        places = np.flatnonzero(rows // BLOCK == block)
        # The whole block is drawn even if only some of its queries are ranked: the draws must not depend on that.
        drawn[places] = _draw_block(split, part, n, seed, int(block))[rows[places] - block * BLOCK]
    return drawn


def has_enough(split: Split, n: int) -> bool:
    """Tells whether `n` negatives can be drawn for every evaluated user."""
    offsets, users = split.sequences.offsets, _evaluated(split)
    row, _ = distinct_items(split.sequences, offsets[users], offsets[users + 1])
    return split.sequences.n_items - np.bincount(row).max() >= n


def require_enough(split: Split, n: int) -> None:
    """Checks, before anything is trained, that `n` negatives can be drawn for every evaluated user.

    Raises:
        InputError: a user has fewer than `n` items left to draw from; the message names the user's row.
    """
    if not has_enough(split, n):
        raise _too_few(split, n)


def _draw_block(split: Split, part: Part, n: int, seed: int, block: int) -> np.ndarray:
    users = split.queries(part).users[block * BLOCK : (block + 1) * BLOCK]  # a user once per target
    met = _met(split.sequences, users)  # [users, widest]
    n_items = split.sequences.n_items
    most_met = np.count_nonzero(met, axis=1).max()
    if n_items - most_met < n:
        raise _too_few(split, n)
    generator = np.random.default_rng([seed, PARTS.index(part), block])
    share = (n + most_met) / n_items  # at most this share of draws hits an item that is taken
    if share < 0.5:
        # Draw with replacement, a few more than needed, and keep the first n that are new. Cheaper than permuting the
        # whole catalogue, unless most draws would be thrown away.
        width = int(n / (1 - share) + SLACK * np.sqrt(n)) + 10
        draws = generator.integers(1, n_items, size=(len(users), width), endpoint=True)
        fresh = _first_occurrences(met, draws)
        if fresh.sum(axis=1).min() >= n:
            return _first_of_each(draws, fresh, n)
    catalogue = np.tile(np.arange(1, n_items + 1), (len(users), 1))  # [users, n_items]
    draws = generator.permuted(catalogue, axis=1)
    return _first_of_each(draws, _first_occurrences(met, draws), n)


def _evaluated(split: Split) -> np.ndarray:
    """Returns the users with a validation or test target, ascending."""
    return np.union1d(*(split.users(part) for part in PARTS))


def _too_few(split: Split, n: int) -> InputError:
    users = _evaluated(split)
    n_met = np.count_nonzero(_met(split.sequences, users), axis=1)
    worst, n_items = n_met.argmax(), split.sequences.n_items
    return InputError(
        f"sampled-{n} needs {n} items a user never met; user row {users[worst]} met {n_met[worst]} of {n_items} items; "
        f"set evaluation.sampled to at most {n_items - n_met[worst]}, or to null for the full ranking alone"
    )


def distinct_items(sequences: Sequences, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lists the distinct items of each stretch `sequences.items[start:end]`.

    Returns:
        Position of the stretch and item, one entry per distinct item, both int64, sorted by stretch and item.
    """
    lengths = ends - starts
    row = np.repeat(np.arange(len(lengths)), lengths)  # [items of all stretches]
    column = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    # One number per (stretch, item), so that one flat sort serves all users.
    codes = row * (sequences.n_items + 1) + sequences.items[starts[row] + column]
    codes.sort()  # np.unique hashes first: measured 22 times slower on ten million codes
    distinct = np.ones(len(codes), dtype=bool)
    np.not_equal(codes[1:], codes[:-1], out=distinct[1:])
    row, item = np.divmod(codes[distinct], sequences.n_items + 1)
    return row, item


def _met(sequences: Sequences, users: np.ndarray) -> np.ndarray:
    """Returns each user's distinct items, padded with 0 on the right, int64 [users, widest]."""
    row, item = distinct_items(sequences, sequences.offsets[users], sequences.offsets[users + 1])
    counts = np.bincount(row, minlength=len(users))
    met = np.full((len(users), counts.max()), PADDING, dtype=np.int64)
    met[row, np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)] = item
    return met


def _first_occurrences(met: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Marks the draws that are neither in `met` nor a repeat of an earlier draw of their row.

    Sorting (item, position) codes puts equal items next to each other, oldest first; `met` stands before all draws.
    """
    items = np.concatenate([met, draws], axis=1)
    width = items.shape[1]
    bits = width.bit_length()
    # Codes of 32 bits sort about twice as fast and are nearly always enough.
    dtype = np.int32 if int(items.max() + 1) << bits < 2**31 else np.int64
    codes = (items.astype(dtype) << bits) | np.arange(width, dtype=dtype)
    codes.sort(axis=1)
    # Neighbours that differ only in the low bits, the position, are the same item: the later one is a repeat.
    row, rank = np.nonzero((codes[:, 1:] ^ codes[:, :-1]) < (1 << bits))
    first = np.ones(items.shape, dtype=bool)
    first[row, codes[row, rank + 1] & ((1 << bits) - 1)] = False
    return first[:, met.shape[1] :]  # [users, draws]


def _first_of_each(draws: np.ndarray, fresh: np.ndarray, n: int) -> np.ndarray:
    is_kept = fresh & (np.cumsum(fresh, axis=1, dtype=np.int32) <= n)
    return draws[is_kept].reshape(len(draws), n)  # every row has exactly n of them
