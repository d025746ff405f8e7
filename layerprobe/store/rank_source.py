"""Where the ranks of a study's models are read from: their own files, or packed beside a published report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd

from layerprobe.store.layout import RANKS, StudyLayout
from layerprobe.store.packed_ranks import PackedRanks, read_packed
from layerprobe.store.run_folder import DONE


class RankSource(Protocol):
    """Ranks of finished models, by the path that a study's layout gives them."""

    def has(self, path: Path) -> bool:
        """Tells whether the model is finished and its ranks are here."""
        ...

    def read(self, path: Path) -> pd.DataFrame:
        """Returns them, with the columns `columns.RANKS`."""
        ...


@dataclass(frozen=True)
class StoredRanks:
    """The `ranks.parquet` files of a study's folder."""

    def has(self, path: Path) -> bool:
        """Tells whether the file is there and, in a model folder, the model is finished."""
        return path.exists() and (path.name != RANKS or (path.parent / DONE).exists())

    def read(self, path: Path) -> pd.DataFrame:
        """Reads the file."""
        return pd.read_parquet(path)


def rank_source(layout: StudyLayout) -> StoredRanks | PackedRanks:
    """Returns where the ranks of a study's folder are: packed in a published one, else in files of their own.

    Raises:
        InputError: the packed ranks are damaged.
    """
    return read_packed(layout) if layout.packed_record.exists() else StoredRanks()
