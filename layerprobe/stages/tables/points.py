"""The points of a study's curve with their ranks: finished models, exits and floors.

Takes the study's models and a source of ranks. Needs no torch, so a published report is computed again by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from layerprobe.kinds import EXITS, SCORED_FLOORS
from layerprobe.probing.curves import CurvePoint, curve_rows
from layerprobe.stages.tables.slices import RankedPoint
from layerprobe.store.layout import RANKS
from layerprobe.store.model_record import read_model_record
from layerprobe.store.rank_source import RankSource
from layerprobe.study.model_folders import StudyModels


def curve_points(models: StudyModels, ranks: RankSource) -> list[RankedPoint]:
    """Returns every finished model, exit and floor with its ranks."""
    return [(point, ranks.read(path)) for path, point in ranked_files(models, ranks)]


def curve_table(points: Sequence[RankedPoint], ks: Sequence[int], alpha: float, n_boot: int) -> pd.DataFrame:
    """Returns the rows of `curve.csv`."""
    return pd.concat([curve_rows(ranks, point, ks, alpha, n_boot) for point, ranks in points], ignore_index=True)


def trained_folders(models: StudyModels, ranks: RankSource) -> list[Path]:
    """Returns the folder of every finished model of the curve."""
    return [folder for folder in models.curve_folders if ranks.has(folder / RANKS)]


def ranked_files(models: StudyModels, ranks: RankSource) -> Iterator[tuple[Path, CurvePoint]]:
    """Yields where the ranks of each finished model, exit and floor are, and what it is called."""
    for folder in trained_folders(models, ranks):
        yield folder / RANKS, model_point(folder)
    for kind in reversed(EXITS):
        for k in range(models.full.depth + 1):
            path = models.layout.exit_ranks(kind, k)
            if ranks.has(path):
                yield path, CurvePoint(kind, depth=k, seed=models.seeds[0])
    for kind in SCORED_FLOORS:
        path = models.layout.baseline_ranks(kind.name)
        if ranks.has(path):
            yield path, CurvePoint(kind.name)


def model_point(folder: Path) -> CurvePoint:
    """Returns the point of a model folder."""
    model = read_model_record(folder)
    return CurvePoint(
        kind=model.kind,
        selection=model.selection,
        depth=model.depth,
        seed=model.seed,
        parameters=model.parameters["total"],
        train_seconds=model.train_seconds,
        users_per_second=model.users_per_second,
    )


def floor_ranks(models: StudyModels, ranks: RankSource) -> dict[str, pd.DataFrame]:
    """Returns the ranks of the floors without training, by name; one that this log has no titles for is left out."""
    paths = {kind.name: models.layout.baseline_ranks(kind.name) for kind in SCORED_FLOORS}
    return {name: ranks.read(path) for name, path in paths.items() if ranks.has(path)}
