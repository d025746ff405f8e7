"""`Convergence`: how a training ended: how many epochs it had, why it stopped, and whether it was still improving.

Takes the validation values of a finished training (`log.jsonl`), its limits and its best epoch, hands on one row of
`convergence.csv`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, nan, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from layerprobe.errors import InputError
from layerprobe.store.layout import LOG
from layerprobe.store.model_record import ModelRecord
from layerprobe.training.log import VALID
from layerprobe.training.options import TrainingOptions

FEWEST = 3
"""Epochs that a slope and its noise need."""
PATIENCE, LIMIT = "patience", "limit"
"""Why a training stopped: no better value for `patience` epochs, or the largest number of epochs was reached."""


@dataclass(frozen=True)
class Convergence:
    """How one training ended.

    Attributes:
        epochs: epochs trained.
        epochs_allowed: the largest number that it could have had.
        stopped_by: `PATIENCE` or `LIMIT`.
        best_epoch, best_valid: the epoch that was kept and its NDCG@10 of validation users, full ranking.
        slope: change of that metric per epoch at the end, as a share of `best_valid`; NaN for fewer than 3 epochs, and
            where the log is not known.
        slope_se: standard error of the slope; NaN as `slope`.
    """

    epochs: int
    epochs_allowed: int
    stopped_by: str
    best_epoch: int
    best_valid: float
    slope: float
    slope_se: float

    @property
    def rising(self) -> bool:
        """Whether the training ended at its limit with its best epoch, and the slope is not below its noise.

        Where the slope is not known, the best epoch alone counts.
        """
        at_end = self.stopped_by == LIMIT and self.best_epoch == self.epochs
        return at_end and not self.slope < self.slope_se


def convergence(
    model: ModelRecord, valid: Sequence[float] | None, epochs_allowed: int, patience: int | None
) -> Convergence:
    """Describes how a training ended.

    The slope is that of the least-squares line through the last third of the epochs, at least 3; the value before the
    first epoch is left out. Its standard error comes from the residuals, with one degree of freedom for 3 epochs.

    Args:
        model: its `metrics.json`.
        valid: the validation value after each epoch, from the first on; None where it is not known.
        epochs_allowed: the largest number of epochs of its recipe.
        patience: epochs without a better value after which it was to stop; None never stops early.
    """
    waited = model.epochs - model.best_epoch
    slope, slope_se = (nan, nan) if valid is None else _end_slope(valid, model.best_valid)
    return Convergence(
        epochs=model.epochs,
        epochs_allowed=epochs_allowed,
        stopped_by=PATIENCE if patience is not None and waited >= patience else LIMIT,
        best_epoch=model.best_epoch,
        best_valid=model.best_valid,
        slope=slope,
        slope_se=slope_se,
    )


def _end_slope(valid: Sequence[float], best: float) -> tuple[float, float]:
    """Returns the slope of the last third as a share of `best`, and its standard error."""
    n_epochs = max(FEWEST, ceil(len(valid) / 3))
    if len(valid) < FEWEST or not best > 0:
        return nan, nan
    values = np.array(valid[-n_epochs:], dtype=np.float64) / best
    places = np.arange(n_epochs) - (n_epochs - 1) / 2
    spread = float((places**2).sum())
    slope = float(places @ values) / spread
    residuals = values - values.mean() - slope * places
    return slope, sqrt(float((residuals**2).sum()) / (n_epochs - 2) / spread)


def read_valid(folder: Path) -> list[float] | None:
    """Returns the validation value after each epoch of a model's `log.jsonl`; None where there is no log.

    Raises:
        InputError: the log is damaged.
    """
    path = folder / LOG
    if not path.exists():
        return None
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        values = {int(row["epoch"]): float(row[VALID]) for row in rows if VALID in row}
    except (ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is damaged ({reason}); delete {folder} and train the model again") from error
    return [values[epoch] for epoch in sorted(values) if epoch > 0]


def epoch_limits(spec: Mapping[str, Any]) -> tuple[int, int | None]:
    """Returns the epochs allowed and the patience of a model's `spec.yaml`; a student may have a recipe of its own.

    An option that an older version did not store had its default.
    """
    own = (spec.get("distill") or {}).get("training")
    stored = own or spec.get("training") or {}
    defaults = TrainingOptions()
    return stored.get("epochs", defaults.epochs), stored.get("patience", defaults.patience)
