"""`ItemTable`: one frozen vector per catalogue index, handed from SASRec (or a seeded draw) to the recommender.

On disk `item_table.safetensors`, with the hash of the sequences it was made for: a table of other data is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from layerprobe.errors import StudyError
from layerprobe.store.atomic import read_tensors, write_tensors
from layerprobe.store.layout import ITEM_TABLE


@dataclass(frozen=True, eq=False)
class ItemTable:
    """Item vectors.

    Attributes:
        vectors: float32 [n_items + 1, dim]; row 0 is zero.
        kind: `sasrec` or `random`.
        data_hash: hash of the split the table belongs to.
    """

    vectors: torch.Tensor
    kind: str
    data_hash: str

    def save(self, folder: Path) -> Path:
        """Writes `item_table.safetensors` into `folder` and returns its path."""
        path = folder / ITEM_TABLE
        write_tensors(path, {"vectors": self.vectors}, {"kind": self.kind, "data_hash": self.data_hash})
        return path


def from_vectors(vectors: torch.Tensor, kind: str, data_hash: str) -> ItemTable:
    """Freezes vectors [n_items + 1, dim] as an item table; row 0 is set to zero."""
    frozen = vectors.detach().float().cpu().clone()  # a copy: SASRec's own table must not change with it
    frozen[0] = 0.0  # padding is no item, whatever was drawn for it
    return ItemTable(frozen, kind, data_hash)


def random_table(n_items: int, dim: int, seed: int, data_hash: str) -> ItemTable:
    """Draws seeded unit vectors: a table without any information about the log, for controls."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(n_items + 1, dim, generator=generator)
    return from_vectors(torch.nn.functional.normalize(drawn, dim=1), "random", data_hash)


def load_item_table(folder: Path, data_hash: str) -> ItemTable:
    """Reads the table of `folder`.

    Raises:
        StudyError: the table was made for other data.
    """
    tensors, metadata = read_tensors(folder / ITEM_TABLE)
    if metadata["data_hash"] != data_hash:
        raise StudyError(f"the item table in {folder} was made for other data; delete that folder to make it again")
    return ItemTable(tensors["vectors"], metadata["kind"], data_hash)
