"""Packs the ranks of a study for its report: as much as fits, left out in an order that is always the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from layerprobe import columns
from layerprobe.data.recency import Recency
from layerprobe.store.layout import StudyLayout
from layerprobe.store.packed_ranks import (
    SHARED,
    LeftRow,
    PackedRanks,
    PackedRecord,
    PartRow,
    digest_of_model,
    digest_of_shared,
    model_name,
    pack_part,
    parts_of,
    write_packed_record,
    write_part,
)

LIMIT = 8 * 2**20
"""Bytes that the packed ranks of a study may take, so that a repository can hold several reports."""


@dataclass(frozen=True)
class Leave:
    """Which ranks stay at home: those that are all of what is set here.

    Attributes:
        exits: of exits.
        sampled: among sampled candidates.
        validation: of validation users.
    """

    exits: bool = False
    sampled: bool = False
    validation: bool = False

    def holds(self, split: str, protocol: str, is_exit: bool) -> bool:
        """Tells whether ranks stay at home."""
        is_exempt = (self.exits and not is_exit) or (self.sampled and protocol == columns.FULL)
        return not (is_exempt or (self.validation and split == "test"))


LEFT_OUT = (
    Leave(exits=True, sampled=True),
    Leave(sampled=True),
    Leave(exits=True, validation=True),
    Leave(validation=True),
)
"""What stays at home where all is too large, in this order: sampled ranks of exits, then all sampled ones; validation
ranks of exits, then all of them. Ranks of test users among the whole catalogue always travel."""


@dataclass(frozen=True, eq=False)
class Luggage:
    """The ranks of a study that are to be packed.

    Attributes:
        study: whose they are.
        ranks: ranks of every model, by the path that the study has them at.
        recency: how long each test user was away, where slices use it.
    """

    study: StudyLayout
    ranks: Mapping[Path, pd.DataFrame]
    recency: Recency | None

    def parts(self, leaves: Sequence[Leave]) -> dict[tuple[str, str], dict[str, pd.DataFrame]]:
        """Returns per split and protocol the rows of every model, without what `leaves` leaves at home."""
        parts: dict[tuple[str, str], dict[str, pd.DataFrame]] = {}
        for path, table in self.ranks.items():
            for split, protocol in parts_of(table):
                if not any(leave.holds(split, protocol, path.parent == self.study.exits) for leave in leaves):
                    rows = table.loc[(table[columns.SPLIT] == split) & (table[columns.PROTOCOL] == protocol)]
                    parts.setdefault((split, protocol), {})[model_name(self.study, path)] = rows
        return parts


def write_packed(out: StudyLayout, luggage: Luggage, sealed: Mapping[str, str], limit: int = LIMIT) -> PackedRecord:
    """Writes the packed ranks of a study.

    Args:
        out: the published folder.
        luggage: the ranks.
        sealed: SHA-256 of every measured file.
        limit: bytes that all files together may take.

    Raises:
        InputError: a model was ranked on other users than the others.
    """
    everything, rows = luggage.parts(()), []
    for count in range(len(LEFT_OUT) + 1):
        parts = luggage.parts(LEFT_OUT[:count])
        rows = [_write_part(out, key, tables, luggage.recency) for key, tables in parts.items()]
        if sum(out.packed_part(row.split, row.protocol).stat().st_size for row in rows) <= limit:
            break
    _remove_others(out, rows)
    record = PackedRecord(
        parts=tuple(rows),
        recency_unit=None if luggage.recency is None else luggage.recency.unit,
        left_out=tuple(_left(everything, rows)),
        sealed=dict(sealed),
    )
    write_packed_record(out, record)
    return record


def _write_part(
    out: StudyLayout, key: tuple[str, str], tables: Mapping[str, pd.DataFrame], recency: Recency | None
) -> PartRow:
    shared = next(iter(tables.values()))[list(SHARED)]
    if recency is not None and key == ("test", columns.FULL):
        shared = recency.beside(shared)
    write_part(out.packed_part(*key), pack_part(tables, shared))
    return PartRow(
        split=key[0],
        protocol=key[1],
        users=shared[columns.USER].nunique(),
        targets=len(shared),
        shared=digest_of_shared(shared),
        models={name: digest_of_model(table) for name, table in tables.items()},
    )


def _remove_others(out: StudyLayout, rows: Sequence[PartRow]) -> None:
    """Removes the files that were written before it was known that they do not fit."""
    written = {out.packed_part(row.split, row.protocol) for row in rows}
    for path in set(out.packed.glob("*.parquet")) - written:
        path.unlink()


def _left(everything: Mapping[tuple[str, str], Mapping[str, pd.DataFrame]], rows: Sequence[PartRow]) -> list[LeftRow]:
    travelled = {(row.split, row.protocol): row.models for row in rows}
    left = []
    for (split, protocol), tables in everything.items():
        models = tuple(name for name in tables if name not in travelled.get((split, protocol), ()))
        if models:
            left.append(LeftRow(split=split, protocol=protocol, models=models))
    return left


def packed_recency(packed: PackedRanks) -> Recency | None:
    """Returns how long each test user was away, as it travelled; None where slices do not use it."""
    if packed.record.recency_unit is None:
        return None
    part = next(part for part in packed.record.parts if (part.split, part.protocol) == ("test", columns.FULL))
    shared = packed.shared(part)
    users, lengths = (shared[name].to_numpy("int64") for name in (columns.USER, columns.HISTORY_LENGTH))
    several = lengths if part.targets > part.users else None
    return Recency(users, shared[columns.RECENCY].to_numpy(), packed.record.recency_unit, several)
