"""`Study`: a spec and its folder, and what follows from the two: selections, recipes, model folders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import gcd
from pathlib import Path

import torch

from layerprobe.arguments import as_path, require_kind
from layerprobe.backbone.load import backbone_content, count_layers
from layerprobe.backbone.selection import LayerSelection, Measured, measured_form, parse_selection
from layerprobe.data.prepare import PreparedData, load_prepared
from layerprobe.data.splits import Split
from layerprobe.errors import InputError
from layerprobe.evaluation.ranking import Ranking
from layerprobe.evaluation.ranks import Protocols
from layerprobe.items.table import load_item_table
from layerprobe.probing.selections import Family, asked_selections, every_number, study_family
from layerprobe.probing.variant import RecipeOptions
from layerprobe.store.atomic import read_json
from layerprobe.store.layout import StudyLayout
from layerprobe.store.seals.study_seals import require_whole_file
from layerprobe.study.model_folders import ModelFolders, StudyModels
from layerprobe.study.plain_study import read_measured
from layerprobe.study.spec import StudySpec
from layerprobe.training.tracking import Tracking

GREEDY = "greedy"


@dataclass(frozen=True, eq=False)
class Study:
    """A study on disk.

    Attributes:
        spec: the options.
        folder: where everything is written.
    """

    spec: StudySpec
    folder: Path

    def __post_init__(self) -> None:
        require_kind("spec", self.spec, StudySpec)
        object.__setattr__(self, "folder", as_path("folder", self.folder))

    @property
    def layout(self) -> StudyLayout:
        """The paths of its files."""
        return StudyLayout(self.folder)

    @cached_property
    def n_layers(self) -> int:
        """Depth of the teacher."""
        return count_layers(self.spec.backbone)

    @property
    def measured(self) -> Measured:
        """Layers kept by the measured forms, as far as the similarity stage has measured them.

        Raises:
            InputError: the file is damaged.
        """
        require_whole_file(self.layout, self.layout.selections)
        return read_measured(self.layout)

    @property
    def asked_forms(self) -> set[str]:
        """Measured forms that variants or the student are chosen by."""
        texts = [*self.asked_texts, self.spec.distill.selection or ""]
        return {form[0] for form in (measured_form(text, self.n_layers) for text in texts) if form is not None}

    @property
    def asked_texts(self) -> list[str]:
        """Selections beside `probe.depths`, one text each."""
        return [selection for text in self.spec.probe.texts for selection in every_number(text, self.n_layers)]

    @property
    def needs_greedy(self) -> bool:
        """Whether layers are removed greedily: set in the spec, or needed by a selection."""
        return self.spec.similarity.greedy or GREEDY in self.asked_forms

    @property
    def family(self) -> Family:
        """The studied selections, each set of layers once; a text that keeps all layers is the teacher, `first:L`.

        Raises:
            InputError: a depth lies outside 0..L, or a selection does not parse or fit.
        """
        probe = self.spec.probe
        return study_family(probe.depths, probe.selections, self.n_layers, self.measured)

    @property
    def asked_selections(self) -> tuple[str, ...]:
        """Selections that the spec asks for, measured yet or not; the full model first."""
        return asked_selections(self.spec.probe.depths, self.spec.probe.selections, self.n_layers)

    @property
    def selections(self) -> tuple[LayerSelection, ...]:
        """Selections of the variants, by depth and then as given, the full model last."""
        return self.family.selections

    @property
    def full(self) -> LayerSelection:
        """All layers: the teacher's selection."""
        return self.selections[-1]

    @property
    def control_selections(self) -> tuple[LayerSelection, ...]:
        """Selections that have twins in the control arms: all but depth 0, which has no weights to draw."""
        return tuple(selection for selection in self.selections if selection.depth)

    @property
    def recipe(self) -> RecipeOptions:
        """What every recommender of the study is built from."""
        return RecipeOptions(self.spec.backbone, self.spec.tuning, self.spec.prompt, self.spec.recommender)

    @property
    def student_recipe(self) -> RecipeOptions:
        """What the student is built from: the study's recipe, never quantized, since it is exported in float32."""
        return replace(self.recipe, backbone=replace(self.spec.backbone, quantize=None))

    @cached_property
    def data(self) -> PreparedData:
        """The prepared data; the data stage must be done."""
        return load_prepared(self.layout.data)

    @property
    def data_hash(self) -> str:
        """Hash of the sequences and, in a split by time, of its cuts."""
        if not self.layout.split.exists():
            raise InputError(f"{self.folder} has no prepared data yet; run the study, or its stage data")
        return read_json(self.layout.split)["sha256"]

    @property
    def item_table(self) -> torch.Tensor:
        """The frozen item vectors of the first seed, the teacher's; the items stage must be done."""
        return self.item_table_of(self.spec.probe.seeds[0])

    def item_table_of(self, seed: int) -> torch.Tensor:
        """The frozen item vectors that the models of a training seed read; the items stage must be done."""
        folder = self.table_folder(seed)
        if folder not in self._tables:
            self._tables[folder] = load_item_table(folder, self.data_hash).vectors
        return self._tables[folder]

    @cached_property
    def _tables(self) -> dict[Path, torch.Tensor]:
        return {}

    def table_folder(self, seed: int) -> Path:
        """Folder of the item table that the models of a training seed read."""
        return self.sasrec_folders[seed] if self.spec.items.table_per_seed else self.layout.items

    @property
    def ranking(self) -> Ranking:
        """How models are ranked; the data stage must be done."""
        return self.ranking_on(self.data.split)

    def ranking_on(self, split: Split) -> Ranking:
        """How models are ranked on these sequences."""
        options = self.spec.evaluation
        protocols = Protocols(options.sampled, options.seed, options.remove_history)
        return Ranking(split, protocols, options.ks, options.batch_size)

    @property
    def tracking(self) -> Tracking:
        """Trackers that follow the trainings."""
        return Tracking(tuple(self.spec.trackers), self.spec.name, self.layout.tracking)

    @property
    def folders(self) -> ModelFolders:
        """Where its models lie."""
        probe, distill = self.spec.probe, self.spec.distill
        every_sasrec = self.spec.items.every_seed
        return ModelFolders(
            self.layout, tuple(probe.seeds), probe.start, distill.name, distill.every_seed, every_sasrec
        )

    @property
    def models(self) -> StudyModels:
        """Its models, as far as their selections are measured."""
        return StudyModels(self.folders, self.selections, tuple(self.spec.probe.controls))

    def variant_folder(self, selection: LayerSelection, seed: int) -> Path:
        """Folder of one variant; the full model with the first seed is the teacher itself."""
        return self.folders.variant(selection, seed)

    def control_folder(self, control: str, selection: LayerSelection, seed: int) -> Path:
        """Folder of a variant's twin in a control arm."""
        return self.folders.control(control, selection, seed)

    @property
    def sasrec_folders(self) -> dict[int, Path]:
        """SASRec's model folder per seed; the first one's table is the item table of every model."""
        return self.folders.sasrec

    @property
    def student_folders(self) -> dict[int, Path]:
        """The student's model folder per seed; the first one's model is exported."""
        return self.folders.students

    @property
    def student_selection(self) -> LayerSelection | None:
        """The student's layers where the spec names them; None where the decision chooses them.

        Raises:
            InputError: it does not parse, reaches beyond the teacher, or is not measured yet.
        """
        spec = self.spec.distill
        if spec.selection is not None:
            return parse_selection(spec.selection, self.n_layers, self.measured)
        return None if spec.depth is None else parse_selection(f"first:{spec.depth}", self.n_layers)

    @property
    def student_depth(self) -> int | None:
        """Depth of the student where the spec names its layers, measured yet or not.

        Raises:
            InputError: it does not parse, or reaches beyond the teacher.
        """
        text = self.spec.distill.selection
        if text is None:
            return self.spec.distill.depth
        form = measured_form(text, self.n_layers)
        return parse_selection(text, self.n_layers).depth if form is None else form[1]

    def can_distil(self, depth: int) -> bool:
        """Tells whether a student of `depth` layers has the blocks that its loss terms need."""
        spec = self.spec.distill
        if not 1 <= depth <= self.n_layers or (spec.start == "teacher" and depth == self.n_layers):
            return False
        blocks = gcd(depth, self.n_layers) if spec.blocks is None else spec.blocks
        divides = blocks >= 1 and depth % blocks == 0 and self.n_layers % blocks == 0
        return divides and (blocks > 1 or spec.weights.multiple == 0)

    @cached_property
    def content(self) -> dict[str, str]:
        """Identifies the checkpoint's weights: hashes, or the commit on the hub; empty where the backbone has none."""
        return backbone_content(self.spec.backbone)
