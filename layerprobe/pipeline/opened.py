"""`Study` as a notebook uses it: opened from a YAML or a folder, run, and looked into."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import pandas as pd
from safetensors import SafetensorError

from layerprobe import columns, html
from layerprobe.arguments import as_folder, as_path, require_choice, require_kind, require_whole, writable_folder
from layerprobe.backbone.selection import LayerSelection, parse_selection
from layerprobe.errors import InputError
from layerprobe.kinds import EXITS, SASREC, SCORED_FLOORS
from layerprobe.pipeline.run import run_stages
from layerprobe.probing.curves import read_curve
from layerprobe.recommender.model import Recommender
from layerprobe.reporting.files.effort_files import read_convergence
from layerprobe.stages.registry import stage_named
from layerprobe.store.decision import DecisionRecord, read_decision
from layerprobe.store.layout import ITEM_TABLE, RANKS, WEIGHTS, StudyLayout
from layerprobe.store.run_folder import DONE
from layerprobe.store.seals.study_seals import require_whole_file
from layerprobe.study import study as studies
from layerprobe.study.jobs.recommenders import load_teacher, variant_job
from layerprobe.study.jobs.students import distill_job, student_of, student_selection
from layerprobe.study.parser import load_spec, study_folder
from layerprobe.sweep.executors import executor_named
from layerprobe.sweep.tasks import sweep_tasks
from layerprobe.training.model_folder import load_trained

T = TypeVar("T")
TEACHER, STUDENT = "teacher", "student"
FLOOR_NAMES = tuple(kind.name for kind in SCORED_FLOORS)


def _read_front(path: Path) -> pd.DataFrame:
    return pd.read_csv(path).fillna({columns.SELECTION: ""})


class Study(studies.Study):
    """A study on disk: its results as tables, its models as live models.

    >>> from layerprobe.study.spec import StudySpec
    >>> Study(StudySpec(name="mine"), Path("runs/mine")).name
    'mine'
    """

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        out: str | os.PathLike[str] | None = None,
        overrides: Sequence[str] = (),
    ) -> Study:
        """Returns the study that a YAML describes; nothing is read but the YAML and nothing is written.

        Args:
            path: the YAML.
            out: folder of the study; None is `runs/<name>`.
            overrides: keys and values as on the command line: `["--training.epochs", "3"]`.

        Raises:
            InputError: there is no such file, or a key or value of it is wrong.
        """
        place = None if out is None else writable_folder("out", out)
        spec = load_spec(as_path("path", path), overrides, partial(study_folder, place))
        return cls(spec, study_folder(place, spec.name))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Study:
        """Returns the study that lies in a folder.

        Raises:
            InputError: there is no such folder, or it holds no study.
        """
        place = as_folder("folder", folder)
        layout = StudyLayout(place)
        spec = layout.spec
        if not spec.is_file():
            raise InputError(f"folder must be one that `layerprobe run` wrote; {place} has no {spec.name}")
        require_whole_file(layout, spec)
        return cls(load_spec(spec, []), place)

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.spec.name

    def run(self, last: str | None = None, executor: str = "local") -> Study:
        """Brings the study up to date: what is done is skipped, what was cut off is resumed.

        Args:
            last: the last stage, with what it needs; None is the whole study.
            executor: `local`, or `ray` for a running cluster.

        Returns:
            The study itself.

        Raises:
            InputError: the spec, the log or the folder is at fault.
            StudyError: a training or check failed.
        """
        if last is not None:
            require_kind("last", last, str)
            stage_named(last)
        require_choice("executor", executor, ("local", "ray"))
        with executor_named(executor) as chosen:
            run_stages(self, last, chosen)
        return self

    @property
    def curve(self) -> pd.DataFrame:
        """`curve.csv`: every point of every curve, with intervals; columns `columns.CURVE`."""
        return self._read(self.layout.curve, read_curve, "curve")

    @property
    def convergence(self) -> pd.DataFrame:
        """`convergence.csv`: how every training ended, and what was tried before it; columns `columns.CONVERGENCE`."""
        return self._read(self.layout.convergence, read_convergence, "curve")

    @property
    def decision(self) -> DecisionRecord:
        """`decision.json`: the answer and its evidence; `.to_frame()` is the table of selections."""
        return self._read(self.layout.decision, lambda _: read_decision(self.folder), "decide")

    @property
    def similarity(self) -> pd.DataFrame:
        """`similarity.parquet`: how alike all pairs of states are; columns `columns.SIMILARITY`."""
        return self._read(self.layout.similarity_table, pd.read_parquet, "similarity")

    @property
    def importance(self) -> pd.DataFrame:
        """`importance.csv`: scores of every layer; columns `columns.IMPORTANCE`."""
        return self._read(self.layout.importance, pd.read_csv, "similarity")

    @property
    def slices(self) -> pd.DataFrame:
        """`slices.csv`: the models by groups of users; columns `columns.SLICES`."""
        return self._read(self.layout.slices, partial(pd.read_csv, dtype={"group": str}), "curve")

    @property
    def costs(self) -> pd.DataFrame:
        """`costs.csv`: what each model costs on the machine that ran the study; columns `columns.COSTS`."""
        return self._read(self.layout.cost_table, pd.read_csv, "cost")

    @property
    def front(self) -> pd.DataFrame:
        """`front.csv`: quality against cost, and who is on the Pareto front; columns `columns.FRONT`."""
        return self._read(self.layout.front, _read_front, "decide")

    def ranks(self, model: str = TEACHER, seed: int | None = None) -> pd.DataFrame:
        """Returns the ranks of one model: one row per user, part and protocol; columns `columns.RANKS`.

        Args:
            model: `teacher`, `student`, a studied selection such as `first:2`, a floor such as `sasrec` or
                `popularity`, or an exit such as `exit-norm-2`.
            seed: training seed; None is the first of the study.

        Raises:
            InputError: there is no such model in the study, or it is not finished.
        """
        require_kind("model", model, str, instead="such as teacher, first:2, sasrec or exit-norm-2")
        kind, _, k = model.rpartition("-")
        is_exit = kind in EXITS and k.isdecimal()
        if seed is not None and (is_exit or model in FLOOR_NAMES):
            raise InputError(f"{model} has no training seed of its own; leave seed out, got {seed}")
        if model in FLOOR_NAMES:
            return self._read(self.layout.baseline_ranks(model), pd.read_parquet, "items")
        if is_exit:
            require_choice("the depth of an exit", int(k), range(self.n_layers + 1))
            return self._read(self.layout.exit_ranks(kind, int(k)), pd.read_parquet, "probe")
        folder = self._finished(model, self._seed(seed))
        return self._read(folder / RANKS, pd.read_parquet, "that trains it")

    def teacher(self) -> Recommender:
        """Returns the trained teacher, in evaluation mode.

        Raises:
            InputError: it is not trained yet.
        """
        self._require_weights(self._finished(TEACHER, self._seed(None)))
        return self._live(lambda: load_teacher(self))

    def variant(self, selection: str, seed: int | None = None) -> Recommender:
        """Returns the trained variant that keeps a selection of layers, in evaluation mode.

        Args:
            selection: one of the study's, such as `first:2`.
            seed: training seed; None is the first of the study.

        Raises:
            InputError: the study has no such variant, or it is not finished.
        """
        require_kind("selection", selection, str, instead="such as first:2")
        self._require_selection(selection)
        seed = self._seed(seed)
        self._require_weights(self._finished(selection, seed))
        job = variant_job(self, self._selection(selection), seed)
        model = self._live(lambda: load_trained(job.folder, job.build))
        assert isinstance(model, Recommender)
        return model

    def student(self, seed: int | None = None) -> Recommender:
        """Returns the distilled student, in evaluation mode; `load_student` loads the exported one.

        Raises:
            InputError: it is not trained yet.
        """
        seed = self._seed(seed)
        self._require_weights(self._finished(STUDENT, seed))
        job = distill_job(self, student_selection(self), seed)
        return student_of(self._live(lambda: load_trained(job.folder, job.build)))

    def _repr_html_(self) -> str:
        rows = [
            ["folder", str(self.folder)],
            ["backbone", f"{self.spec.backbone.checkpoint or self.spec.backbone.family}, {self.n_layers} layers"],
            ["teacher", "trained" if (self.layout.teacher / DONE).exists() else "not trained yet"],
            ["variants and twins", self._said(self._swept)],
            ["student", "exported" if self.layout.student.exists() else "none yet"],
        ]
        shown = html.paragraph(f"Study {self.name}", strong=True) + html.table(["what", "state"], rows, left=2)
        if not self.layout.decision.exists():
            return shown
        return shown + html.paragraph(self._said(lambda: self.decision.sentence))

    def _swept(self) -> str:
        if not (self.layout.teacher / DONE).exists():
            return "none yet"
        states = [task.state(self) for task in sweep_tasks(self)]
        return f"{states.count('done')} of {len(states)} trained"

    @staticmethod
    def _said(answer: Callable[[], str]) -> str:
        """Returns an answer, or why a file of it cannot be read: a study must show itself all the same."""
        try:
            return answer()
        except InputError as error:
            return str(error)

    def _require_weights(self, folder: Path) -> None:
        for path in (self.table_folder(self._seed(None)) / ITEM_TABLE, folder / WEIGHTS):
            require_whole_file(self.layout, path)

    def _live(self, load: Callable[[], T]) -> T:
        try:
            return load()
        except (OSError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"a file of {self.folder} is missing or damaged ({reason}); train that model again"
            ) from error

    def _read(self, path: Path, reader: Callable[[Path], T], stage: str) -> T:
        if not path.exists():
            raise InputError(f"{path} is not there yet; run the study, or its stage: run({stage!r})")
        require_whole_file(self.layout, path)
        try:
            return reader(path)
        except InputError:  # says already what is wrong
            raise
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} cannot be read ({reason}); run the study's stage {stage} again") from error

    def _seed(self, seed: int | None) -> int:
        seeds = self.spec.probe.seeds
        if seed is None:
            return seeds[0]
        require_whole("seed", seed, 0)
        require_choice("seed", seed, seeds)
        return seed

    def _selection(self, text: str) -> LayerSelection:
        """Returns the studied selection of this text, or the one that keeps the same layers."""
        wanted = parse_selection(text, self.n_layers, self.measured)
        for selection in self.selections:
            if selection.layers == wanted.layers:
                return selection
        studied = ", ".join(selection.text for selection in self.selections)
        raise InputError(f"the study has no selection {text}; it has {studied}")

    def _finished(self, model: str, seed: int) -> Path:
        """Returns the folder of a finished model."""
        if model == TEACHER:
            folder, stage = self.layout.teacher, "teach"
        elif model == STUDENT:
            folder, stage = self._of_seed(self.student_folders, seed), "distill"
        elif model == SASREC:
            folder, stage = self._of_seed(self.sasrec_folders, seed), "items"
        else:
            self._require_selection(model)
            folder, stage = self.variant_folder(self._selection(model), seed), "probe"
        if not (folder / DONE).exists():
            raise InputError(f"{model} of seed {seed} is not trained yet; run the study, or its stage: run({stage!r})")
        return folder

    @staticmethod
    def _require_selection(model: str) -> None:
        if ":" not in model:
            raise InputError(
                f"a model of a study is teacher, student, a selection such as first:2, a floor ({SASREC}, "
                f"{', '.join(FLOOR_NAMES)}) or an exit such as exit-norm-2; got {model!r}"
            )

    @staticmethod
    def _of_seed(folders: dict[int, Path], seed: int) -> Path:
        if seed not in folders:
            raise InputError(f"it was trained with the seed {next(iter(folders))} alone; got {seed}")
        return folders[seed]
