"""The ranks that a decision compares: variants with all seeds of the full model, floors, and twins of the control arms.

Takes the study's models and a source of ranks. Needs no torch, so a published report is decided again by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from layerprobe.backbone.selection import LayerSelection
from layerprobe.kinds import SASREC
from layerprobe.probing.controls import ControlArm, compare_control
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.per_user import RankTables
from layerprobe.stages.tables.points import floor_ranks
from layerprobe.store.layout import RANKS
from layerprobe.store.rank_source import RankSource
from layerprobe.study.model_folders import StudyModels

BySelection = dict[LayerSelection, list[pd.DataFrame]]


@dataclass(frozen=True, eq=False)
class Compared:
    """What a decision compares.

    Attributes:
        seeds: those with which the full model is finished.
        variants: ranks of the selections that are finished with each of these seeds, one table per seed.
        sasrec: ranks of the floor that is trained, one table or one per seed.
        scored: ranks of the floors without training, by name.
        twins: per control arm the ranks of those twins that are finished with each seed, as their variants are.
    """

    seeds: tuple[int, ...]
    variants: BySelection
    sasrec: list[pd.DataFrame]
    scored: dict[str, pd.DataFrame]
    twins: dict[str, BySelection]

    @property
    def floors(self) -> dict[str, RankTables]:
        """Ranks of all floors, by name."""
        return {SASREC: self.sasrec, **self.scored}

    @property
    def trained(self) -> dict[str, list[pd.DataFrame]]:
        """Ranks of the trained models alone, by name: what tells one look at the test users from another."""
        return {SASREC: self.sasrec, **{selection.text: own for selection, own in self.variants.items()}}

    def control_arms(self, options: DecisionOptions) -> list[ControlArm]:
        """Compares the variants of each arm with their twins; an arm without any finished twin is left out."""
        return [
            compare_control(
                control, {selection: (self.variants[selection], twin) for selection, twin in twins.items()}, options
            )
            for control, twins in self.twins.items()
            if twins
        ]


def compared(models: StudyModels, ranks: RankSource) -> Compared:
    """Reads the ranks that can be compared."""
    folders = models.folders
    seeds = tuple(seed for seed in models.seeds if ranks.has(folders.variant(models.full, seed) / RANKS))
    variants = _finished(models.selections, folders.variant, seeds, ranks)
    twins = {
        control: _finished([one for one in variants if one.depth], partial(folders.control, control), seeds, ranks)
        for control in models.controls
    }
    sasrec = sasrec_ranks(models, ranks, seeds)
    return Compared(seeds, variants, sasrec, floor_ranks(models, ranks), twins)


def _finished(
    selections: Sequence[LayerSelection],
    folder: Callable[[LayerSelection, int], Path],
    seeds: tuple[int, ...],
    ranks: RankSource,
) -> BySelection:
    """Returns the ranks of those selections that are finished with each seed."""
    paths = {selection: [folder(selection, seed) / RANKS for seed in seeds] for selection in selections}
    return {one: [ranks.read(path) for path in own] for one, own in paths.items() if all(map(ranks.has, own))}


def sasrec_ranks(models: StudyModels, ranks: RankSource, seeds: tuple[int, ...]) -> list[pd.DataFrame]:
    """Returns SASRec's ranks of the compared seeds; one that was trained once is compared with every seed."""
    folders = models.folders.sasrec
    counted = list(folders.values()) if len(folders) == 1 else [folders[seed] for seed in seeds]
    return [ranks.read(folder / RANKS) for folder in counted]
