"""What a model's layers do, from its sampled states: what a notebook calls, and the tables it gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd
import torch

from layerprobe.arguments import require_kind
from layerprobe.errors import InputError
from layerprobe.similarity.importance import NEEDED, importance_table
from layerprobe.similarity.measures import DEFAULT_MEASURES, MEASURES
from layerprobe.similarity.sampling import SampledStates
from layerprobe.similarity.table import DEFAULT_RESAMPLING, Resampling, pair_scores, similarity_table

AnyStates: TypeAlias = "SampledStates | torch.Tensor | np.ndarray"
"""What `states` returned, or `hidden[0..L]` of one's own, [L + 1, rows, dim], one row per user."""
LEAST_ROWS = 5
OWN_ROWS = "rows handed over"


def layer_similarity(
    states: AnyStates, measures: Sequence[str] = DEFAULT_MEASURES, resampling: Resampling = DEFAULT_RESAMPLING
) -> pd.DataFrame:
    """Compares every pair of states by every measure, with intervals over users.

    Args:
        states: of one model.
        measures: names in `similarity.measures.MEASURES`, such as `cka`, `cosine`, `angular`, `mutual-knn`.
        resampling: how the intervals are drawn.

    Returns:
        Columns `columns.SIMILARITY`, one row per (measure, layer_a, layer_b).

    Raises:
        InputError: an argument is of a wrong kind, a measure is unknown or cannot be taken of these states.
    """
    hidden, label = _hidden(states)
    require_kind("resampling", resampling, Resampling)
    unknown = [name for name in measures if name not in MEASURES] if not isinstance(measures, str) else [measures]
    if unknown or not measures:
        got = unknown[0] if unknown else "none"
        raise InputError(f"measures must be a list of names among {', '.join(MEASURES)}; got {got!r}")
    return similarity_table(hidden, label, tuple(measures), resampling)


def layer_importance(states: AnyStates, resampling: Resampling = DEFAULT_RESAMPLING) -> pd.DataFrame:
    """Scores every layer by how much it changes the states: block influence, angle, drop of CKA, with intervals.

    What is lost without a layer is another question, which needs targets: a study answers it (`Study.importance`,
    measure `drop-one-ndcg`).

    Args:
        states: of one model.
        resampling: how the intervals are drawn.

    Returns:
        Columns `columns.IMPORTANCE`, one row per measure and layer; 0 is a layer that changes nothing.

    Raises:
        InputError: an argument is of a wrong kind, or the states have no layer.
    """
    hidden, _ = _hidden(states)
    require_kind("resampling", resampling, Resampling)
    return importance_table(pair_scores(hidden, NEEDED), hidden, resampling)


def _hidden(states: AnyStates) -> tuple[torch.Tensor, str]:
    if isinstance(states, SampledStates):
        return states.hidden, states.label
    require_kind("states", states, SampledStates, torch.Tensor, np.ndarray, instead="take what states(...) returns")
    hidden = torch.as_tensor(states)
    if hidden.ndim != 3 or len(hidden) < 2 or hidden.shape[1] < LEAST_ROWS:
        raise InputError(
            f"states must have the shape [layers + 1, rows, dim], with a layer and {LEAST_ROWS} rows at the least; got "
            f"{list(hidden.shape)}"
        )
    return hidden, OWN_ROWS
