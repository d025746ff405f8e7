"""`score_pairs`: from one measure of two states to the scores of any list of pairs.

Takes what a measure keeps of each state and its rule for two of them, hands on `PairScores` to the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from layerprobe.similarity.states import Pairs, PairScores, checked_pairs

Kept = TypeVar("Kept")
"""What a measure computes once per state and uses for all of its pairs."""

FIRST_WITH_SECOND: Pairs = (torch.tensor([0]), torch.tensor([1]))
"""The one pair of a measure called on two matrices."""


def score_pairs(
    kept: Sequence[Kept], pairs: Pairs | None, score: Callable[[Kept, Kept], tuple[torch.Tensor, torch.Tensor]]
) -> PairScores:
    """Returns the scores of the requested pairs, by default all pairs a <= b, one after the other.

    Args:
        kept: what the measure keeps of each state.
        pairs: indices a and b into `kept`; None for `layer_pairs(len(kept))`.
        score: gives the estimate, a scalar, and the row parts [rows] of (a, b).

    Raises:
        InputError: as for `checked_pairs`.
    """
    first, second = checked_pairs(len(kept), pairs)
    scores = [score(kept[a], kept[b]) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    estimates = torch.stack([estimate for estimate, _ in scores])
    row_parts = torch.stack([parts for _, parts in scores], dim=1)  # [rows, pairs]
    return PairScores(estimates.cpu().numpy(), row_parts.cpu().numpy())
