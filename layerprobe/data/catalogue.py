"""`Catalogue`: the items a study knows. Index 0 is padding and never an item; items have indices 1..n.

Indices are a seeded permutation: ids numbered by first appearance leak the target, since a user's next item is then
often "last id + 1" (up to 384 times chance on public files).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.errors import InputError
from layerprobe.store.atomic import write_parquet

PADDING = 0


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Raw ids and titles of the items, position p holding the item of index p + 1.

    Attributes:
        item_ids: unique raw ids as strings, shape (n_items,).
        titles: titles as strings, "" where an item has none, shape (n_items,); None where the source has no titles.
    """

    item_ids: np.ndarray
    titles: np.ndarray | None

    def __post_init__(self) -> None:
        if len(set(self.item_ids)) != len(self.item_ids):
            raise InputError("item ids of a catalogue must be unique")

    @property
    def n_items(self) -> int:
        """Number of items, padding not counted."""
        return len(self.item_ids)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {item: position + 1 for position, item in enumerate(self.item_ids)}

    def index_of(self, item_ids: Sequence[str]) -> np.ndarray:
        """Returns the indices (1..n) of raw ids.

        Raises:
            InputError: an id is not in the catalogue; the message names it and shows what ids look like here.
        """
        unknown = [item for item in item_ids if item not in self._index]
        if unknown:
            examples = ", ".join(map(str, self.item_ids[:3]))
            raise InputError(
                f"item ids must be in the catalogue of {self.n_items} items; unknown: {', '.join(unknown[:5])}; "
                f"ids here look like {examples}"
            )
        return np.array([self._index[item] for item in item_ids], dtype=np.int64)

    def label(self, index: int) -> str:
        """Returns the title of an item, or its raw id where it has none."""
        title = "" if self.titles is None else self.titles[index - 1]
        return str(title or self.item_ids[index - 1])

    def to_frame(self) -> pd.DataFrame:
        """Returns the table (index, item[, title]) that `items.parquet` holds."""
        table = pd.DataFrame({columns.INDEX: np.arange(1, self.n_items + 1), columns.ITEM: self.item_ids})
        if self.titles is not None:
            table[columns.TITLE] = self.titles
        return table

    def save(self, path: Path) -> None:
        """Writes `items.parquet`."""
        write_parquet(path, self.to_frame())


def build_catalogue(item_ids: np.ndarray, titles: dict[str, str] | None, seed: int) -> Catalogue:
    """Numbers items by a seeded permutation of their sorted ids, so that file order leaves no trace in the index."""
    # dtype object: numpy's own strings would give every entry the width of the longest one.
    ordered = np.sort(np.asarray(item_ids, dtype=object))
    shuffled = ordered[np.random.default_rng(seed).permutation(len(ordered))]
    item_titles = None if titles is None else np.array([titles.get(item, "") for item in shuffled], dtype=object)
    return Catalogue(item_ids=shuffled, titles=item_titles)


def load_catalogue(path: Path) -> Catalogue:
    """Reads `items.parquet`."""
    table = pd.read_parquet(path)
    titles = table[columns.TITLE].to_numpy(dtype=object) if columns.TITLE in table else None
    return Catalogue(item_ids=table[columns.ITEM].to_numpy(dtype=object), titles=titles)
