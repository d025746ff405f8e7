"""Reading `convergence.csv`: how every training of a study ended."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from layerprobe import columns
from layerprobe.errors import InputError
from layerprobe.probing.curves import typed_cells
from layerprobe.reporting.files.reading import AGAIN, read, with_columns

TYPES = {
    columns.DEPTH: "Int64",
    columns.SEED: "int64",
    columns.EPOCHS: "int64",
    columns.EPOCHS_ALLOWED: "int64",
    columns.BEST_EPOCH: "int64",
    columns.BEST_VALID: "float64",
    columns.SLOPE: "float64",
    columns.SLOPE_SE: "float64",
    columns.SETTINGS_TRIED: "int64",
    columns.TRAIN_SECONDS: "float64",
}
TRUTH = {"True": True, "False": False}


def read_convergence(path: Path) -> pd.DataFrame:
    """Reads the table; `selection` is empty for SASRec, and a slope that is not known is missing.

    Raises:
        InputError: it cannot be read or lacks columns.
    """
    table = with_columns(path, read(path, _read_text), columns.CONVERGENCE)
    wrong = table.loc[~table[columns.RISING].isin(TRUTH), columns.RISING]
    if len(wrong):
        raise InputError(f"{path} must hold True or False in the column rising; got {wrong.iloc[0]!r}; {AGAIN}")
    return table.assign(**{columns.RISING: table[columns.RISING].map(TRUTH).astype(bool)})


def _read_text(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table.assign(**{name: typed_cells(table[name], dtype) for name, dtype in TYPES.items() if name in table})
