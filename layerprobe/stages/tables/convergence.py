"""Makes `convergence.csv`: how every training of a study ended, and how many settings were tried before it.

Takes the folders of trained models, reads their `metrics.json`, `spec.yaml` and `log.jsonl`. Folders of older versions
hold the same files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from layerprobe import columns
from layerprobe.backbone.selection import parse_selection
from layerprobe.kinds import SASREC, VARIANT
from layerprobe.store.atomic import read_yaml
from layerprobe.store.layout import SPEC
from layerprobe.store.model_record import ModelRecord, read_model_record
from layerprobe.store.run_folder import DONE
from layerprobe.study.study import Study
from layerprobe.training.convergence import convergence, epoch_limits, read_valid

TEACHER = "teacher"
"""Value of `kind` of the teacher where it is no variant: variants that start from it are trained once more."""


def convergence_table(study: Study, folders: Sequence[Path]) -> pd.DataFrame:
    """Returns the rows `columns.CONVERGENCE` of finished models.

    Args:
        study: whose learning-rate tests are counted.
        folders: of the models of the curve. A teacher that is none of them comes first, since they start from it.

    Raises:
        InputError: a file of a model is damaged.
    """
    rows = [_row(study, folder) for folder in folders]
    teacher = study.layout.teacher
    if teacher not in folders and (teacher / DONE).exists():
        rows.insert(0, _row(study, teacher) | {columns.KIND: TEACHER})
    return pd.DataFrame(rows, columns=list(columns.CONVERGENCE)).astype({columns.DEPTH: "Int64"})


def _row(study: Study, folder: Path) -> dict[str, object]:
    model = read_model_record(folder)
    ending = convergence(model, read_valid(folder), *epoch_limits(read_yaml(folder / SPEC)))
    return {
        **{name: getattr(model, name) for name in (columns.KIND, columns.SELECTION, columns.DEPTH, columns.SEED)},
        **{name: getattr(ending, name) for name in columns.ENDING},
        columns.SETTINGS_TRIED: 1 + _rates_tried(study, model),
        columns.TRAIN_SECONDS: model.train_seconds,
    }


def _rates_tried(study: Study, model: ModelRecord) -> int:
    """Counts the learning rates of a model's test; twins and students have none of their own."""
    if model.kind == SASREC:
        name = SASREC
    elif model.kind != VARIANT:
        return 0
    elif model.depth == study.n_layers:
        name = TEACHER
    else:
        name = parse_selection(model.selection, study.n_layers, study.measured).folder
    path = study.layout.rates_tried(name)
    return len(pd.read_csv(path)) if path.exists() else 0
