"""`TargetRanks`: per user, how many candidates scored higher than the target and how many scored the same.

Takes scores of the whole catalogue, hands on one row per user and protocol. Both protocols are counted from the same
scores. Counting needs no sorting and cannot favour the target.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
import torch

from layerprobe import columns, processes
from layerprobe.data.batches import SequenceBatch, query_batch
from layerprobe.data.splits import Part, Queries, Split
from layerprobe.errors import InputError, StudyError
from layerprobe.evaluation.negatives import BLOCK, distinct_items, sampled_negatives

FULL = "full"
POOL = 64 * BLOCK
COUNT_ROWS = 64
"""Rows compared at a time: the booleans then stay in the processor's cache (measured: twice as fast as 512)."""


class Scorer(Protocol):
    """Scores the whole catalogue for a batch of histories; models, exits and floors all look like this.

    One scorer may give several outputs (all exits of one forward pass): one per name, in the order of `names`.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each output."""
        ...

    @property
    def max_len(self) -> int:
        """Newest items of a history that the scorer reads."""
        ...

    def scores(self, batch: SequenceBatch) -> Iterator[torch.Tensor]:
        """Yields, per name, scores [batch, n_items + 1] on any device; column 0 (padding) is ignored."""
        ...


@dataclass(frozen=True)
class Protocols:
    """What a target is ranked among. The protocol `full` (the whole catalogue) is always counted.

    Attributes:
        sampled: also rank among this many seeded uniform negatives (protocol `sampled-n`); None for `full` alone.
        seed: seed of the negatives.
        remove_history: whether the items a user met before the target are no candidates of `full`.
    """

    sampled: int | None = 999
    seed: int = 0
    remove_history: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Values of the column `protocol`."""
        return (FULL,) if self.sampled is None else (FULL, sampled_name(self.sampled))


def sampled_name(n: int) -> str:
    """Returns the name of the protocol with `n` negatives."""
    return f"sampled-{n}"


def rank_targets(
    scorer: Scorer, split: Split, parts: Sequence[Part], protocols: Protocols, batch_size: int = 512
) -> dict[str, pd.DataFrame]:
    """Ranks every held-out target, for every output of the scorer, in one pass over the users.

    The processes of a launch share the users; all of them must call it, and all get the whole table.

    Args:
        scorer: gives the scores; it must be in evaluation mode. Gradients are off here.
        split: where the questions come from.
        parts: which targets to rank.
        protocols: what they are ranked among.
        batch_size: users per call of `scorer.scores`; changes speed, not results.

    Returns:
        Per output name a table with the columns `columns.RANKS`, one row per part, protocol and evaluated user (in
        this order, users ascending). `user` is the user's row in `split.sequences`, `target` a catalogue index.
        `n_higher` and `n_ties` count other candidates than the target whose float32 score is higher or equal;
        `n_candidates` includes the target. The whole history is removed, also where `scorer.max_len` is shorter,
        but never the target. `target_popularity` counts training interactions.

    Raises:
        InputError: `batch_size` or `parts` is empty, or a user has too few items for the sampled protocol.
        StudyError: a score is not finite; the message names output, part and user row.
    """
    if batch_size < 1 or not parts:
        raise InputError(f"ranking needs a part and batch_size >= 1; got parts {list(parts)}, batch_size {batch_size}")
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in scorer.names}
    for part in parts:
        counts = _count_part(scorer, split, part, protocols, batch_size)
        for name, of_output in zip(scorer.names, counts, strict=True):
            tables[name].append(_to_table(split, part, protocols.names, of_output))
    return {name: pd.concat(found, ignore_index=True) for name, found in tables.items()}


def _count_part(scorer: Scorer, split: Split, part: Part, protocols: Protocols, batch_size: int) -> np.ndarray:
    """Returns int32 [outputs, protocols, 3, queries]; the 3 are n_higher, n_ties, n_candidates."""
    queries = split.queries(part)
    counts = np.zeros((len(scorer.names), len(protocols.names), 3, len(queries)), dtype=np.int32)
    turn = 0
    for pool_start in range(0, len(queries), POOL):
        pool = np.arange(pool_start, min(pool_start + POOL, len(queries)))
        negatives = None
        if protocols.sampled is not None:
            negatives = sampled_negatives(split, part, protocols.sampled, protocols.seed, pool)
        for within in _by_length(queries, pool, scorer.max_len, batch_size):
            turn += 1
            if turn % processes.count() != processes.index():  # another process ranks these users
                continue
            rows = pool[within]
            candidates = _Candidates(split, queries, rows, protocols, None if negatives is None else negatives[within])
            batch = query_batch(split, queries, rows, scorer.max_len)
            with torch.no_grad():
                for output, scores in zip(range(len(counts)), scorer.scores(batch), strict=True):
                    where = f"output {scorer.names[output]} for {part} targets"
                    counts[output][:, :, rows] = candidates.count(scores, where)
    return processes.summed(counts)


def _by_length(queries: Queries, pool: np.ndarray, max_len: int, batch_size: int) -> Iterator[np.ndarray]:
    """Yields positions in `pool`, alike in history length, so that batches carry little padding."""
    lengths = np.minimum(queries.ends[pool] - queries.starts[pool], max_len)
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


class _Candidates:
    """What the targets of one batch are compared with; shared by all outputs of the scorer."""

    def __init__(
        self, split: Split, queries: Queries, rows: np.ndarray, protocols: Protocols, negatives: np.ndarray | None
    ) -> None:
        self.users = queries.users[rows]
        self.n_items = split.sequences.n_items
        self.target = torch.from_numpy(queries.targets[rows])
        row, item = _removed(split, queries, rows if protocols.remove_history else rows[:0])
        self.removed_row, self.removed_item = torch.from_numpy(row), torch.from_numpy(item)
        self.n_full = self.n_items - np.bincount(row, minlength=len(rows))
        self.negatives = None if negatives is None else torch.from_numpy(negatives)

    def count(self, scores: torch.Tensor, where: str) -> np.ndarray:
        """Returns [protocols, 3, batch]."""
        scores = scores.float()
        self._check(scores, where)
        target = scores.gather(1, self.target.to(scores.device)[:, None])
        protocols = [np.stack([*self._full(scores, target), self.n_full])]
        if self.negatives is not None:
            drawn = scores.gather(1, self.negatives.to(scores.device))
            n_candidates = np.full(len(target), drawn.shape[1] + 1)
            protocols.append(np.stack([*(found.cpu().numpy() for found in _compare(drawn, target)), n_candidates]))
        return np.stack(protocols)

    def _check(self, scores: torch.Tensor, where: str) -> None:
        expected = (len(self.users), self.n_items + 1)
        if scores.shape != expected:
            raise StudyError(f"{where}: scores must have shape {expected}; got {tuple(scores.shape)}")
        # A finite sum has finite terms and costs one cheap pass; only a sum that is not finite is looked at closer.
        if scores[:, 1:].sum().isfinite():
            return
        broken = (~scores[:, 1:].isfinite()).any(dim=1).cpu().numpy()
        if broken.any():
            raise StudyError(
                f"{where}: scores must be finite; {broken.sum()} of {len(broken)} users in the batch have NaN or "
                f"infinite scores, first user row {self.users[broken][0]}; look for a diverged training"
            )

    def _full(self, scores: torch.Tensor, target: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        higher, ties = _compare(scores[:, 1:], target)
        row, item = self.removed_row.to(scores.device), self.removed_item.to(scores.device)
        removed, own = scores[row, item], target[row, 0]
        higher = higher.index_add(0, row, (removed > own).int(), alpha=-1)
        ties = ties.index_add(0, row, (removed == own).int(), alpha=-1)
        return higher.cpu().numpy(), ties.cpu().numpy() - 1


def _compare(scores: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Counts, per row of `scores` [batch, candidates], those above and those equal to `target` [batch, 1]; int32."""
    higher = torch.empty(len(scores), dtype=torch.int32, device=scores.device)
    ties = torch.empty_like(higher)
    for start in range(0, len(scores), COUNT_ROWS):
        chunk = slice(start, start + COUNT_ROWS)
        torch.sum(scores[chunk] > target[chunk], dim=1, dtype=torch.int32, out=higher[chunk])
        torch.sum(scores[chunk] == target[chunk], dim=1, dtype=torch.int32, out=ties[chunk])
    return higher, ties


def _removed(split: Split, queries: Queries, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (batch row, item) of each distinct history item that is not the row's target."""
    row, item = distinct_items(split.sequences, queries.starts[rows], queries.ends[rows])
    kept = item != queries.targets[rows][row]
    return row[kept], item[kept]


def _to_table(split: Split, part: Part, protocols: tuple[str, ...], counts: np.ndarray) -> pd.DataFrame:
    """Turns [protocols, 3, queries] into rows, protocol by protocol."""
    queries = split.queries(part)
    n_protocols = len(protocols)
    facts = {
        columns.USER: queries.users,
        columns.TARGET: queries.targets,
        columns.HISTORY_LENGTH: queries.ends - queries.starts,
        columns.TARGET_POPULARITY: split.train_counts()[queries.targets],
    }
    table = {name: np.tile(values.astype(np.int32), n_protocols) for name, values in facts.items()}
    for position, name in enumerate((columns.N_HIGHER, columns.N_TIES, columns.N_CANDIDATES)):
        table[name] = counts[:, position].reshape(-1)
    table[columns.SPLIT] = np.repeat(part, n_protocols * len(queries))
    table[columns.PROTOCOL] = np.repeat(protocols, len(queries))
    return pd.DataFrame({name: table[name] for name in columns.RANKS})
