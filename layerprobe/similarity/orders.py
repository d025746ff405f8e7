"""From importance to layers: which layers a measured selection keeps at each depth.

Takes one value per layer, one per run of layers, or a way to value what is kept; hands on the kept layers at depth
0..L, which `parse_selection` resolves `bi:k cka:k greedy:k angular:k` with. They are stored in `selections.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from layerprobe.errors import InputError

Kept = list[list[int]]
"""Layers kept at depth 0..L, ascending."""


def removal_order(values: Sequence[float] | np.ndarray) -> list[int]:
    """Returns the layers in the order in which they are removed: the least important first; of equal ones the deepest.

    Why the deepest: the fewest other layers read what it changes.

    Args:
        values: importance of each layer, [L].

    Raises:
        InputError: a value is NaN. A layer that could not be measured must not look like one that can be removed.

    >>> removal_order([0.3, 0.1, 0.1])
    [2, 1, 0]
    """
    values = np.asarray(values, dtype=np.float64)
    if np.isnan(values).any():
        raise InputError(f"importance must be a number for every layer; layer {np.isnan(values).argmax()} has none")
    return np.lexsort((-np.arange(len(values)), values)).tolist()  # by value, then the deepest first


def kept_by_order(order: Sequence[int]) -> Kept:
    """Returns the layers kept at depth 0..L when layers are removed one after the other.

    >>> kept_by_order([2, 0, 1])
    [[], [1], [0, 1], [0, 1, 2]]
    """
    n_layers = len(order)
    return [sorted(order[n_layers - depth :]) for depth in range(n_layers + 1)]


def kept_by_runs(distances: np.ndarray) -> Kept:
    """Returns the layers kept at depth 0..L when the run with the smallest distance is removed; of equal ones the last.

    The sets are not nested: the best run of three need not hold the best run of two.

    Source: Gromov et al. 2024, arXiv 2403.17887, section 3.2, who count from the state before the run to the one after.

    Args:
        distances: `distances[a, b]` between hidden[a] and hidden[b], [L + 1, L + 1]; only a < b is read.

    >>> kept_by_runs(np.array([[0, 0.2, 0.3, 0.5], [0, 0, 0.1, 0.4], [0, 0, 0, 0.3], [0, 0, 0, 0]]))
    [[], [2], [0, 2], [0, 1, 2]]
    """
    n_layers = len(distances) - 1
    kept: Kept = []
    for depth in range(n_layers + 1):
        length = n_layers - depth
        starts = np.arange(depth + 1)
        # argmin takes the first of equal values, so the reversed row gives the last start.
        start = int(depth - distances[starts, starts + length][::-1].argmin()) if length else n_layers
        kept.append([layer for layer in range(n_layers) if not start <= layer < start + length])
    return kept


def greedy_order(n_layers: int, value_of: Callable[[tuple[int, ...]], float]) -> list[int]:
    """Removes, one after the other, the layer without which the model scores highest; of equal ones the deepest.

    Source: Song et al. 2024 (SLEB), arXiv 2402.09025, algorithm 1, with the recommender's own metric in place of the
    language model's loss, and no layer protected. L (L + 1) / 2 - 1 sets are evaluated, `value_of(())` not among them.

    Args:
        n_layers: L.
        value_of: quality of the model that keeps these layers, ascending; higher is better.

    Returns:
        All layers, the first removed first.

    >>> greedy_order(3, lambda kept: sum((4, 1, 2)[layer] for layer in kept))
    [1, 2, 0]
    """
    kept, order = tuple(range(n_layers)), []
    while len(kept) > 1:
        candidates = [tuple(other for other in kept if other != layer) for layer in kept]
        values = [value_of(candidate) for candidate in candidates]
        best = max(range(len(kept)), key=lambda place: (values[place], place))
        order.append(kept[best])
        kept = candidates[best]
    return [*order, *kept]
