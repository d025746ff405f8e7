"""Stage curve: `curve.csv`, the slices and `convergence.csv`, from all stored ranks and training logs.

They are rebuilt every time, so they always agree with the models.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from layerprobe.data.recency import read_recency
from layerprobe.kinds import SCORED_FLOORS
from layerprobe.probing.curves import CurvePoint, curve_rows
from layerprobe.probing.exits import EXIT_KINDS
from layerprobe.stages.tables.convergence import convergence_table
from layerprobe.stages.tables.slices import RankedPoint, difference_table, slice_table, sliced_models
from layerprobe.store.atomic import write_csv
from layerprobe.store.model_record import read_model_record
from layerprobe.store.run_folder import DONE
from layerprobe.study.study import Study
from layerprobe.training.model_folder import read_ranks


def run(study: Study) -> None:
    """Writes `curve.csv`, the slices of the models in it, and how each model's training ended."""
    options = study.spec.evaluation
    points = curve_points(study)
    tables = [curve_rows(ranks, point, options.ks, options.alpha, options.n_boot) for point, ranks in points]
    _write_slices(study, points)
    write_csv(study.layout.convergence, convergence_table(study, trained_folders(study)))
    write_csv(study.layout.curve, pd.concat(tables, ignore_index=True))


def curve_points(study: Study) -> list[RankedPoint]:
    """Returns every finished model, exit and floor with its ranks."""
    models = [(model_point(folder), read_ranks(folder)) for folder in trained_folders(study)]
    exits = [
        (CurvePoint(kind, depth=k, seed=study.spec.probe.seeds[0]), pd.read_parquet(study.layout.exit_ranks(kind, k)))
        for kind in EXIT_KINDS
        for k in range(study.n_layers + 1)
    ]
    return [*models, *exits, *((CurvePoint(name), ranks) for name, ranks in floor_ranks(study).items())]


def trained_folders(study: Study) -> list[Path]:
    """Returns the folder of every finished model of the curve."""
    seeds = study.spec.probe.seeds
    folders = [study.variant_folder(selection, seed) for seed in seeds for selection in study.selections]
    for control in study.spec.probe.controls:
        folders += [
            study.control_folder(control, selection, seed) for seed in seeds for selection in study.control_selections
        ]
    folders += [*study.student_folders.values(), *study.sasrec_folders.values()]
    return [folder for folder in folders if (folder / DONE).exists()]


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


def floor_ranks(study: Study) -> dict[str, pd.DataFrame]:
    """Returns the ranks of the floors without training, by name; one that this log has no titles for is left out."""
    paths = {kind.name: study.layout.baseline_ranks(kind.name) for kind in SCORED_FLOORS}
    return {name: pd.read_parquet(path) for name, path in paths.items() if path.exists()}


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
