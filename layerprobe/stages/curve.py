"""Stage curve: `curve.csv`, the slices and `convergence.csv`, from all stored ranks and training logs.

They are rebuilt every time, so they always agree with the models.
"""

from __future__ import annotations

from layerprobe.data.recency import read_recency
from layerprobe.stages.tables.convergence import convergence_table
from layerprobe.stages.tables.points import curve_points, curve_table, trained_folders
from layerprobe.stages.tables.slices import RankedPoint, difference_table, slice_table, sliced_models
from layerprobe.store.atomic import write_csv
from layerprobe.store.rank_source import StoredRanks
from layerprobe.study.study import Study


def run(study: Study) -> None:
    """Writes `curve.csv`, the slices of the models in it, and how each model's training ended."""
    options = study.spec.evaluation
    points = curve_points(study.models, StoredRanks())
    table = curve_table(points, options.ks, options.alpha, options.n_boot)
    _write_slices(study, points)
    trained = trained_folders(study.models, StoredRanks())
    write_csv(study.layout.convergence, convergence_table(study, trained))
    write_csv(study.layout.curve, table)


def _write_slices(study: Study, points: list[RankedPoint]) -> None:
    """Writes both tables of slices.

    Where no full model is finished there are no differences from it, and an older table of them is deleted.
    """
    options, layout = study.spec.evaluation, study.layout
    models = sliced_models(points, read_recency(layout.data, study.data.split))
    write_csv(layout.slices, slice_table(models, options.alpha, options.n_boot))
    covers_training = study.spec.decision.cover != "users"
    differences = difference_table(models, study.full.text, options.alpha, covers_training)
    if differences is None:
        layout.slice_differences.unlink(missing_ok=True)
    else:
        write_csv(layout.slice_differences, differences)
