"""The file of a model's metric with only some of its layers: each user's value, one column per set of layers.

Takes and hands on arrays; needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.store.atomic import write_parquet

KEY = "key"


def read_cuts(path: Path) -> dict[tuple[int, ...], np.ndarray]:
    """Returns what a file holds by the layers kept, of whichever model it is; nothing where there is no file."""
    if not path.exists():
        return {}
    return _by_layers(_values(pd.read_parquet(path)))


def _values(table: pd.DataFrame) -> dict[str, np.ndarray]:
    return {str(name): table[name].to_numpy() for name in table.columns if name not in (KEY, columns.USER)}


def _by_layers(values: dict[str, np.ndarray]) -> dict[tuple[int, ...], np.ndarray]:
    return {tuple(int(layer) for layer in name.split(",") if layer): column for name, column in values.items()}


@dataclass(frozen=True)
class CutStore:
    """Where values are stored between runs.

    Attributes:
        path: the file.
        key: hash of the model and the users; a file of another key is not read and is replaced.
    """

    path: Path
    key: str

    def read(self) -> dict[str, np.ndarray]:
        """Returns what is stored, by the layers kept as text; nothing where the file is of another key."""
        if not self.path.exists():
            return {}
        table = pd.read_parquet(self.path)
        if (table[KEY] != self.key).any():
            return {}
        return _values(table)

    def read_layers(self) -> dict[tuple[int, ...], np.ndarray]:
        """Returns what is stored, by the layers kept; ranks nothing, so the main process may call it alone."""
        return _by_layers(self.read())

    def write(self, users: np.ndarray, values: dict[str, np.ndarray]) -> None:
        """Writes all values."""
        write_parquet(self.path, pd.DataFrame({KEY: self.key, columns.USER: users, **values}))
