"""Slices of a study: `slices.csv`, every model by groups of users, and `slice_differences.csv`, who loses.

Part of the curve stage: made from the stored ranks and the times of the data folder, every time anew.
"""

from __future__ import annotations

import pandas as pd

from layerprobe import columns
from layerprobe.data.recency import read_recency
from layerprobe.evaluation.ranks import FULL
from layerprobe.evaluation.slice_differences import SlicedModel, slice_differences
from layerprobe.evaluation.slices import slice_cuts, slice_rows
from layerprobe.pipeline.study import Study
from layerprobe.probing.curves import BOOTSTRAP_SEED, CurvePoint
from layerprobe.store.atomic import write_csv

FLOORS = ("popularity", "markov-1", "tfidf")
SLICED_KINDS = ("variant", "distilled", "sasrec", *FLOORS)
SLICED_METRICS = (("ndcg", 10), ("hr", 10))
SLICES_FILE, DIFFERENCES_FILE = "slices.csv", "slice_differences.csv"

Sliced = list[tuple[CurvePoint, pd.DataFrame]]
"""Models and their ranks of the test users among the whole catalogue, with the column `recency` where it is known."""


def write_slices(study: Study, points: list[tuple[CurvePoint, pd.DataFrame]]) -> None:
    """Writes both tables of the models among `points`, which have one set of cuts.

    Where no full model is finished there are no differences from it, and an older table of them is taken away.
    """
    found = read_recency(study.folder / "data", study.data.split)
    tests = [(point, _test_part(ranks)) for point, ranks in points if point.kind in SLICED_KINDS]
    sliced = tests if found is None else [(point, found.beside(ranks)) for point, ranks in tests]
    cuts = slice_cuts(sliced[0][1], "" if found is None else found.unit)
    options = study.spec.evaluation
    names = (columns.KIND, columns.SELECTION, columns.DEPTH, columns.SEED)
    tables = [
        slice_rows(ranks, cuts, SLICED_METRICS, options.alpha, options.n_boot, BOOTSTRAP_SEED).assign(
            **{name: getattr(point, name) for name in names}
        )
        for point, ranks in sliced
    ]
    whole = {columns.DEPTH: "Int64", columns.SEED: "Int64"}
    slices = pd.concat([table.astype(whole) for table in tables], ignore_index=True)[list(columns.SLICES)]
    write_csv(study.folder / SLICES_FILE, slices)
    full, others = _models(sliced, study.full.text)
    if full is None:
        (study.folder / DIFFERENCES_FILE).unlink(missing_ok=True)
        return
    differences = slice_differences(
        full, others, cuts, SLICED_METRICS, options.alpha, study.spec.decision.cover != "users"
    )
    write_csv(study.folder / DIFFERENCES_FILE, differences)


def _test_part(ranks: pd.DataFrame) -> pd.DataFrame:
    return ranks.loc[(ranks[columns.SPLIT] == "test") & (ranks[columns.PROTOCOL] == FULL)]


def _models(sliced: Sliced, full: str) -> tuple[SlicedModel | None, list[SlicedModel]]:
    """Returns the full model, None where none is finished, and the others, each with all its seeds."""
    found: dict[tuple[str, str], SlicedModel] = {}
    for point, ranks in sliced:
        key = (point.kind, point.selection)
        model = found.get(key, SlicedModel(*key, point.depth, {}))
        found[key] = SlicedModel(*key, point.depth, {**model.ranks, point.seed: ranks})
    whole = found.pop(("variant", full), None)
    if whole is None:
        return None, list(found.values())
    # Failed trainings may leave a model without a seed in common with the full one; the decision drops it, too.
    others = [each for each in found.values() if each.depth is None or set(each.ranks) & set(whole.ranks)]
    return whole, others
