"""The metric of a trained model with only some of its layers: ranked once per set of layers and stored.

Used for the importance of single layers, for greedy removal and for the test of cheap scores. A file holds each user's
NDCG@10 in one column per set of layers, so an interrupted run resumes where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from layerprobe import columns, processes
from layerprobe.evaluation.ranking import Ranking
from layerprobe.probing.removal.importance import only_layers
from layerprobe.recommender.model import Recommender
from layerprobe.store.atomic import write_parquet

KEY = "key"


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
        return {str(name): table[name].to_numpy() for name in table.columns if name not in (KEY, columns.USER)}

    def read_layers(self) -> dict[tuple[int, ...], np.ndarray]:
        """Returns what is stored, by the layers kept; ranks nothing, so the main process may call it alone."""
        return {tuple(int(layer) for layer in name.split(",") if layer): values for name, values in self.read().items()}

    def write(self, users: np.ndarray, values: dict[str, np.ndarray]) -> None:
        """Writes all values."""
        write_parquet(self.path, pd.DataFrame({KEY: self.key, columns.USER: users, **values}))


class CutValues:
    """NDCG@10 of some validation users by a model cut to a set of layers, nothing retrained.

    All processes must request the same sets in the same order.

    Args:
        load: returns the model in evaluation mode; called only if something has to be ranked.
        ranking: how models are ranked.
        users: rows of the users in the ranking's split.
        store: where values are stored; None keeps them in memory.
    """

    def __init__(
        self, load: Callable[[], Recommender], ranking: Ranking, users: np.ndarray, store: CutStore | None = None
    ) -> None:
        self.load, self.users, self.store = load, users, store
        self.ranking = replace(ranking, split=replace(ranking.split, asked=users))
        self.known = {} if store is None else processes.agreed(store.read)

    def of(self, kept: tuple[int, ...]) -> np.ndarray:
        """Returns the value of each user, (users,); ranks only sets of layers that are not known yet."""
        name = ",".join(map(str, kept))
        if name not in self.known:
            with only_layers(self._model, kept):
                self.known[name] = self.ranking.each_valid(self._model)
            if self.store is not None:
                store = self.store
                processes.on_main(lambda: store.write(self.users, self.known))
        return self.known[name]

    def mean(self, kept: tuple[int, ...]) -> float:
        """Returns the mean over the users."""
        return float(self.of(kept).mean())

    @cached_property
    def _model(self) -> Recommender:
        return self.load()
