"""`StudyModels`: which models a study has, and in which folder each of them lies.

Takes plain values, reads nothing and needs no torch, so a study that is trained and one that was published are listed
by the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerprobe.backbone.selection import LayerSelection
from layerprobe.store.layout import StudyLayout, seed_folder
from layerprobe.study.spec_rules import require_name


@dataclass(frozen=True)
class ModelFolders:
    """The folders of a study's models.

    Attributes:
        layout: the paths of its files.
        seeds: training seeds; the teacher is trained with the first.
        start: weights that variants start from, `backbone` or `teacher`.
        student: name of the student.
        every_student: whether the student is trained with every seed.
        every_sasrec: whether SASRec is.
    """

    layout: StudyLayout
    seeds: tuple[int, ...]
    start: str
    student: str
    every_student: bool
    every_sasrec: bool

    @staticmethod
    def of(layout: StudyLayout, spec: Mapping[str, Any]) -> ModelFolders:
        """Returns the folders of a study from the plain values of its `study.yaml`.

        A key that an older version did not write means what that version did: one training of SASRec and student.
        """
        probe, distill = spec["probe"], spec["distill"]
        require_name("distill.name", distill["name"])  # a folder that came by mail may name any place
        every_sasrec = spec["items"].get("every_seed", False)
        return ModelFolders(
            layout,
            tuple(probe["seeds"]),
            probe.get("start", "backbone"),
            distill["name"],
            distill.get("every_seed", False),
            every_sasrec,
        )

    def variant(self, selection: LayerSelection, seed: int) -> Path:
        """Folder of one variant; the full model with the first seed is the teacher itself.

        Where variants start from the trained teacher, the full model does so too, in a folder of its own: otherwise a
        model that was trained once would be compared with variants that were trained twice.
        """
        is_full = selection.depth == selection.n_layers and seed == self.seeds[0]
        if is_full and self.start == "backbone":
            return self.layout.teacher
        return self.layout.variant(selection.folder, seed)

    def control(self, control: str, selection: LayerSelection, seed: int) -> Path:
        """Folder of a variant's twin in a control arm."""
        return self.layout.control(control, selection.folder, seed)

    @property
    def sasrec(self) -> dict[int, Path]:
        """SASRec's model folder per seed."""
        return self._per_seed(self.layout.items, self.every_sasrec)

    @property
    def students(self) -> dict[int, Path]:
        """The student's model folder per seed; the first one's model is exported."""
        return self._per_seed(self.layout.distillation / self.student, self.every_student)

    def _per_seed(self, folder: Path, every_seed: bool) -> dict[int, Path]:
        """The model of the first seed is in `folder` itself, as in a study of one seed; the others are below it."""
        first, *others = self.seeds
        return {first: folder, **{seed: folder / seed_folder(seed) for seed in (others if every_seed else [])}}


@dataclass(frozen=True)
class StudyModels:
    """The models of a study.

    Attributes:
        folders: where they lie.
        selections: selections of the variants, by depth and then as given, the full model last.
        controls: names of the control arms.
    """

    folders: ModelFolders
    selections: tuple[LayerSelection, ...]
    controls: tuple[str, ...]

    @property
    def layout(self) -> StudyLayout:
        """The paths of the study's files."""
        return self.folders.layout

    @property
    def seeds(self) -> tuple[int, ...]:
        """Training seeds."""
        return self.folders.seeds

    @property
    def full(self) -> LayerSelection:
        """All layers: the teacher's selection."""
        return self.selections[-1]

    @property
    def twins(self) -> tuple[LayerSelection, ...]:
        """Selections that have twins in the control arms: all but depth 0, which has no weights to draw."""
        return tuple(selection for selection in self.selections if selection.depth)

    @property
    def curve_folders(self) -> list[Path]:
        """The folders of all trained models of the curve, finished or not, in its order."""
        folders, seeds = self.folders, self.seeds
        variants = [folders.variant(selection, seed) for seed in seeds for selection in self.selections]
        twins = [
            folders.control(control, selection, seed)
            for control in self.controls
            for seed in seeds
            for selection in self.twins
        ]
        return [*variants, *twins, *folders.students.values(), *folders.sasrec.values()]
