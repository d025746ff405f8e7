"""`Study`: a spec and its folder. Knows where every stage's files lie and guards the folder against another study."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import gcd
from pathlib import Path

import torch

from layerprobe import processes
from layerprobe.backbone.load import backbone_content, count_layers
from layerprobe.backbone.selection import LayerSelection, Measured, measured_form, parse_selection
from layerprobe.data.prepare import PreparedData, load_prepared
from layerprobe.data.splits import Split
from layerprobe.errors import InputError
from layerprobe.evaluation.ranks import Protocols
from layerprobe.items.table import load_item_table
from layerprobe.pipeline import checks
from layerprobe.pipeline.model_folder import Ranking
from layerprobe.pipeline.probe_spec import ALL
from layerprobe.pipeline.spec import StudySpec, to_plain
from layerprobe.probing.selections import Family, distinct_selections, every_number
from layerprobe.probing.variant import RecipeOptions
from layerprobe.store.atomic import is_rest, read_json, read_yaml, remove_rests, write_json, write_yaml
from layerprobe.store.provenance import provenance
from layerprobe.store.run_folder import differing_keys, with_defaults
from layerprobe.training.engine import mixed_precision
from layerprobe.training.tracking import FOLDER, Tracking

STUDY = "study.yaml"
SELECTIONS = "selections.json"
GREEDY = "greedy"
PROVENANCE = "provenance.json"
FREE_KEYS = (
    "decision",
    "probe.depths",
    "probe.selections",
    "probe.controls",
    "probe.seeds",
    "probe.heads",
    "probe.halving",
    "distill",
    "items.every_seed",
    "similarity",
    "evaluation.alpha",
    "evaluation.n_boot",
    "trackers",
    "cost",
    "budget",
)
"""Keys that may change between runs: derived stages are rebuilt, added variants trained, the others guarded."""
OPEN_UNTIL = {"items.training": ("items",), "training": ("teacher", "variants", "controls", "distillation")}
"""Keys that may change as long as none of these folders is there: a learning-rate test comes before the training."""


@dataclass(frozen=True, eq=False)
class Study:
    """A study on disk.

    Attributes:
        spec: what is asked for.
        folder: where everything is written.
    """

    spec: StudySpec
    folder: Path

    @cached_property
    def n_layers(self) -> int:
        """Depth of the teacher."""
        return count_layers(self.spec.backbone)

    @property
    def measured(self) -> Measured:
        """Layers kept by the measured forms, as far as the similarity stage has measured them."""
        path = self.folder / "similarity" / SELECTIONS
        return {form: found["kept"] for form, found in read_json(path).items()} if path.exists() else {}

    @property
    def asked_forms(self) -> set[str]:
        """Measured forms that variants or the student are chosen by."""
        texts = [*self.asked_texts, self.spec.distill.selection or ""]
        return {form[0] for form in (measured_form(text, self.n_layers) for text in texts) if form is not None}

    @property
    def asked_texts(self) -> list[str]:
        """Selections beside `probe.depths`, one text each."""
        return [each for text in self.spec.probe.texts for each in every_number(text, self.n_layers)]

    @property
    def needs_greedy(self) -> bool:
        """Whether layers are removed one after the other: asked for, or needed by a selection."""
        return self.spec.similarity.greedy or GREEDY in self.asked_forms

    @property
    def family(self) -> Family:
        """What is studied, each set of layers once; whatever keeps all layers is the teacher, `first:L`.

        Raises:
            InputError: a depth lies outside 0..L, or a selection does not parse or fit.
        """
        probe = self.spec.probe
        depths = probe.depths
        if depths == ALL or (depths is None and probe.selections is None):
            depths = range(self.n_layers + 1)
        depths = depths or []
        wrong = [depth for depth in depths if not 0 <= depth <= self.n_layers]
        if wrong:
            raise InputError(f"probe.depths must lie in 0..{self.n_layers}, the teacher's depth; got {wrong[0]}")
        texts = [f"first:{depth}" for depth in (self.n_layers, *depths)]
        return distinct_selections([*texts, *self.asked_texts], self.n_layers, self.measured)

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
        return load_prepared(self.folder / "data")

    @property
    def data_hash(self) -> str:
        """Hash of the sequences."""
        return read_json(self.folder / "data" / "split.json")["sha256"]

    @cached_property
    def item_table(self) -> torch.Tensor:
        """The frozen item vectors; the items stage must be done."""
        return load_item_table(self.folder / "items", self.data_hash).vectors

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
        return Tracking(tuple(self.spec.trackers), self.spec.name, self.folder / FOLDER)

    def variant_folder(self, selection: LayerSelection, seed: int) -> Path:
        """Folder of one variant; the full model with the first seed is the teacher itself.

        But where variants start from the trained teacher, so does the full model: one that was trained once would be
        compared with variants that were trained twice.
        """
        is_full = selection.depth == self.n_layers and seed == self.spec.probe.seeds[0]
        if is_full and self.spec.probe.start == "backbone":
            return self.folder / "teacher"
        return self.folder / "variants" / selection.folder / f"seed-{seed}"

    def control_folder(self, control: str, selection: LayerSelection, seed: int) -> Path:
        """Folder of a variant's twin in a control arm."""
        return self.folder / "controls" / control / selection.folder / f"seed-{seed}"

    @property
    def student_selection(self) -> LayerSelection | None:
        """The student's layers where the spec names them; None where they are left to the decision.

        Raises:
            InputError: it does not parse, reaches beyond the teacher, or has still to be measured.
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

    def check(self) -> None:
        """Checks what can be checked before anything is computed or written.

        Raises:
            InputError: selections, controls, seeds, blocks, lengths or prompts do not fit together.
        """
        spec = self.spec
        if self.n_layers < 1:
            raise InputError(f"the teacher must keep at least one layer; backbone.keep {spec.backbone.keep} keeps none")
        waiting = [text for text, depth in self.family.pending if depth < self.n_layers]
        if len(self.selections) + len(waiting) < 2:
            got = spec.probe.selections if spec.probe.depths is None else spec.probe.depths
            raise InputError(
                f"probe.depths or probe.selections must hold a depth below the teacher's {self.n_layers}; got {got}"
            )
        self.tracking.check()
        checks.check_inputs(self)
        checks.check_similarity(self)
        checks.check_controls(self)
        checks.check_cover(self)
        checks.check_halving(self)
        checks.check_student(self)

    def open(self) -> None:
        """Makes sure the folder is new or holds this study, and removes rests of a killed run.

        Raises:
            InputError: as `check_folder`.
        """
        self.check_folder()
        remove_rests(self.folder)

    def check_folder(self) -> None:
        """Makes sure the folder is new or holds this study, with the same checkpoint; writes nothing.

        Raises:
            InputError: the folder holds another study (the differing keys are named) or something that is no study.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"--out must be a folder; {self.folder} is a file")
        if (self.folder / STUDY).exists():
            open_keys = [name for name, places in OPEN_UNTIL.items() if not self._has(places)]
            blocking = [name for name in self._guarded_changes() if not _lies_in(name, open_keys)]
            if blocking:
                raise InputError(
                    f"{self.folder} holds another study; these keys differ: {', '.join(blocking[:5])}; "
                    "choose another --out, or delete that folder"
                )
            self._check_provenance()
        elif self.folder.exists():
            strange = [entry for entry in self.folder.iterdir() if entry.name != "data" and not is_rest(entry)]
            if strange:
                raise InputError(f"--out must be a new folder or that of this study; {self.folder} holds other files")

    def is_recorded(self) -> bool:
        """Tells whether the folder says what it is a study of, and says it of this study."""
        return (self.folder / STUDY).exists() and not self._guarded_changes()

    def _guarded_changes(self) -> list[str]:
        """Returns the keys that differ from the recorded study's, but for those that may always change."""
        # A study of an older version does not name the options that came since: they had their defaults.
        known = with_defaults(read_yaml(self.folder / STUDY), to_plain(StudySpec()))
        differing = differing_keys(known, to_plain(self.spec))
        return [name for name in differing if not name.startswith(FREE_KEYS)]

    def _has(self, places: tuple[str, ...]) -> bool:
        return any((self.folder / place).exists() for place in places)

    @cached_property
    def content(self) -> dict[str, str]:
        """What the checkpoint's weights are known by; empty where the backbone is built from a shape."""
        return backbone_content(self.spec.backbone)

    def _check_provenance(self) -> None:
        """Refuses to go on in another precision or with other weights under the same name: models would not compare."""
        path = self.folder / PROVENANCE
        if not path.exists():
            return
        known = read_json(path)
        trained = known.get("precision", mixed_precision())
        if trained != mixed_precision():
            raise InputError(
                f"{self.folder} was trained with mixed precision {trained}; this run would go on with "
                f"{mixed_precision()}, and depths could not be compared: give accelerate launch --mixed_precision "
                f"{trained}, or choose another --out"
            )
        for entry in (known, *known["continued"]):
            if entry.get("backbone", self.content) != self.content:
                raise InputError(
                    f"{self.spec.backbone.checkpoint} holds other weights than when {self.folder} was begun; put them "
                    "back (of a hub checkpoint: name the old backbone.revision), or choose another --out"
                )

    def record(self) -> None:
        """Writes what the folder is a study of: once its data are there, and again when all stages have passed."""
        write_yaml(self.folder / STUDY, to_plain(self.spec))
        self._record_provenance()

    def _record_provenance(self) -> None:
        """Writes where the study began; a later run under other versions or another commit is added to the list."""
        path = self.folder / PROVENANCE
        now = provenance("cuda" if torch.cuda.is_available() else "cpu", list(self.spec.probe.seeds))
        now |= {"precision": mixed_precision(), "processes": processes.count()}
        if self.content:
            now["backbone"] = self.content
        if not path.exists():
            write_json(path, now | {"continued": []})
            return
        first = read_json(path)
        known = [{name: value for name, value in first.items() if name != "continued"}, *first["continued"]]
        if now not in known:
            write_json(path, first | {"continued": [*first["continued"], now]})


def _lies_in(name: str, keys: list[str]) -> bool:
    """Tells whether a dotted name is one of the keys or below one."""
    return any(name == key or name.startswith(f"{key}.") for key in keys)
