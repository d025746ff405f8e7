"""`PlainStudy`: a finished study as its files tell it, read without torch.

Takes the folder, hands on its models and options. The stages know a study by its spec, which needs every option class;
a published report is checked by what its `study.yaml` says alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from layerprobe.backbone.selection import LayerSelection, Measured, parse_selection
from layerprobe.errors import InputError
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.selections import Family, asked_selections, study_family
from layerprobe.store.atomic import read_json, read_yaml
from layerprobe.store.layout import StudyLayout
from layerprobe.store.model_record import ModelRecord, read_model_record
from layerprobe.study.model_folders import ModelFolders, StudyModels


def read_measured(layout: StudyLayout) -> Measured:
    """Returns the layers kept by the measured forms, as far as the similarity stage has measured them.

    Raises:
        InputError: the file is damaged.
    """
    path = layout.selections
    if not path.exists():
        return {}
    try:
        return {form: kept["kept"] for form, kept in read_json(path).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged ({' '.join(str(error).split())}); delete it and run the similarity stage"
        ) from error


@dataclass(frozen=True, eq=False)
class PlainStudy:
    """A study's folder and the values of its `study.yaml`.

    Attributes:
        folder: the folder that `run` or `publish` wrote.
        spec: every option, as plain values.
    """

    folder: Path
    spec: Mapping[str, Any]

    @staticmethod
    def read(folder: Path) -> PlainStudy:
        """Reads what the folder says of the study.

        Raises:
            InputError: there is no such folder, or it holds no study.
        """
        path = StudyLayout(folder).spec
        if not path.is_file():
            raise InputError(
                f"{folder} must be a folder that `layerprobe run` or `publish` wrote; it has no {path.name}"
            )
        try:
            spec = read_yaml(path)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from error
        parts = ("probe", "items", "distill", "decision", "evaluation")
        if not isinstance(spec, dict) or not all(isinstance(spec.get(part), dict) for part in parts):
            raise InputError(f"{path} must hold every option of a study; it lacks one of {', '.join(parts)}")
        return PlainStudy(folder, spec)

    @property
    def layout(self) -> StudyLayout:
        """The paths of its files."""
        return StudyLayout(self.folder)

    @property
    def name(self) -> str:
        """Name of the study."""
        return str(self.spec.get("name", "study"))

    @cached_property
    def teacher(self) -> ModelRecord:
        """The description of the teacher."""
        return read_model_record(self.layout.teacher)

    @property
    def n_layers(self) -> int:
        """Depth of the teacher."""
        if self.teacher.depth is None:
            raise InputError(f"{self.layout.teacher} must hold a model with layers; its metrics.json has no depth")
        return self.teacher.depth

    def selection_of(self, model: ModelRecord) -> LayerSelection:
        """Returns the layers that a model keeps.

        Raises:
            InputError: its description does not say.
        """
        if model.layers is None:
            return parse_selection(model.selection, self.n_layers, read_measured(self.layout))
        return LayerSelection(tuple(model.layers), model.selection, self.n_layers)

    @cached_property
    def family(self) -> Family:
        """The studied selections."""
        probe = self.spec["probe"]
        return study_family(probe.get("depths"), probe.get("selections"), self.n_layers, read_measured(self.layout))

    @property
    def asked_selections(self) -> tuple[str, ...]:
        """Selections that the study asks for; the full model first."""
        probe = self.spec["probe"]
        return asked_selections(probe.get("depths"), probe.get("selections"), self.n_layers)

    @cached_property
    def models(self) -> StudyModels:
        """Its models."""
        folders = ModelFolders.of(self.layout, self.spec)
        return StudyModels(folders, self.family.selections, tuple(self.spec["probe"].get("controls") or ()))

    @cached_property
    def decision(self) -> DecisionOptions:
        """Metric, margin and error level."""
        try:
            return DecisionOptions(**self.spec["decision"])
        except TypeError as error:
            raise InputError(f"{self.layout.spec} must hold the options of a decision: {error}") from error

    @property
    def evaluation(self) -> Mapping[str, Any]:
        """The options `evaluation`."""
        return self.spec["evaluation"]
