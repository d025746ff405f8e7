"""`SequenceBatch`: right-padded histories with the positions to supervise or to read.

Right padding with causal attention: what follows a real position cannot influence it, so no mask is needed there and
a user's result does not depend on the batch. Histories keep their newest items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from layerprobe.data.sampled_items import SampledItems
from layerprobe.data.splits import Queries, Split
from layerprobe.errors import InputError


@dataclass(frozen=True, eq=False)
class SequenceBatch:
    """One batch.

    Attributes:
        items: int64 [batch, pos], right-padded with 0.
        lengths: int64 [batch], real items per row, at least 1.
        row: int64 [read], batch row of each position that is read.
        pos: int64 [read], its position.
        targets: int64 [read], the catalogue index that follows; 0 where it is unknown (serving).
        flat: int64 [read], index of the read position in `Sequences.items`; -1 where there is none.
        sampled: the items that stand for the catalogue in a sampled loss; None where the loss takes all.
    """

    items: torch.Tensor
    lengths: torch.Tensor
    row: torch.Tensor
    pos: torch.Tensor
    targets: torch.Tensor
    flat: torch.Tensor
    sampled: SampledItems | None = None

    def __len__(self) -> int:
        return len(self.items)

    def to(self, device: torch.device) -> SequenceBatch:
        """Returns the batch on `device`."""
        tensors = [getattr(self, name).to(device) for name in ("items", "lengths", "row", "pos", "targets", "flat")]
        return SequenceBatch(*tensors, sampled=None if self.sampled is None else self.sampled.to(device))


def windows(items: np.ndarray, starts: np.ndarray, ends: np.ndarray, max_len: int) -> tuple[np.ndarray, np.ndarray]:
    """Gathers the newest `max_len` items of `items[start:end]` per row into a right-padded matrix.

    Returns:
        Matrix [rows, longest] int64 and the lengths [rows].
    """
    lengths = np.minimum(ends - starts, max_len)
    columns = np.arange(lengths.max())
    source = (ends - lengths)[:, None] + columns[None, :]  # [rows, longest]
    real = columns[None, :] < lengths[:, None]
    # Padding reads entry 0, which always exists, and is set to 0 afterwards: one gather and no loop over rows.
    return np.where(real, items[np.where(real, source, 0)], 0), lengths


def query_batch(split: Split, queries: Queries, rows: np.ndarray, max_len: int) -> SequenceBatch:
    """Builds the batch that reads the last real position of the histories `queries[rows]`."""
    starts, ends = queries.starts[rows], queries.ends[rows]
    matrix, lengths = windows(split.sequences.items, starts, ends, max_len)
    return SequenceBatch(
        items=torch.from_numpy(matrix),
        lengths=torch.from_numpy(lengths),
        row=torch.arange(len(rows)),
        pos=torch.from_numpy(lengths - 1),
        targets=torch.from_numpy(queries.targets[rows]),
        flat=torch.from_numpy(ends - 1),  # the last item of the history; its target is the next one
    )


def history_batch(histories: list[np.ndarray], max_len: int) -> SequenceBatch:
    """Builds a batch from histories given as index arrays (serving); the targets are unknown.

    Raises:
        InputError: a history is empty.
    """
    lengths = np.array([len(history) for history in histories])
    if lengths.min() < 1:
        raise InputError("a history must hold at least one item; got none")
    ends = np.cumsum(lengths)  # the histories one after the other, as in `Sequences.items`
    matrix, kept = windows(np.concatenate(histories).astype(np.int64), ends - lengths, ends, max_len)
    unknown = torch.zeros(len(histories), dtype=torch.int64)
    return SequenceBatch(
        items=torch.from_numpy(matrix),
        lengths=torch.from_numpy(kept),
        row=torch.arange(len(histories)),
        pos=torch.from_numpy(kept - 1),
        targets=unknown,
        flat=unknown - 1,
    )
