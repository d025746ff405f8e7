"""`Ranking`: how the models of a study are ranked, and their ranks with the time this took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.arguments import require_kind, require_parts, require_whole
from layerprobe.data.catalogue import Catalogue
from layerprobe.data.splits import PARTS, Part, Split
from layerprobe.errors import InputError
from layerprobe.evaluation.metrics import metric_values, user_means
from layerprobe.evaluation.negatives import has_enough
from layerprobe.evaluation.ranks import FULL, Protocols, Scorer, rank_targets
from layerprobe.recommender.baselines import floors
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
        """Returns NDCG@10 of each validation user, the mean over its targets, full ranking, (users,)."""
        model.eval()
        # Only the full protocol picks an epoch, so no negatives are drawn.
        full_only = Protocols(sampled=None, remove_history=self.protocols.remove_history)
        scorer, shared = ModelScorer(model), not model.is_sharded  # slices are read by all processes at once
        ranks = rank_targets(scorer, self.split, ["valid"], full_only, self.batch_size, shared)["model"]
        return _per_user(ranks, "ndcg")


def rank(
    model: SequenceModel | Scorer,
    split: Split,
    protocols: Protocols | None = None,
    *,
    parts: Sequence[Part] = PARTS,
    batch_size: int = 256,
) -> pd.DataFrame:
    """Ranks the held-out target of every user: the table that every metric, interval and decision is made from.

    Args:
        model: a `Recommender`, a `SASRec`, or a floor such as `Popularity(split)`; a model is put into evaluation mode.
        split: the log.
        protocols: what targets are ranked among; None is the whole catalogue less the user's history, and 999 negatives
            where the catalogue has so many.
        parts: `valid`, `test`, or both.
        batch_size: users scored at a time; changes speed, not results.

    Returns:
        One row per target, part and protocol, columns `columns.RANKS`; leave-one-out has one target per user.

    Raises:
        InputError: an argument is of a wrong kind, or a user has too few items for the negatives.
    """
    require_kind("split", split, Split, instead="take the .split of what prepare returns")
    protocols = usual_protocols(split) if protocols is None else protocols
    require_kind("protocols", protocols, Protocols)
    require_whole("batch_size", batch_size, 1)
    require_parts(parts, PARTS)
    scorer = as_scorer(model, split)
    (ranks,) = rank_targets(scorer, split, list(parts), protocols, batch_size).values()
    return ranks


def rank_floors(
    split: Split, catalogue: Catalogue, protocols: Protocols | None = None, batch_size: int = 256
) -> dict[str, pd.DataFrame]:
    """Ranks every floor that needs no training; see `rank`.

    Returns:
        Per name of a floor its ranks; TF-IDF is left out where the items have no titles.
    """
    require_kind("catalogue", catalogue, Catalogue, instead="take the .catalogue of what prepare returns")
    return {floor.names[0]: rank(floor, split, protocols, batch_size=batch_size) for floor in floors(split, catalogue)}


def usual_protocols(split: Split) -> Protocols:
    """Returns the full protocol, with 999 negatives beside it where every user has so many items to draw from."""
    sampled = Protocols().sampled
    return Protocols(sampled=sampled if sampled is not None and has_enough(split, sampled) else None)


def require_same_items(model: SequenceModel, split: Split) -> None:
    """Makes sure that a model scores the items of a log.

    Raises:
        InputError: it has vectors of more or fewer items.
    """
    n_items = len(model.item_vectors()) - 1
    if n_items != split.sequences.n_items:
        raise InputError(
            f"model and split must be of one catalogue; the model has {n_items} items and the split "
            f"{split.sequences.n_items}"
        )


def as_scorer(model: SequenceModel | Scorer, split: Split) -> Scorer:
    """Returns a model as what `rank_targets` asks for, in evaluation mode.

    Raises:
        InputError: it is neither a model of the split's items nor a scorer with one output.
    """
    if isinstance(model, SequenceModel):
        require_same_items(model, split)
        return ModelScorer(model.eval())
    names = getattr(model, "names", None)
    if not (callable(getattr(model, "scores", None)) and isinstance(names, tuple) and len(names) == 1):
        raise InputError(
            f"model must be a Recommender, a SASRec or a floor with one output; got a {type(model).__name__}"
        )
    return model


def timed_ranks(model: SequenceModel, ranking: Ranking) -> tuple[pd.DataFrame, float]:
    """Ranks validation and test targets; returns the table and targets ranked per second."""
    started = time.monotonic()
    ranks = rank_targets(ModelScorer(model), ranking.split, PARTS, ranking.protocols, ranking.batch_size)["model"]
    n_ranked = sum(len(ranking.split.queries(part)) for part in PARTS)
    return ranks, n_ranked / (time.monotonic() - started)


def metric_line(ranks: pd.DataFrame) -> str:
    """Returns test HR@10 and NDCG@10 (full ranking) as a phrase."""
    test = ranks.loc[(ranks[columns.SPLIT] == "test") & (ranks[columns.PROTOCOL] == FULL)]
    return f"test HR@10 {_per_user(test, 'hr').mean():.4f}, NDCG@10 {_per_user(test, 'ndcg').mean():.4f}"


def _per_user(ranks: pd.DataFrame, metric: str) -> np.ndarray:
    return user_means(ranks[columns.USER].to_numpy(), metric_values(ranks, metric, 10))
