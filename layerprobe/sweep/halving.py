"""Successive halving: which selections continue, by the validation users of half-trained models.

Takes the logs of variants that have reached the same epoch. Test users are not used, so the decision's tests of the
selections that remain are valid.

Source: Jamieson and Talwalkar, arXiv 1502.07943, algorithm 1. We differ: selections with several seeds are compared by
their mean, so all seeds of one continue or none; stopped ones keep their state and can be resumed later.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from layerprobe.backbone.selection import LayerSelection
from layerprobe.store.atomic import write_json
from layerprobe.store.layout import HALTED, LOG
from layerprobe.study.probe_spec import HalvingOptions
from layerprobe.study.study import Study
from layerprobe.sweep.tasks import Task
from layerprobe.training.log import VALID, say

CUT_OFF = "cut_off"


def rungs(options: HalvingOptions | None, epochs: int) -> list[int]:
    """Returns the epochs after which selections are chosen.

    >>> rungs(HalvingOptions(after=1), 8), rungs(HalvingOptions(after=3), 20), rungs(None, 20)
    ([1, 2, 4], [3, 6, 12], [])
    """
    if options is None:
        return []
    epochs_of_choice = [options.after]
    while epochs_of_choice[-1] < epochs:
        epochs_of_choice.append(2 * epochs_of_choice[-1])
    return epochs_of_choice[:-1]


def candidates(study: Study) -> list[LayerSelection]:
    """Returns the selections that halving may stop: all but depth 0 and the full model."""
    return [selection for selection in study.selections if 0 < selection.depth < study.n_layers]


def best_until(folder: Path, epoch: int) -> float:
    """Returns the best validation NDCG@10 (full ranking) of a model up to an epoch, to the six digits of its log."""
    rows = [json.loads(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]
    return max(row[VALID] for row in rows if VALID in row and row["epoch"] <= epoch)


def best_of(values: Mapping[LayerSelection, float], keep: float) -> list[LayerSelection]:
    """Returns the share `keep` with the highest values, rounded up; of equal ones those with fewer layers."""
    ordered = sorted(values, key=lambda selection: (-values[selection], selection.depth))
    return ordered[: math.ceil(keep * len(ordered))]


@dataclass(frozen=True)
class Choice:
    """Which selections continue after an epoch.

    Attributes:
        epoch: epochs that all have trained.
        values: mean over the seeds of the best validation NDCG@10 so far, by selection.
        kept: those that continue, best first.
    """

    epoch: int
    values: dict[LayerSelection, float]
    kept: list[LayerSelection]

    @staticmethod
    def of(study: Study, selections: Sequence[LayerSelection], epoch: int, keep: float) -> Choice:
        """Chooses among selections whose every seed has reached the epoch."""
        seeds = study.spec.probe.seeds
        values = {
            selection: float(np.mean([best_until(study.variant_folder(selection, seed), epoch) for seed in seeds]))
            for selection in selections
        }
        return Choice(epoch, values, best_of(values, keep))

    @property
    def stopped(self) -> list[LayerSelection]:
        """Those that do not continue."""
        return [selection for selection in self.values if selection not in self.kept]

    def record(self, study: Study, halted: Sequence[LayerSelection]) -> None:
        """Writes `halted.json` into every unfinished model of the selections and prints a line."""
        cut_off = min((self.values[selection] for selection in self.kept), default=0.0)
        for selection in halted:
            for seed in study.spec.probe.seeds:
                task = Task(selection, seed)
                if task.state(study) != "done":
                    standing = {"epoch": self.epoch, VALID: self.values[selection], CUT_OFF: cut_off}
                    write_json(task.folder(study) / HALTED, {"what": task.label, **standing})
        if halted:
            names = ", ".join(f"{selection} ({self.values[selection]:.4f})" for selection in halted)
            say(
                f"halving: {len(self.kept)} of {len(self.values)} selections continue after epoch {self.epoch}, with a "
                f"validation NDCG@10 of at least {cut_off:.4f}; stopped: {names}"
            )
