"""`Planned`: a model before it is trained: its name, its folder, and how much of it is done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from layerprobe.backbone.selection import LayerSelection
from layerprobe.store.layout import CHECKPOINT
from layerprobe.store.run_folder import DONE
from layerprobe.training.checkpoint import saved_progress
from layerprobe.training.options import TrainingOptions

PlannedKind = Literal["sasrec", "recommender", "teaching", "distilled"]


@dataclass(frozen=True)
class Left:
    """Upper bound of what is left of a training: it may stop early."""

    steps: int
    validations: int


@dataclass(frozen=True)
class Planned:
    """One line of the plan.

    Attributes:
        label: its name.
        kind: what is trained; `teaching` trains nothing: it ranks exits and cuts of the trained teacher.
        folders: where its results go; it is done when all of them are.
        training: recipe.
        max_len: newest items read.
        selection: layers kept; None is all of them, or SASRec, which has none.
        floors: baselines without training that are ranked beside it.
        is_stale: whether the folders hold results of other options, which will be computed again.
    """

    label: str
    kind: PlannedKind
    folders: tuple[Path, ...]
    training: TrainingOptions
    max_len: int
    selection: LayerSelection | None = None
    floors: int = 0
    is_stale: bool = False

    @property
    def state(self) -> str:
        """`done`, `begun` or `to do`."""
        if not self.is_stale and all((folder / DONE).exists() for folder in self.folders):
            return "done"
        return "begun" if any(folder.exists() for folder in self.folders) else "to do"

    def left(self, steps_per_epoch: int) -> Left:
        """Returns the steps and rankings that remain after its last saved state."""
        progress = saved_progress(self.folders[0] / CHECKPOINT)
        if progress.stopped:
            return Left(0, 0)
        untrained = 0 if progress.log_rows else 1  # the model is ranked once before it is trained
        steps = self.training.epochs * steps_per_epoch - progress.step
        return Left(steps, self.training.epochs - progress.epoch + untrained)
