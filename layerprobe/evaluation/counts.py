"""Counting how many candidates score above a target and how many the same, a few users at a time.

Takes scores and what the targets are compared with; `evaluation.ranks` makes rows of the counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch

COUNT_ROWS = 64
"""Users scored and counted at a time on a CPU, so that scores stay in its cache; a GPU takes all at once."""
EXACT = 2**24
"""Up to here float32 holds every whole number."""


class Scores(Protocol):
    """Scores [batch, n_items + 1]: a tensor, or an object that computes rows when they are indexed."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the scores are, or are computed."""
        ...

    def __getitem__(self, rows: slice, /) -> torch.Tensor:
        """Returns the scores of these rows."""
        ...


@dataclass(frozen=True, eq=False)
class Candidates:
    """What the targets of one batch are compared with; shared by all outputs of a scorer.

    Attributes:
        n_items: size of the catalogue.
        targets: int64 [batch].
        removed_row, removed_item: pairs of row and item that are not candidates of `full`, rows ascending, int64.
        negatives: candidates of the sampled protocol, int64 [batch, n]; None without that protocol.
    """

    n_items: int
    targets: torch.Tensor
    removed_row: torch.Tensor
    removed_item: torch.Tensor
    negatives: torch.Tensor | None

    def sizes(self) -> np.ndarray:
        """Returns the number of candidates, the target included, [protocols, batch]."""
        full = self.n_items - torch.bincount(self.removed_row, minlength=len(self.targets))  # [batch]
        if self.negatives is None:
            return full[None].numpy()
        return torch.stack([full, torch.full_like(full, self.negatives.shape[1] + 1)]).numpy()

    def pieces(self, device: torch.device) -> list[tuple[slice, Candidates]]:
        """Cuts the batch into runs of rows to be counted one after the other on `device`.

        They are of about equal size, since a product of one to three rows is rounded differently from one of many.
        """
        n_rows = len(self.targets)
        n_pieces = -(-n_rows // COUNT_ROWS) if device.type == "cpu" else 1
        edges = [n_rows * i // n_pieces for i in range(n_pieces + 1)]
        return [(slice(start, end), self._piece(start, end, device)) for start, end in pairwise(edges)]

    def _piece(self, start: int, end: int, device: torch.device) -> Candidates:
        # Rows ascend, so the removed pairs of these users are one stretch.
        first, last = torch.searchsorted(self.removed_row, torch.tensor([start, end])).tolist()
        return Candidates(
            self.n_items,
            self.targets[start:end].to(device),
            (self.removed_row[first:last] - start).to(device),
            self.removed_item[first:last].to(device),
            None if self.negatives is None else self.negatives[start:end].to(device),
        )

    def count(self, scores: torch.Tensor) -> torch.Tensor:
        """Returns how many candidates score higher than the target and how many the same, int32 [protocols, 2, batch].

        Args:
            scores: float32 [batch, n_items + 1] on the candidates' device; column 0 (padding) is ignored.
        """
        target = scores.gather(1, self.targets[:, None])  # [batch, 1]
        full = _compare(scores[:, 1:], target)  # [2, batch]
        full[1] -= 1  # the target itself
        # All items were counted, so the removed ones are taken off again: [removed] scores instead of [batch, n_items].
        removed, target_scores = scores[self.removed_row, self.removed_item], target[self.removed_row, 0]
        full[0].index_add_(0, self.removed_row, (removed > target_scores).int(), alpha=-1)
        full[1].index_add_(0, self.removed_row, (removed == target_scores).int(), alpha=-1)
        if self.negatives is None:
            return full[None]
        return torch.stack([full, _compare(scores.gather(1, self.negatives), target)])  # [protocols, 2, batch]


def _compare(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Counts, per row of `scores` [batch, candidates], those above and those equal to `target` [batch, 1]; [2, batch].

    Ones and zeros of the scores' own type are written and summed in a fifth of the time that booleans take (measured
    on one core, 64 rows of 12,101).
    """
    # Reused for both comparisons; float32 counts exactly up to 2^24 candidates.
    ones = torch.empty_like(scores, dtype=torch.float32 if scores.shape[1] <= EXACT else torch.float64)
    higher = torch.gt(scores, target, out=ones).sum(dim=1)  # [batch]
    ties = torch.eq(scores, target, out=ones).sum(dim=1)
    return torch.stack([higher, ties]).int()
