"""`Sequences`: every user's items in order, as one flat array with offsets.

Takes ordered interactions, hands on what splits and batches index into; on disk `sequences.safetensors`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from layerprobe.errors import InputError
from layerprobe.store.atomic import read_tensors, write_arrays


@dataclass(frozen=True, eq=False)
class Sequences:
    """Flat item indices with user boundaries.

    Attributes:
        items: int64 catalogue indices (1..n_items), all users one after the other, shape (rows,).
        offsets: int64, user u owns `items[offsets[u] : offsets[u + 1]]`, shape (n_users + 1,).
        n_items: size of the catalogue, padding not counted.
    """

    items: np.ndarray
    offsets: np.ndarray
    n_items: int

    def __post_init__(self) -> None:
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.items) or np.any(np.diff(self.offsets) < 1):
            raise InputError("offsets must rise from 0 to the number of rows, at least one item per user")
        if self.items.min() < 1 or self.items.max() > self.n_items:
            raise InputError(
                f"item indices must lie in [1, {self.n_items}]; got {self.items.min()} to {self.items.max()}"
            )

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Items per user, shape (n_users,)."""
        return np.diff(self.offsets)

    def save(self, path: Path) -> None:
        """Writes `sequences.safetensors`."""
        write_arrays(path, {"items": self.items, "offsets": self.offsets}, {"n_items": str(self.n_items)})


def load_sequences(path: Path) -> Sequences:
    """Reads `sequences.safetensors`.

    The arrays are views of the mapped file: pages come in when they are used and are shared between processes. What
    is written into the arrays stays with this process and never reaches the file.
    """
    tensors, metadata = read_tensors(path)
    return Sequences(tensors["items"].numpy(), tensors["offsets"].numpy(), int(metadata["n_items"]))
