"""What tests say of a study's folder: its files, their bytes, and a process that dies while it writes them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from layerprobe import columns

MODEL_FILES = {"spec.yaml", "log.jsonl", "checkpoint/model.safetensors", "ranks.parquet", "metrics.json", "done.json"}


class Killed(BaseException):
    """Stands for a process that dies at a write; nothing may catch it."""


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder)}


def without_clock(study: Path) -> pd.DataFrame:
    """The curve but for its two clock columns, which no two runs share."""
    return pd.read_csv(study / "curve.csv").drop(columns=list(columns.CLOCK))
