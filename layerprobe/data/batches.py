"""`SequenceBatch`: right-padded histories with the positions to supervise or to read.

Right padding with causal attention: what follows a real position cannot influence it, so no mask is needed there and
a user's result does not depend on the batch. Histories keep their newest items.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from layerprobe.data.splits import Queries, Split
from layerprobe.errors import InputError

Supervision = Literal["all", "last"]


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
    """

    items: torch.Tensor
    lengths: torch.Tensor
    row: torch.Tensor
    pos: torch.Tensor
    targets: torch.Tensor
    flat: torch.Tensor

    def __len__(self) -> int:
        return len(self.items)

    def to(self, device: torch.device) -> SequenceBatch:
        """Returns the batch on `device`."""
        return SequenceBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def windows(items: np.ndarray, starts: np.ndarray, ends: np.ndarray, max_len: int) -> tuple[np.ndarray, np.ndarray]:
    """Gathers the newest `max_len` items of `items[start:end]` per row into a right-padded matrix.

    Returns:
        Matrix [rows, longest] int64 and the lengths [rows].
    """
    lengths = np.minimum(ends - starts, max_len)
    columns = np.arange(lengths.max())
    source = (ends - lengths)[:, None] + columns[None, :]
    real = columns[None, :] < lengths[:, None]
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
        flat=torch.from_numpy(ends - 1),
    )


def history_batch(histories: list[np.ndarray], max_len: int) -> SequenceBatch:
    """Builds a batch from histories given as index arrays (serving); the targets are unknown.

    Raises:
        InputError: a history is empty.
    """
    lengths = np.array([len(history) for history in histories])
    if lengths.min() < 1:
        raise InputError("a history must hold at least one item; got none")
    ends = np.cumsum(lengths)
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


@dataclass(frozen=True, eq=False)
class TrainBatches:
    """Length-bucketed training batches of about equal numbers of targets, in a seeded order.

    `batch_size` is the mean number of users per batch.

    Supervision `all`: a user's newest `max_len` training transitions, each position predicts the next item.
    Supervision `last` (the paper's): only the last training item is a target, one example per user and epoch.
    """

    split: Split
    max_len: int
    batch_size: int
    supervision: Supervision
    seed: int

    def __post_init__(self) -> None:
        if self.max_len < 1 or self.batch_size < 1:
            raise InputError(f"max_len and batch_size must be at least 1; got {self.max_len} and {self.batch_size}")
        if not len(self.users):
            raise InputError("training needs a user with at least 2 training items; no user has them")

    @property
    def users(self) -> np.ndarray:
        """Rows of the users with at least one training transition."""
        return np.flatnonzero(self.split.train_ends - self.split.sequences.offsets[:-1] >= 2)

    def plan(self, epoch: int) -> list[np.ndarray]:
        """Returns the users of each batch of `epoch`; their number is the same in every epoch.

        Users are shuffled, sorted by length inside pools of 50 batches (little padding, still random) and cut where
        the targets add up to one batch's share, so a batch of short histories holds more users than one of long
        ones. With the same number of users in each, a target of a short history would weigh many times as much as
        one of a long history. The batches are shuffled. All of it depends on seed and epoch alone.
        """
        generator = np.random.default_rng([self.seed, epoch])
        users = generator.permutation(self.users)
        lengths = np.minimum(self.split.train_ends - self.split.sequences.offsets[:-1] - 1, self.max_len)[users]
        pool = np.arange(len(users)) // (50 * self.batch_size)
        order = np.lexsort((lengths, pool))
        targets = lengths[order] if self.supervision == "all" else np.ones(len(users), dtype=np.int64)
        batches = np.split(users[order], equal_cuts(targets, -(-len(users) // self.batch_size)))
        return [batches[i] for i in generator.permutation(len(batches))]

    def build(self, users: np.ndarray) -> SequenceBatch:
        """Builds the batch of these users."""
        ends = self.split.train_ends[users]
        matrix, lengths = windows(
            self.split.sequences.items, self.split.sequences.offsets[users], ends - 1, self.max_len
        )
        row, pos = _read_positions(lengths, self.supervision)
        flat = (ends - 1 - lengths)[row] + pos
        return SequenceBatch(
            items=torch.from_numpy(matrix),
            lengths=torch.from_numpy(lengths),
            row=torch.from_numpy(row),
            pos=torch.from_numpy(pos),
            targets=torch.from_numpy(self.split.sequences.items[flat + 1]),
            flat=torch.from_numpy(flat),
        )

    def epoch(self, epoch: int) -> Iterator[SequenceBatch]:
        """Yields the batches of one epoch."""
        for users in self.plan(epoch):
            yield self.build(users)


def equal_cuts(weights: np.ndarray, n_parts: int) -> np.ndarray:
    """Returns where to cut a row of weights into `n_parts` parts of about equal sum, none of them empty.

    Args:
        weights: positive, shape (rows,).
        n_parts: 1 to rows.

    Returns:
        The first row of each part but the first, ascending, shape (n_parts - 1,).
    """
    total = np.cumsum(weights)
    step = np.arange(1, n_parts)
    cuts = np.searchsorted(total, total[-1] * step / n_parts) + 1
    cuts = np.maximum.accumulate(np.minimum(cuts, len(weights) - n_parts + step) - step) + step
    return np.maximum(cuts, step)


def _read_positions(lengths: np.ndarray, supervision: Supervision) -> tuple[np.ndarray, np.ndarray]:
    if supervision == "last":
        return np.arange(len(lengths)), lengths - 1
    row = np.repeat(np.arange(len(lengths)), lengths)
    pos = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return row, pos
