"""layerprobe: how many layers does an LLM recommender need?

The public names below are imported when they are first used, so `import layerprobe` costs nothing.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

# In a notebook without ipywidgets tqdm warns at its import; progress is shown as lines there (training/log.py).
warnings.filterwarnings("ignore", message="IProgress not found")

__version__ = "0.1.0"

_PUBLIC = {
    "read_source": "data.sources.registry",
    "prepare": "data.prepare",
    "load_prepared": "data.prepare",
    "Interactions": "data.interactions",
    "Catalogue": "data.catalogue",
    "Sequences": "data.sequences",
    "Split": "data.splits",
    "TrainBatches": "data.train_batches",
    "ItemTable": "items.table",
    "parse_selection": "backbone.selection",
    "truncate": "backbone.truncate",
    "build_recommender": "probing.variant",
    "Recommender": "recommender.model",
    "SASRec": "recommender.sasrec",
    "Trainer": "training.loop",
    "rank_targets": "evaluation.ranks",
    "metric_table": "evaluation.metrics",
    "ExitScorer": "probing.exits",
    "curve_rows": "probing.curves",
    "decide": "probing.decide",
    "MEASURES": "similarity.measures",
    "block_influence": "similarity.vectors",
    "similarity_table": "similarity.table",
    "predictiveness": "probing.predictiveness",
    "write_student": "export.student",
    "load_student": "export.student",
    "load_spec": "study.parser",
    "Study": "study.study",
    "run_stages": "pipeline.run",
    "write_report": "reporting.report",
}
__all__ = ["__version__", *_PUBLIC]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'layerprobe' has no attribute {name!r}")
    return getattr(import_module(f"layerprobe.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
