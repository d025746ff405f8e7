"""`ModelRecord`: the content of a model folder's `metrics.json`, for the code that writes it and that reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerprobe.store.layout import METRICS
from layerprobe.store.records import read_record, write_record


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """One trained and ranked model.

    Attributes:
        kind, selection, depth, layers, seed: what it is called in tables; `selection` is "" and `depth` and `layers`
            are None for floors. `layers` is also None in studies made before they were stored.
        parameters: by part; `total` is what answering a request needs.
        train_seconds: time of its training.
        users_per_second: speed of ranking.
        epochs: epochs that were trained.
        best_epoch, best_valid: the epoch that was kept, and its NDCG@10 on validation users (full ranking).
        metrics: rows of `evaluation.metrics.metric_table`.
    """

    kind: str
    selection: str
    depth: int | None
    layers: tuple[int, ...] | None = None
    seed: int
    parameters: dict[str, int]
    train_seconds: float
    users_per_second: float
    epochs: int
    best_epoch: int
    best_valid: float
    metrics: list[dict[str, Any]]


def read_model_record(folder: Path) -> ModelRecord:
    """Reads the description of a model folder.

    Raises:
        InputError: it is missing or damaged.
    """
    return read_record(folder / METRICS, ModelRecord, f"delete {folder} and train the model again")


def write_model_record(folder: Path, record: ModelRecord) -> None:
    """Writes the description of a model folder."""
    write_record(folder / METRICS, record)
