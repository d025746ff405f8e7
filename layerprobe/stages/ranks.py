"""Ranks of scorers without a model folder: floors and exits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from layerprobe.data.splits import PARTS
from layerprobe.evaluation.ranking import Ranking
from layerprobe.evaluation.ranks import Scorer, rank_targets
from layerprobe.store.atomic import write_parquet
from layerprobe.store.run_folder import mark_done


def ranked(scorer: Scorer, ranking: Ranking) -> dict[str, pd.DataFrame]:
    """Ranks all outputs of a scorer on validation and test targets."""
    return rank_targets(scorer, ranking.split, PARTS, ranking.protocols, ranking.batch_size)


def write_ranks(folder: Path, key: str, ranks: Mapping[str, pd.DataFrame], beside: Sequence[Path] = ()) -> None:
    """Writes one table of ranks per output and marks the folder done, together with the files already in it."""
    paths = [folder / f"ranks-{name}.parquet" for name in ranks]
    for path, table in zip(paths, ranks.values(), strict=True):
        write_parquet(path, table)
    mark_done(folder, key, [*paths, *beside])
