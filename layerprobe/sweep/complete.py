"""What a sweep has finished: the selections and seeds that curve, decision and controls may compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from layerprobe.backbone.selection import LayerSelection
from layerprobe.errors import StudyError
from layerprobe.store.atomic import read_json
from layerprobe.store.layout import HALTED
from layerprobe.study.study import Study
from layerprobe.sweep.halving import CUT_OFF
from layerprobe.sweep.tasks import Task, failed_line
from layerprobe.training.log import VALID


@dataclass(frozen=True, eq=False)
class Complete:
    """What can be compared, and what is left out.

    Attributes:
        study: the study of the sweep.
        seeds: those whose full model is finished; the others are left out for every selection.
        selections: those that are finished with each of these seeds, by depth, the full model last.
    """

    study: Study
    seeds: tuple[int, ...]
    selections: tuple[LayerSelection, ...]

    def twins(self, control: str) -> tuple[LayerSelection, ...]:
        """Returns the selections that an arm can compare: variant and twin are finished with each seed."""
        return tuple(
            selection
            for selection in self.selections
            if selection.depth and self.finished_with(selection, control) == self.seeds
        )

    def finished_with(self, selection: LayerSelection, control: str | None = None) -> tuple[int, ...]:
        """Returns those of `seeds` with which a model is finished."""
        return tuple(seed for seed in self.seeds if Task(selection, seed, control).state(self.study) == "done")

    @property
    def notes(self) -> tuple[str, ...]:
        """Returns what is left out and why, one sentence each."""
        return (*self._seed_notes(), *self._failed_notes(None), *self._halted_notes(), *self._control_notes())

    def _seed_notes(self) -> list[str]:
        lost = [seed for seed in self.study.spec.probe.seeds if seed not in self.seeds]
        return [f"Seed {seed} is left out for every selection: the full model failed with it." for seed in lost]

    def _failed_notes(self, control: str | None) -> list[str]:
        notes = []
        for selection in self.study.selections:
            seeds = [seed for seed in self.seeds if Task(selection, seed, control).state(self.study) == "failed"]
            if seeds:
                named = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
                whose = "its training" if control is None else f"the training of its {control} twin"
                place = "the tests" if control is None else "that arm"
                notes.append(f"{selection} is left out of {place}: {whose} failed with {named}.")
        return notes

    def _control_notes(self) -> list[str]:
        return [note for control in self.study.spec.probe.controls for note in self._failed_notes(control)]

    def _halted_notes(self) -> list[str]:
        notes = []
        for selection in self.study.selections:
            tasks = [Task(selection, seed) for seed in self.seeds]
            halted = [task for task in tasks if task.state(self.study) == "halted"]
            if halted:
                record: dict[str, Any] = read_json(halted[0].folder(self.study) / HALTED)
                epochs = "1 epoch" if record["epoch"] == 1 else f"{record['epoch']} epochs"
                notes.append(
                    f"{selection} is left out of the tests: stopped after {epochs} by halving, with a validation "
                    f"NDCG@10 of {record[VALID]:.4f}; the selections that continued have at least "
                    f"{record[CUT_OFF]:.4f}."
                )
        return notes


def complete(study: Study) -> Complete:
    """Returns what is finished and can be compared; the probe stage must have ended.

    Raises:
        StudyError: no full model is finished, there is nothing to compare it with, or it has too few seeds for
            intervals that must cover the noise of training.
    """
    seeds = tuple(seed for seed in study.spec.probe.seeds if Task(study.full, seed).state(study) == "done")
    finished = Complete(study, seeds, ())
    selections = tuple(selection for selection in study.selections if finished.finished_with(selection) == seeds)
    if not seeds or len(selections) < 2:
        what = "the full model" if not seeds else "any smaller selection"
        raise StudyError(f"nothing can be decided without {what}: {failed_line(study) or 'run the probe stage'}")
    if study.spec.decision.cover == "training" and len(seeds) == 1:
        raise StudyError(
            f"decision.cover training needs 2 seeds of the full model, and only seed {seeds[0]} is finished: "
            f"{failed_line(study) or 'run the probe stage'}"
        )
    return Complete(study, seeds, selections)
