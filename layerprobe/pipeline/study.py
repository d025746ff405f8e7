"""`Study`: a spec and its folder. Knows where every stage's files lie and guards the folder against another study."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from layerprobe.backbone.load import count_layers
from layerprobe.backbone.prompt import prompt_tokens
from layerprobe.data.prepare import PreparedData, load_prepared
from layerprobe.distillation.mapping import block_map
from layerprobe.errors import InputError
from layerprobe.evaluation.ranks import Protocols
from layerprobe.items.table import load_item_table
from layerprobe.pipeline.model_folder import Ranking
from layerprobe.pipeline.spec import StudySpec, to_plain
from layerprobe.probing.variant import RecipeOptions
from layerprobe.store.atomic import read_json, read_yaml, write_json, write_yaml
from layerprobe.store.provenance import provenance

STUDY = "study.yaml"
FREE_KEYS = (
    "decision",
    "probe.depths",
    "probe.seeds",
    "distill",
    "similarity",
    "evaluation.alpha",
    "evaluation.n_boot",
)
"""Keys that may change between runs: derived stages are rebuilt, added variants trained, the others guarded."""


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
    def depths(self) -> list[int]:
        """Depths of the variants, ascending, full depth included.

        Raises:
            InputError: a depth lies outside 0..L.
        """
        asked = self.spec.probe.depths
        if asked is None:
            return list(range(self.n_layers + 1))
        wrong = [depth for depth in asked if not 0 <= depth <= self.n_layers]
        if wrong:
            raise InputError(f"probe.depths must lie in 0..{self.n_layers}, the teacher's depth; got {wrong[0]}")
        return sorted({*asked, self.n_layers})

    @property
    def recipe(self) -> RecipeOptions:
        """What every recommender of the study is built from."""
        return RecipeOptions(self.spec.backbone, self.spec.tuning, self.spec.prompt, self.spec.recommender)

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
        """How models are ranked."""
        options = self.spec.evaluation
        protocols = Protocols(options.sampled, options.seed, options.remove_history)
        return Ranking(self.data.split, protocols, options.ks, options.batch_size)

    def variant_folder(self, depth: int, seed: int) -> Path:
        """Folder of one variant; the full depth with the first seed is the teacher itself."""
        if depth == self.n_layers and seed == self.spec.probe.seeds[0]:
            return self.folder / "teacher"
        return self.folder / "variants" / f"first-{depth}" / f"seed-{seed}"

    def check(self) -> None:
        """Checks what can be checked before anything is computed or written.

        Raises:
            InputError: depths, blocks or options do not fit together.
        """
        depths = self.depths
        spec = self.spec
        prompt_tokens(spec.prompt, spec.backbone.checkpoint, spec.backbone.revision)
        if spec.prompt.suffix and spec.training.supervision == "all":
            raise InputError(
                "prompt.suffix stands after the whole history, so training.supervision must be last; got all"
            )
        if spec.distill.depth is not None:
            found = block_map(depths[-1], spec.distill.depth, spec.distill.blocks)
            if found.blocks == 1 and spec.distill.weights.multiple > 0:
                raise InputError(
                    "distill.weights.multiple needs an inner block; teacher and student share one block only: "
                    "set it to 0"
                )

    def open(self) -> None:
        """Creates the folder, or makes sure it holds this study.

        Raises:
            InputError: the folder holds another study (the differing keys are named) or something that is no study.
        """
        resolved = to_plain(self.spec)
        path = self.folder / STUDY
        if path.exists():
            differing = _differing(read_yaml(path), resolved)
            blocking = [name for name in differing if not name.startswith(FREE_KEYS)]
            if blocking:
                raise InputError(
                    f"{self.folder} holds another study; these keys differ: {', '.join(blocking[:5])}; "
                    "choose another --out, or delete that folder"
                )
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise InputError(f"--out must be a new folder or that of this study; {self.folder} holds other files")
        write_yaml(path, resolved)
        self._record_provenance()

    def _record_provenance(self) -> None:
        """Writes where the study began; a later run under other versions or another commit is added to the list."""
        path = self.folder / "provenance.json"
        now = provenance("cuda" if torch.cuda.is_available() else "cpu", list(self.spec.probe.seeds))
        if not path.exists():
            write_json(path, now | {"continued": []})
            return
        first = read_json(path)
        known = [{name: value for name, value in first.items() if name != "continued"}, *first["continued"]]
        if now not in known:
            write_json(path, first | {"continued": [*first["continued"], now]})


def _differing(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Returns the dotted names of the keys whose values differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [prefix]
    names = [*old, *(name for name in new if name not in old)]
    found = [_differing(old.get(name), new.get(name), f"{prefix}.{name}" if prefix else name) for name in names]
    return [name for part in found for name in part]
