"""The metric of a trained model with only some of its layers: ranked once per set of layers and stored.

Used for the importance of single layers, for greedy removal and for the test of cheap scores. A file holds each user's
NDCG@10 in one column per set of layers, so an interrupted run resumes where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import numpy as np

from layerprobe import processes
from layerprobe.evaluation.ranking import Ranking
from layerprobe.probing.removal.cut_store import CutStore
from layerprobe.probing.removal.importance import only_layers
from layerprobe.recommender.model import Recommender


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
