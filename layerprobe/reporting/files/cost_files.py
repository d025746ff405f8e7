"""`CostFiles`: what the models of a study cost, as its cost and decide stages wrote it to `costs/`.

Any of the files may be absent and is then None, which the report says.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from layerprobe import columns
from layerprobe.reporting.files.reading import optional, optional_table
from layerprobe.store.atomic import read_json
from layerprobe.store.layout import StudyLayout


@dataclass(frozen=True, eq=False)
class CostFiles:
    """The tables of `costs/`.

    Attributes:
        costs: `costs.csv`, columns `columns.COSTS`; numbers that a model does not have are missing (NaN).
        front: `front.csv`, columns `columns.FRONT`.
        facts: `costs.json`: device, threads, calls.
    """

    costs: pd.DataFrame | None
    front: pd.DataFrame | None
    facts: dict[str, Any] | None


def read_cost_files(folder: Path) -> CostFiles:
    """Reads `costs/` of a study folder.

    Raises:
        InputError: a file cannot be read or lacks columns.
    """
    layout = StudyLayout(folder)
    return CostFiles(
        costs=optional_table(layout.cost_table, _read, columns.COSTS),
        front=optional_table(layout.front, _read, columns.FRONT),
        facts=optional(layout.cost_facts, read_json),
    )


def _read(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path)
    return table.fillna({columns.SELECTION: ""}) if columns.SELECTION in table.columns else table
