"""Slices: every model by groups of users, and who loses against the full model.

Takes models with their ranks, hands on the rows of `slices.csv` and `slice_differences.csv`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pandas as pd

from layerprobe import columns
from layerprobe.data.recency import Recency
from layerprobe.evaluation.slice_differences import SlicedModel, slice_differences
from layerprobe.evaluation.slices import SliceCuts, slice_cuts, slice_rows
from layerprobe.kinds import VARIANT, names_of
from layerprobe.probing.curves import BOOTSTRAP_SEED, CurvePoint

SLICED_KINDS = names_of("variant", "student", "floor")
SLICED_METRICS = (("ndcg", 10), ("hr", 10))
POINT = (columns.KIND, columns.SELECTION, columns.DEPTH, columns.SEED)

RankedPoint: TypeAlias = "tuple[CurvePoint, pd.DataFrame]"
"""A point of the curve and its ranks."""


@dataclass(frozen=True, eq=False)
class SlicedModels:
    """The models that are sliced, and the cuts that all of them share.

    Attributes:
        points: models and their ranks of the test users among the whole catalogue, with the column `recency` where the
            log has times.
        cuts: the limits of the groups of users.
    """

    points: list[RankedPoint]
    cuts: tuple[SliceCuts, ...]


def sliced_models(points: Sequence[RankedPoint], recency: Recency | None) -> SlicedModels:
    """Picks the models of a curve that are sliced, and cuts their users into groups."""
    tests = [(point, _test_part(ranks)) for point, ranks in points if point.kind in SLICED_KINDS]
    known = tests if recency is None else [(point, recency.beside(ranks)) for point, ranks in tests]
    return SlicedModels(known, slice_cuts(known[0][1], "" if recency is None else recency.unit))


def slice_table(models: SlicedModels, alpha: float, n_boot: int) -> pd.DataFrame:
    """Returns the rows of `slices.csv`."""
    tables = [
        slice_rows(ranks, models.cuts, SLICED_METRICS, alpha, n_boot, BOOTSTRAP_SEED).assign(
            **{name: getattr(point, name) for name in POINT}
        )
        for point, ranks in models.points
    ]
    whole = {columns.DEPTH: "Int64", columns.SEED: "Int64"}
    return pd.concat([table.astype(whole) for table in tables], ignore_index=True)[list(columns.SLICES)]


def difference_table(models: SlicedModels, full: str, alpha: float, covers_training: bool) -> pd.DataFrame | None:
    """Returns the rows of `slice_differences.csv`; None where no full model is finished.

    Args:
        models: what is compared.
        full: text of the selection that keeps all layers.
        alpha: error level of the intervals.
        covers_training: whether they cover training noise where there are several seeds.
    """
    by_model = _over_seeds(models.points)
    whole = by_model.pop((VARIANT, full), None)
    if whole is None:
        return None
    # Failed trainings may leave a model without a seed in common with the full one; the decision drops it, too.
    others = [model for model in by_model.values() if model.depth is None or set(model.ranks) & set(whole.ranks)]
    return slice_differences(whole, others, models.cuts, SLICED_METRICS, alpha, covers_training)


def _test_part(ranks: pd.DataFrame) -> pd.DataFrame:
    return ranks.loc[(ranks[columns.SPLIT] == "test") & (ranks[columns.PROTOCOL] == columns.FULL)]


def _over_seeds(points: Sequence[RankedPoint]) -> dict[tuple[str, str], SlicedModel]:
    """Returns one model per kind and selection, with the ranks of all its seeds."""
    models: dict[tuple[str, str], SlicedModel] = {}
    for point, ranks in points:
        key = (point.kind, point.selection)
        model = models.get(key, SlicedModel(*key, point.depth, {}))
        models[key] = SlicedModel(*key, point.depth, {**model.ranks, point.seed: ranks})
    return models
