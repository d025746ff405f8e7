"""What the trained teacher is worth with some of its layers alone: ranked once per set of layers and kept.

Read by the bars of single layers, by greedy removal and by the test of cheap scores. A file in `similarity/`,
`cuts-ROWS-SEED.parquet`, holds each user's NDCG@10 in one column per set, so a stopped run goes on where it was.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from layerprobe import columns, processes
from layerprobe.pipeline.model_folder import Ranking
from layerprobe.pipeline.recommender_jobs import load_teacher, teacher_key
from layerprobe.pipeline.study import Study
from layerprobe.probing.importance import only_layers
from layerprobe.recommender.model import Recommender
from layerprobe.store.atomic import write_parquet

KEY = "key"


def sampled_users(study: Study) -> np.ndarray:
    """Returns the rows of the users that layers are compared on: a seeded sample of the evaluated ones, ascending."""
    spec, evaluated = study.spec.similarity, study.data.split.evaluated
    generator = np.random.default_rng(spec.seed)
    return np.sort(evaluated[generator.permutation(len(evaluated))[: spec.rows]])


def known_cuts(study: Study) -> dict[tuple[int, ...], np.ndarray]:
    """Returns the values that are stored, by the layers kept; ranks nothing, so the main process may ask alone."""
    found = _read(_path(study), _key(study)).items()
    return {tuple(int(layer) for layer in name.split(",") if layer): values for name, values in found}


def _path(study: Study) -> Path:
    """One file per sample of users; its name is the same whatever rounding the teacher's training had."""
    spec = study.spec.similarity
    return study.folder / "similarity" / f"cuts-{spec.rows}-{spec.seed}.parquet"


def _key(study: Study) -> str:
    spec = study.spec.similarity
    return teacher_key(study, rows=spec.rows, seed=spec.seed)


class CutValues:
    """NDCG@10 of the sampled validation users by the teacher cut to a set of layers, nothing retrained.

    Every process must ask for the same sets in the same order.

    Args:
        study: a study with a trained teacher.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.users = sampled_users(study)
        self.path, self.key = _path(study), _key(study)
        self.known = processes.agreed(lambda: _read(self.path, self.key))

    def of(self, kept: tuple[int, ...]) -> np.ndarray:
        """Returns the value of each sampled user, (users,); ranked only if it is not known yet."""
        name = ",".join(map(str, kept))
        if name not in self.known:
            with only_layers(self._teacher, kept):
                self.known[name] = self._ranking.each_valid(self._teacher)
            processes.on_main(self._write)
        return self.known[name]

    def mean(self, kept: tuple[int, ...]) -> float:
        """Returns the mean over the sampled users."""
        return float(self.of(kept).mean())

    @cached_property
    def _teacher(self) -> Recommender:
        return load_teacher(self.study)

    @cached_property
    def _ranking(self) -> Ranking:
        return self.study.ranking_on(replace(self.study.data.split, asked=self.users))

    def _write(self) -> None:
        write_parquet(self.path, pd.DataFrame({KEY: self.key, columns.USER: self.users, **self.known}))


def _read(path: Path, key: str) -> dict[str, np.ndarray]:
    """Returns what is stored of this teacher and these users; nothing where the file is of others."""
    if not path.exists():
        return {}
    table = pd.read_parquet(path)
    if (table[KEY] != key).any():
        return {}
    return {str(name): table[name].to_numpy() for name in table.columns if name not in (KEY, columns.USER)}
