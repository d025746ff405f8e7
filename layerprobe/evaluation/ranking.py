"""`Ranking`: how the models of a study are ranked, and their ranks with the time this took."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.data.splits import PARTS, Split
from layerprobe.evaluation.metrics import metric_values
from layerprobe.evaluation.ranks import FULL, Protocols, rank_targets
from layerprobe.recommender.sequence_model import ModelScorer, SequenceModel


@dataclass(frozen=True, eq=False)
class Ranking:
    """How models are ranked in this study."""

    split: Split
    protocols: Protocols
    ks: list[int]
    batch_size: int

    def ndcg_valid(self, model: SequenceModel) -> float:
        """Returns NDCG@10 of the validation targets, full ranking: what picks the best epoch."""
        return float(self.each_valid(model).mean())

    def each_valid(self, model: SequenceModel) -> np.ndarray:
        """Returns NDCG@10 of each validation target, full ranking, (users,)."""
        model.eval()
        # Only the full protocol picks an epoch, so no negatives are drawn.
        full_only = Protocols(sampled=None, remove_history=self.protocols.remove_history)
        scorer, shared = ModelScorer(model), not model.is_sharded  # slices are read by all processes at once
        ranks = rank_targets(scorer, self.split, ["valid"], full_only, self.batch_size, shared)["model"]
        return metric_values(ranks, "ndcg", 10)


def timed_ranks(model: SequenceModel, ranking: Ranking) -> tuple[pd.DataFrame, float]:
    """Ranks validation and test targets; returns the table and users ranked per second."""
    started = time.monotonic()
    ranks = rank_targets(ModelScorer(model), ranking.split, PARTS, ranking.protocols, ranking.batch_size)["model"]
    return ranks, len(PARTS) * len(ranking.split.evaluated) / (time.monotonic() - started)


def metric_line(ranks: pd.DataFrame) -> str:
    """Returns test HR@10 and NDCG@10 (full ranking) as a phrase."""
    test = ranks.loc[(ranks[columns.SPLIT] == "test") & (ranks[columns.PROTOCOL] == FULL)]
    return (
        f"test HR@10 {metric_values(test, 'hr', 10).mean():.4f}, NDCG@10 {metric_values(test, 'ndcg', 10).mean():.4f}"
    )
