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

# By task, as in docs/api.md: the name, and where it lies where that is not a module of the same name.
_PUBLIC = {
    # a log
    "load_log": "data.log",
    "synthetic_log": "data.log",
    "prepare": "data.log",
    "load_prepared": "data.prepare",
    "SourceOptions": "data.sources.raw",
    "PreprocessOptions": "data.preprocess",
    "OrderOptions": "data.order",
    "SplitOptions": "data.times.options",
    "SyntheticOptions": "data.synthetic",
    "PreparedData": "data.prepare",
    "Split": "data.splits",
    "Catalogue": "data.catalogue",
    # models
    "SASRec": "recommender.sasrec",
    "SASRecOptions": "recommender.sasrec",
    "Recommender": "recommender.model",
    "build_recommender": "probing.variant",
    "RecipeOptions": "probing.variant",
    "BackboneOptions": "backbone.options",
    "TuningOptions": "training.adapters",
    "PromptOptions": "backbone.prompt",
    "RecommenderOptions": "recommender.model",
    "LayerSelection": "backbone.selection",
    "parse_selection": "backbone.selection",
    "truncate": "backbone.truncate",
    # training
    "fit": "training.fit",
    "TrainingOptions": "training.options",
    "LossOptions": "recommender.losses",
    # ranks and metrics
    "rank": "evaluation.ranking",
    "rank_floors": "evaluation.ranking",
    "Protocols": "evaluation.ranks",
    "metrics": "evaluation.metrics",
    "curve": "probing.curves",
    # what the layers do
    "exits": "probing.exits",
    "fit_heads": "probing.exits",
    "ProbeHeadOptions": "probing.probe_heads",
    "states": "similarity.sampling",
    "SampleOptions": "similarity.sampling",
    "layer_similarity": "similarity.layers",
    "layer_importance": "similarity.layers",
    "Resampling": "similarity.table",
    # the decision
    "decide": "probing.decide",
    "DecisionOptions": "probing.decision_options",
    "planned_margins": "probing.planning",
    # the student
    "distil": "distillation.distil",
    "DistilOptions": "distillation.distil",
    "DistillationWeights": "distillation.losses",
    "export_student": "export.deploy",
    "CardOptions": "export.deploy",
    "load_student": "export.student",
    # a whole study
    "Study": "pipeline.opened",
    "StudySpec": "study.spec",
    "load_spec": "study.parser",
    "write_report": "reporting.report",
    # figures
    "plot_depth": "reporting.plots",
    "plot_similarity": "reporting.plots",
    "plot_importance": "reporting.plots",
    "plot_decision": "reporting.plots",
    "plot_cost": "reporting.plots",
    # errors
    "InputError": "errors",
    "StudyError": "errors",
}
__all__ = ["__version__", *_PUBLIC]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'layerprobe' has no attribute {name!r}")
    return getattr(import_module(f"layerprobe.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
