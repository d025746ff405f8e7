"""`TargetRanks`: per target, how many candidates scored higher than the target and how many scored the same.

Takes scores of the whole catalogue, hands on one row per target and protocol. Both protocols are counted from the same
scores (`evaluation.counts`). Counting needs no sorting and cannot favour the target.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np
import pandas as pd
import torch

from layerprobe import columns, processes
from layerprobe.arguments import checked
from layerprobe.data.batches import SequenceBatch, query_batch
from layerprobe.data.splits import Part, Queries, Split
from layerprobe.errors import InputError, StudyError
from layerprobe.evaluation.counts import Candidates, Scores
from layerprobe.evaluation.negatives import BLOCK, distinct_items, sampled_negatives
from layerprobe.ranges import SEED, Range

FULL = columns.FULL
POOL = 64 * BLOCK


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

    def scores(self, batch: SequenceBatch) -> Iterator[Scores]:
        """Yields, per name, scores [batch, n_items + 1] on any device; column 0 (padding) is ignored."""
        ...


@dataclass(frozen=True)
@checked
class Protocols:
    """What a target is ranked among. The protocol `full` (the whole catalogue) is always counted.

    Attributes:
        sampled: also rank among this many seeded uniform negatives (protocol `sampled-n`); None for `full` alone.
        seed: seed of the negatives.
        remove_history: whether the items a user met before the target are left out of the candidates of `full`.
    """

    sampled: Annotated[int | None, Range(1, 10**7)] = 999
    seed: Annotated[int, SEED] = 0
    remove_history: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Values of the column `protocol`."""
        return (FULL,) if self.sampled is None else (FULL, sampled_name(self.sampled))


def sampled_name(n: int) -> str:
    """Returns the name of the protocol with `n` negatives."""
    return f"sampled-{n}"


def rank_targets(
    scorer: Scorer,
    split: Split,
    parts: Sequence[Part],
    protocols: Protocols,
    batch_size: int = 512,
    shared: bool = True,
) -> dict[str, pd.DataFrame]:
    """Ranks every held-out target, for every output of the scorer, in one pass over the users.

    The processes of a launch share the users; all of them must call this function, and all get the whole table.

    Args:
        scorer: gives the scores; it must be in evaluation mode. Gradients are off here.
        split: where histories and targets come from.
        parts: which targets to rank.
        protocols: what they are ranked among.
        batch_size: users per call of `scorer.scores`; changes speed, not results.
        shared: whether the processes of a launch share the users. With False each process ranks all of them, as is
            needed for a sharded model, which all processes run together.

    Returns:
        Per output name a table with the columns `columns.RANKS`, one row per part, protocol and target (in this
        order, users ascending). `user` is the user's row in `split.sequences`, `target` a catalogue index.
        `n_higher` and `n_ties` count other candidates than the target whose float32 score is higher or equal;
        `n_candidates` includes the target. The whole history is removed, also where `scorer.max_len` is shorter,
        but never the target. `target_popularity` counts training interactions.

    Raises:
        InputError: `batch_size` or `parts` is empty, or a user has too few items for the sampled protocol.
        ValueError: the sampled protocol is combined with a split of some users only.
        StudyError: a score is not finite; the message names output, part and user row.
    """
    if split.asked is not None and protocols.sampled is not None:
        raise ValueError("negatives are drawn for all evaluated users; rank some of them by the protocol `full` only")
    if batch_size < 1 or not parts:
        raise InputError(f"ranking needs a part and batch_size >= 1; got parts {list(parts)}, batch_size {batch_size}")
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in scorer.names}
    for part in parts:
        counts = _count_part(scorer, split, part, protocols, batch_size, shared)
        for name, of_output in zip(scorer.names, counts, strict=True):
            tables[name].append(_to_table(split, part, protocols.names, of_output))
    return {name: pd.concat(per_part, ignore_index=True) for name, per_part in tables.items()}


def _count_part(
    scorer: Scorer, split: Split, part: Part, protocols: Protocols, batch_size: int, shared: bool
) -> np.ndarray:
    """Returns int32 [outputs, protocols, 3, queries]; the 3 are n_higher, n_ties, n_candidates."""
    queries = split.queries(part)
    # Zeros: a process fills in its own users, and the sum over processes is the whole.
    counts = np.zeros((len(scorer.names), len(protocols.names), 3, len(queries)), dtype=np.int32)
    turn = 0
    for pool_start in range(0, len(queries), POOL):  # bounds the memory of negatives, at whole blocks of draws
        pool = np.arange(pool_start, min(pool_start + POOL, len(queries)))
        negatives = None
        if protocols.sampled is not None:
            negatives = sampled_negatives(split, part, protocols.sampled, protocols.seed, pool)
        for within in _by_length(queries, pool, scorer.max_len, batch_size):
            turn += 1
            if shared and turn % processes.count() != processes.index():  # another process ranks these users
                continue
            rows, drawn = pool[within], None if negatives is None else negatives[within]
            candidates = _candidates(split, queries, rows, protocols, drawn)
            batch = query_batch(split, queries, rows, scorer.max_len)
            with torch.no_grad():
                counts[:, :, :2, rows] = _count_batch(scorer, batch, candidates, queries.users[rows], part)
            counts[:, :, 2, rows] = candidates.sizes()
    return processes.summed(counts) if shared else counts


def _count_batch(
    scorer: Scorer, batch: SequenceBatch, candidates: Candidates, users: np.ndarray, part: Part
) -> np.ndarray:
    """Returns n_higher and n_ties, int32 [outputs, protocols, 2, batch]."""
    counts, pieces = [], []  # pieces are cut once for all outputs
    for name, scores in zip(scorer.names, scorer.scores(batch), strict=True):
        where = f"output {name} for {part} targets"
        _check_shape(scores, (len(batch), candidates.n_items + 1), where)
        pieces = pieces or candidates.pieces(scores.device)
        counts.append([])
        for rows, piece in pieces:
            piece_scores = scores[rows].float()  # [piece, n_items + 1]; float32, in which ties are defined
            _check_finite(piece_scores, users[rows], where)
            counts[-1].append(piece.count(piece_scores).cpu().numpy())
    return np.stack([np.concatenate(of_output, axis=2) for of_output in counts])


def _by_length(queries: Queries, pool: np.ndarray, max_len: int, batch_size: int) -> Iterator[np.ndarray]:
    """Yields positions in `pool`, of similar history length, so that batches hold little padding."""
    lengths = np.minimum(queries.ends[pool] - queries.starts[pool], max_len)
    order = np.argsort(lengths, kind="stable")  # stable: the same batches on every machine
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def _candidates(
    split: Split, queries: Queries, rows: np.ndarray, protocols: Protocols, negatives: np.ndarray | None
) -> Candidates:
    """Returns what the targets of `rows` are compared with; a target is never removed, met before or not."""
    targets = queries.targets[rows]
    met = rows if protocols.remove_history else rows[:0]
    # Distinct: an item that was met twice must be taken off the counts once.
    row, item = distinct_items(split.sequences, queries.starts[met], queries.ends[met])
    removed = item != targets[row]
    targets, row, item = map(torch.from_numpy, (targets, row[removed], item[removed]))
    drawn = None if negatives is None else torch.from_numpy(negatives)
    return Candidates(split.sequences.n_items, targets, row, item, drawn)


def _check_shape(scores: Scores, expected: tuple[int, int], where: str) -> None:
    if tuple(scores.shape) != expected:
        raise StudyError(f"{where}: scores must have shape {expected}; got {tuple(scores.shape)}")


def _check_finite(scores: torch.Tensor, users: np.ndarray, where: str) -> None:
    # A finite sum has finite terms and costs one cheap pass; single scores are checked only if the sum is not finite.
    if scores[:, 1:].sum().isfinite():
        return
    broken = (~scores[:, 1:].isfinite()).any(dim=1).cpu().numpy()
    if broken.any():  # else the sum alone overflowed, and all scores are finite
        raise StudyError(
            f"{where}: scores must be finite; {broken.sum()} of {len(broken)} users scored together have NaN or "
            f"infinite scores, first user row {users[broken][0]}; look for a diverged training"
        )


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
        table[name] = counts[:, position].reshape(-1)  # [protocols, queries] to rows
    table[columns.SPLIT] = np.repeat(part, n_protocols * len(queries))
    table[columns.PROTOCOL] = np.repeat(protocols, len(queries))
    return pd.DataFrame({name: table[name] for name in columns.RANKS})
