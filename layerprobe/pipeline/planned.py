"""The models of a study before they are trained: what they are called, where they will lie, how far they have come."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from layerprobe.backbone.selection import LayerSelection, measured_form, parse_selection
from layerprobe.pipeline import outcomes
from layerprobe.pipeline.arms import sasrec_folders, student_folders
from layerprobe.pipeline.layer_stage import similarity_key
from layerprobe.pipeline.probed_exits import exits_key
from layerprobe.pipeline.study import Study
from layerprobe.store.atomic import read_json
from layerprobe.store.run_folder import DONE
from layerprobe.training.checkpoint import saved_progress
from layerprobe.training.options import TrainingOptions

Kind = Literal["sasrec", "recommender", "teaching", "distilled"]
TITLED_FLOORS = 3
"""Popularity, Markov-1 and, where items have titles, TF-IDF."""


@dataclass(frozen=True)
class Left:
    """What is left of a training, at most: an early stop may end it sooner."""

    steps: int
    validations: int


@dataclass(frozen=True)
class Planned:
    """One line of the plan.

    Attributes:
        label: what it is called.
        kind: what is trained; `teaching` trains nothing and asks the trained teacher for exits and layers left out.
        folders: where its results go; it is done when all of them are.
        training: recipe.
        max_len: newest items read.
        selection: layers kept; None is all of them, or SASRec, which has none.
        floors: baselines without training that are ranked beside it.
        is_stale: whether what lies in the folders answers to other options and will be made anew.
    """

    label: str
    kind: Kind
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
        """Returns the steps and rankings that remain by its last saved point."""
        progress = saved_progress(self.folders[0] / "checkpoint")
        if progress.stopped:
            return Left(0, 0)
        untrained = 0 if progress.log_rows else 1  # the model is ranked once before it is trained
        steps = self.training.epochs * steps_per_epoch - progress.step
        return Left(steps, self.training.epochs - progress.epoch + untrained)


def planned_models(study: Study) -> list[Planned]:
    """Returns every model of the study in the order in which it is trained."""
    spec = study.spec
    reads, asked = spec.recommender.max_len, (study.folder / "similarity", study.folder / "exits")
    return [
        *_sasrecs(study),
        Planned(f"teacher: {study.full}", "recommender", (study.folder / "teacher",), spec.training, reads, study.full),
        Planned(
            "layers compared and left out, exits", "teaching", asked, spec.training, reads, is_stale=_is_stale(study)
        ),
        *(
            Planned(label, "recommender", (folder,), spec.training, reads, selection)
            for label, selection, folder in _probed(study)
        ),
        *_students(study),
    ]


def _sasrecs(study: Study) -> list[Planned]:
    (_, first), *others = sasrec_folders(study).items()
    training, reads = study.spec.items.training, study.spec.items.sasrec.max_len
    folders = (first, study.folder / "baselines")
    return [
        Planned("items: SASRec and floors", "sasrec", folders, training, reads, floors=TITLED_FLOORS),
        *(Planned(f"items: SASRec, seed {seed}", "sasrec", (folder,), training, reads) for seed, folder in others),
    ]


def _students(study: Study) -> list[Planned]:
    spec, text, selection = study.spec, _student_text(study), _student(study)
    return [
        Planned(
            label=f"distilled: {text}" + (f", seed {seed}" if seed != spec.probe.seeds[0] else ""),
            kind="distilled",
            folders=(folder,),
            training=spec.distill.training or spec.training,
            max_len=spec.recommender.max_len,
            selection=selection,
        )
        for seed, folder in student_folders(study).items()
    ]


def _is_stale(study: Study) -> bool:
    """Tells whether layers or exits were looked at with other options than those of the spec."""
    if not (study.folder / "teacher" / DONE).exists():
        return False
    keys = {"similarity": similarity_key(study), "exits": exits_key(study)}
    markers = {study.folder / name / DONE: key for name, key in keys.items()}
    return any(marker.exists() and read_json(marker)["key"] != key for marker, key in markers.items())


def _student_text(study: Study) -> str:
    spec = study.spec.distill
    if spec.selection is None and spec.depth is None:
        return "the decided selection, or the next that can be distilled"
    return spec.selection or f"first:{spec.depth}"


def _student(study: Study) -> LayerSelection:
    """Returns the student's layers; where they are open, what costs most, or as much as those still to be measured."""
    asked = study.spec.distill.selection
    form = None if asked is None else measured_form(asked, study.n_layers)
    if form is not None and form[0] not in study.measured:
        return parse_selection(f"first:{form[1]}", study.n_layers)
    if study.student_selection is not None or (study.folder / "decision.json").exists():
        return outcomes.student_selection(study)
    deepest = max(depth for depth in range(1, study.n_layers + 1) if study.can_distil(depth))
    return parse_selection(f"first:{deepest}", study.n_layers)


def _probed(study: Study) -> list[tuple[str, LayerSelection, Path]]:
    """Returns the variants but for the teacher, then the twins of the control arms, each with its folder."""
    seeds = study.spec.probe.seeds
    found = [
        (f"variant: {each}, seed {seed}", each, study.variant_folder(each, seed))
        for seed in seeds
        for each in study.selections
    ]
    # What a selection costs depends on its depth alone, so the first layers stand for those still to be measured.
    waiting = [LayerSelection(tuple(range(depth)), text, study.n_layers) for text, depth in study.family.pending]
    found += [
        (f"variant: {each} (layers measured first), seed {seed}", each, study.variant_folder(each, seed))
        for seed in seeds
        for each in waiting
    ]
    found = [entry for entry in found if entry[2].name != "teacher"]
    for control in study.spec.probe.controls:
        found += [
            (f"{control}: {each}, seed {seed}", each, study.control_folder(control, each, seed))
            for seed in seeds
            for each in (*study.control_selections, *waiting)
            if each.depth
        ]
    return found
