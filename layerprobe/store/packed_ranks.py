"""`PackedRanks`: the ranks of all models of a study in one small file per split and protocol, to travel with a report.

Takes the ranks tables of models, writes `ranks/<split>-<protocol>.parquet` and `ranks/packed.json`, and hands the
tables on again, equal to the last bit. What all models share (users, targets, candidates, history) is stored once; each
model adds two columns of whole numbers, `<model>:n_higher` and `<model>:n_ties`. No float, no raw id, no title.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet

from layerprobe import columns
from layerprobe.errors import InputError
from layerprobe.store.atomic import replacing
from layerprobe.store.layout import RANKS, StudyLayout
from layerprobe.store.records import read_record, write_record

SHARED = (
    columns.USER,
    columns.TARGET,
    columns.N_CANDIDATES,
    columns.HISTORY_LENGTH,
    columns.TARGET_POPULARITY,
)
"""What every model of a part has in common; with `columns.RECENCY` beside it where slices use it."""
COUNTED = (columns.N_HIGHER, columns.N_TIES)
LEVEL = 19
AGAIN = "the folder is not as `layerprobe publish` wrote it: publish it again, or get a fresh copy"


@dataclass(frozen=True, kw_only=True)
class PartRow:
    """One file of packed ranks.

    Attributes:
        split, protocol: what was ranked.
        users, targets: how many of each it has; a row is a target, and only splits by time may have several per user.
        shared: digest of what all models have in common.
        models: whose ranks it holds, by the folder or file that has them in the study's own folder, each with a digest
            of its numbers.
    """

    split: str
    protocol: str
    users: int
    targets: int
    shared: str
    models: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class LeftRow:
    """Ranks that did not travel, since the folder would be too large.

    Attributes:
        split, protocol: which.
        models: whose.
    """

    split: str
    protocol: str
    models: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PackedRecord:
    """The content of `ranks/packed.json`.

    Attributes:
        parts: the files, in the order of the rows of a ranks table.
        recency_unit: `s`, `ms` or "" for the column `recency`; None where no file has it.
        left_out: what did not travel.
        sealed: SHA-256 of every result, and of every file whose numbers were measured or trained, so that no ranks can
            give them again.
    """

    parts: tuple[PartRow, ...]
    recency_unit: str | None = None
    left_out: tuple[LeftRow, ...] = ()
    sealed: dict[str, str]


def model_name(layout: StudyLayout, path: Path) -> str:
    """Returns what packed ranks call a model: its folder, or for exits and floors its file without the ending.

    >>> study = StudyLayout(Path("study"))
    >>> model_name(study, study.teacher / RANKS), model_name(study, study.exit_ranks("exit-raw", 2))
    ('teacher', 'exits/ranks-exit-raw-2')
    """
    own = path.parent if path.name == RANKS else path.with_suffix("")
    return own.relative_to(layout.folder).as_posix()


def parts_of(ranks: pd.DataFrame) -> list[tuple[str, str]]:
    """Returns split and protocol of each part of a ranks table, in the order of its rows."""
    pairs = ranks[[columns.SPLIT, columns.PROTOCOL]].drop_duplicates()
    return [(str(split), str(protocol)) for split, protocol in pairs.itertuples(index=False)]


def pack_part(tables: Mapping[str, pd.DataFrame], shared: pd.DataFrame) -> pa.Table:
    """Returns one part of all models as a table of the smallest integers.

    Args:
        tables: rows of that part per model.
        shared: the columns that all have in common, and perhaps `recency`.

    Raises:
        InputError: a model was ranked on other users, targets or candidates.
    """
    packed = {name: _smallest(shared[name].to_numpy()) for name in shared.columns}
    for model, table in tables.items():
        for name in SHARED:
            if not np.array_equal(table[name].to_numpy(), shared[name].to_numpy()):
                raise InputError(
                    f"all models of a study must be ranked on the same users; {model} has other values in the column "
                    f"{name}: rank it again in this study"
                )
        packed |= {f"{model}:{name}": _smallest(table[name].to_numpy()) for name in COUNTED}
    return pa.table(packed)


def digest(columns_of_numbers: Sequence[np.ndarray]) -> str:
    """Returns the first half of the SHA-256 of whole numbers, however they are stored."""
    joined = hashlib.sha256()
    for values in columns_of_numbers:
        joined.update(np.ascontiguousarray(values, dtype="<i8").tobytes())
    return joined.hexdigest()[:32]


def digest_of_model(table: pd.DataFrame) -> str:
    """Returns the digest of one model's ranks in one part."""
    return digest([table[name].to_numpy() for name in COUNTED])


def digest_of_shared(table: pd.DataFrame) -> str:
    """Returns the digest of what all models of a part have in common."""
    return digest([table[name].to_numpy() for name in table.columns])


def write_part(path: Path, table: pa.Table) -> None:
    """Writes one part; the bytes of its numbers are split into streams, which zstd packs well."""
    names = table.column_names
    sorted_users = {name: "DELTA_BINARY_PACKED" for name in names if name == columns.USER}
    encoding = {name: "BYTE_STREAM_SPLIT" for name in names} | sorted_users
    with replacing(path) as temporary:
        parquet.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=LEVEL,
            use_dictionary=False,
            column_encoding=encoding,
            write_statistics=False,
        )


def _smallest(values: np.ndarray) -> np.ndarray:
    """Returns whole numbers in the smallest unsigned type that holds them; negative ones stay signed."""
    for dtype in (np.uint8, np.uint16, np.uint32) if values.min(initial=0) >= 0 else ():
        if values.max(initial=0) <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values.astype(np.int64)


@dataclass(frozen=True, eq=False)
class PackedRanks:
    """The packed ranks of a published folder.

    Attributes:
        layout: the paths of the folder.
        record: which models and parts there are.
    """

    layout: StudyLayout
    record: PackedRecord

    @property
    def models(self) -> tuple[str, ...]:
        """Every model of which any part travelled, in the order of the files."""
        return tuple(dict.fromkeys(model for part in self.record.parts for model in part.models))

    def has(self, path: Path) -> bool:
        """Tells whether any part of a model's ranks travelled."""
        return model_name(self.layout, path) in self.models

    def read(self, path: Path) -> pd.DataFrame:
        """Returns the ranks of one model, of the parts that travelled.

        Raises:
            InputError: there are none, or a file is damaged.
        """
        name = model_name(self.layout, path)
        parts = [self.part(part, name) for part in self.record.parts if name in part.models]
        if not parts:
            raise InputError(f"{self.layout.packed_record} has no ranks of {name}; {AGAIN}")
        return pd.concat(parts, ignore_index=True)[list(columns.RANKS)]

    def part(self, part: PartRow, name: str) -> pd.DataFrame:
        """Returns the ranks of one model in one part.

        Raises:
            InputError: the file is damaged or lacks the model.
        """
        path = self.layout.packed_part(part.split, part.protocol)
        own = _read_columns(path, [f"{name}:{counted}" for counted in COUNTED])
        counts = {counted: own[f"{name}:{counted}"].astype("int32") for counted in COUNTED}
        return self.shared(part)[list(SHARED)].assign(
            **counts, **{columns.SPLIT: part.split, columns.PROTOCOL: part.protocol}
        )

    def shared(self, part: PartRow) -> pd.DataFrame:
        """Returns what all models of a part have in common."""
        key = (part.split, part.protocol)
        if key not in self._shared:
            path = self.layout.packed_part(*key)
            extra = [columns.RECENCY] if columns.RECENCY in _schema(path) else []
            table = _read_columns(path, [*SHARED, *extra])
            self._shared[key] = table.astype({**dict.fromkeys(SHARED, "int32"), **dict.fromkeys(extra, "int64")})
        return self._shared[key]

    @cached_property
    def _shared(self) -> dict[tuple[str, str], pd.DataFrame]:
        return {}


def _schema(path: Path) -> list[str]:
    try:
        return parquet.read_schema(path).names
    except (OSError, pa.ArrowInvalid) as error:
        raise _damaged(path, error) from error


def _read_columns(path: Path, names: Sequence[str]) -> pd.DataFrame:
    try:
        return pd.read_parquet(path, columns=list(names))
    except (OSError, ValueError) as error:  # Arrow's errors are ValueErrors
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    reason = "it is missing" if not path.exists() else " ".join(str(error).split())
    return InputError(f"{path} must hold packed ranks; {reason}; {AGAIN}")


def read_packed(layout: StudyLayout) -> PackedRanks:
    """Reads which ranks a published folder holds; the ranks are read one model at a time.

    Raises:
        InputError: `ranks/packed.json` is damaged.
    """
    return PackedRanks(layout, read_record(layout.packed_record, PackedRecord, AGAIN))


def write_packed_record(layout: StudyLayout, record: PackedRecord) -> None:
    """Writes which ranks a published folder holds."""
    write_record(layout.packed_record, record)
