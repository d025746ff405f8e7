"""`StudySpec`: all options of a study, as frozen dataclasses; YAML, flags and `--print_config` are made from them.

Only this folder, the stages and the commands know the spec; the functions below take plain values.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from layerprobe.arguments import checked, shown
from layerprobe.backbone.load import BackboneOptions
from layerprobe.backbone.prompt import PromptOptions
from layerprobe.data.order import OrderOptions
from layerprobe.data.preprocess import PreprocessOptions
from layerprobe.data.sources.raw import SourceOptions
from layerprobe.data.synthetic import SyntheticOptions
from layerprobe.data.times.options import SplitOptions
from layerprobe.distillation.losses import DistillationWeights
from layerprobe.errors import InputError
from layerprobe.probing.budget import BudgetOptions
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.ranges import LEVEL, PATH, SEED, SET_TEXT, Range
from layerprobe.recommender.model import RecommenderOptions
from layerprobe.recommender.sasrec import SASRecOptions
from layerprobe.similarity.measures import DEFAULT_MEASURES, MeasureName
from layerprobe.study.probe_spec import ProbeSpec
from layerprobe.study.spec_rules import NAME, require_name
from layerprobe.training.adapters import TuningOptions
from layerprobe.training.options import TrainingOptions


@dataclass(frozen=True)
@checked
class DataSpec:
    """Which log, and how it becomes sequences."""

    source: Annotated[str, SET_TEXT] = "synthetic"
    """Format of the log; `layerprobe datasets` lists them. `prepared` reads a folder that `layerprobe prepare` made."""
    path: Annotated[str | None, PATH] = None
    """File or folder of the log; `--path` on the command line sets it. Not used by `synthetic`."""
    read: SourceOptions = field(default_factory=SourceOptions)
    """How the files are read."""
    preprocess: PreprocessOptions = field(default_factory=PreprocessOptions)
    """Which rows are kept."""
    order: OrderOptions = field(default_factory=OrderOptions)
    """How the rows of a user are ordered."""
    synthetic: SyntheticOptions = field(default_factory=SyntheticOptions)
    """Shape of the built-in data; used by `source: synthetic` alone."""
    seed: Annotated[int, SEED] = 0
    """Seed of the permutation that numbers the items."""
    split: SplitOptions = field(default_factory=SplitOptions)
    """How training, validation and test are told apart; `prepared` takes the split of its folder."""

    def __post_init__(self) -> None:
        if self.source in ("synthetic", "prepared"):
            for name, default in (
                ("read", SourceOptions()),
                ("preprocess", PreprocessOptions()),
                ("order", OrderOptions()),
                ("split", SplitOptions()),
            ):
                if getattr(self, name) != default and (name == "read" or self.source == "prepared"):
                    raise InputError(f"data.{name} is not used by data.source {self.source}; leave it out")
        if self.source == "synthetic" and self.path is not None:
            raise InputError(f"data.path must be empty with source synthetic, which reads no file; got {self.path}")
        if self.source != "synthetic" and self.synthetic != SyntheticOptions():
            raise InputError(f"data.synthetic needs data.source synthetic; the source is {self.source}")


@dataclass(frozen=True)
@checked
class ItemsSpec:
    """Where the frozen item vectors come from. SASRec is always trained: it is a baseline in every figure."""

    kind: Literal["sasrec", "random"] = "sasrec"
    """`sasrec`: its trained table. `random`: seeded unit vectors, a control without information from the log."""
    random_dim: Annotated[int, Range(1, 100_000)] = 64
    """Width of random vectors."""
    sasrec: SASRecOptions = field(default_factory=SASRecOptions)
    """Shape of SASRec."""
    training: TrainingOptions = field(default_factory=TrainingOptions)
    """How SASRec is trained."""
    every_seed: bool = True
    """Whether SASRec is trained with every seed of `probe.seeds`, as every other model is; false trains it once, and
    its intervals then lack its own training noise."""
    table_per_seed: bool = False
    """Whether the models of each training seed read an item table of their own, that of SASRec with this seed (or
    random vectors drawn with it). False: all read the first seed's, whose noise is then in no interval."""

    def __post_init__(self) -> None:
        if self.kind == "sasrec" and self.random_dim != 64:
            raise InputError(f"items.random_dim needs items.kind random; the kind is {self.kind}")
        if self.table_per_seed and not self.every_seed:
            raise InputError("items.table_per_seed needs a SASRec of every seed; got items.every_seed false")


@dataclass(frozen=True)
@checked
class EvaluationSpec:
    """How targets are ranked and metrics are averaged."""

    sampled: Annotated[int | None, Range(1, 10**7)] = 999
    """Negatives of the sampled protocol, reported beside the full ranking; null leaves it out."""
    seed: Annotated[int, SEED] = 0
    """Seed of the negatives: the same for every model and epoch."""
    remove_history: bool = True
    """Whether items of the user's history are removed from the candidates; set false where users repeat items."""
    ks: Annotated[list[int], Range(1, 1_000_000)] = field(default_factory=lambda: [1, 5, 10, 20])
    """Cut-offs of HR and NDCG."""
    alpha: Annotated[float, LEVEL] = 0.05
    """Intervals cover 1 - alpha."""
    n_boot: Annotated[int, Range(100, 1_000_000)] = 1000
    """Bootstrap resamples of users."""
    batch_size: Annotated[int, Range(1, 1_000_000)] = 256
    """Users scored at a time."""

    def __post_init__(self) -> None:
        if 10 not in self.ks:
            raise InputError(f"evaluation.ks must be cut-offs, 10 among them; got {shown(self.ks)}")


@dataclass(frozen=True)
@checked
class SimilaritySpec:
    """How layers are compared."""

    rows: Annotated[int, Range(5, 1_000_000)] = 2048
    """Number of validation users (a seeded sample) for comparing states and for ranking with layers left out."""
    measures: list[MeasureName] = field(default_factory=lambda: list(DEFAULT_MEASURES))
    """How states are compared. Cost with rows x rows: cka-rbf, rsa, mutual-knn, cknna; with the cube of the width:
    procrustes, svcca, pwcca. The last two need more rows than dimensions."""
    positions: Literal["last-item", "items", "all"] = "last-item"
    """Where states are read, once per user. `last-item`: at the readout, or before a prompt's suffix. `items`: at a
    random item. `all`: at a random position, tokens of the prompt included."""
    greedy: bool = False
    """Also remove layers greedily, one after the other, by NDCG@10; always done where a selection is `greedy:k`."""
    n_permutations: Annotated[int, Range(20, 100_000)] = 100
    """Shuffles of the rows that give each measure's value by chance."""
    n_boot: Annotated[int, Range(100, 1_000_000)] = 200
    """Bootstrap resamples of the intervals."""
    seed: Annotated[int, SEED] = 0
    """Seed of the sample, the positions and the shuffles."""

    def __post_init__(self) -> None:
        if not self.measures or len(set(self.measures)) < len(self.measures):
            got = ", ".join(self.measures) or "none"
            raise InputError(f"similarity.measures must name at least one measure, each once; got {got}")


@dataclass(frozen=True)
@checked
class CostSpec:
    """How the costs of a study's models are measured."""

    calls: Annotated[int, Range(20, 100_000)] = 100
    """Timed calls per model with one user; calls with 64 users are 0.3 times as many."""


@dataclass(frozen=True)
@checked
class DistillSpec:
    """The student: its layers, its loss terms, its training."""

    name: Annotated[str, NAME] = "student"
    """Folder of the run under `distillation/`."""
    depth: Annotated[int | None, Range(1, 1000)] = None
    """Layers of the student, short for the selection `first:depth`."""
    selection: Annotated[str | None, SET_TEXT] = None
    """Layers of the student as a selection. Null here and in `depth` uses the decided one, with at least one layer."""
    blocks: Annotated[int | None, Range(1, 1000)] = None
    """Blocks aligned between teacher and student; null uses the largest number that divides both depths."""
    weights: DistillationWeights = field(default_factory=DistillationWeights)
    """Weights of the three terms."""
    start: Literal["backbone", "teacher"] = "backbone"
    """Weights the student starts from: the backbone's own (the paper's way) or the teacher's own layers."""
    training: TrainingOptions | None = None
    """How the student is trained; null uses `training`."""
    every_seed: bool = True
    """Whether the student is trained with every seed of `probe.seeds`. All have the one teacher, trained with the first
    seed; the student of the first seed is exported."""

    def __post_init__(self) -> None:
        require_name("distill.name", self.name)
        if self.depth is not None and self.selection is not None:
            raise InputError(
                f"distill.depth and distill.selection both name the student's layers; got {self.depth} and "
                f"{self.selection}: give one of them"
            )


@dataclass(frozen=True)
@checked
class StudySpec:
    """A whole study. `layerprobe run STUDY.yaml --print_config` shows every key with its value."""

    name: Annotated[str, NAME] = "study"
    """Name of the study; its folder is `runs/<name>` unless `--out` says otherwise."""
    data: DataSpec = field(default_factory=DataSpec)
    """The log."""
    items: ItemsSpec = field(default_factory=ItemsSpec)
    """The item table and SASRec."""
    backbone: BackboneOptions = field(default_factory=BackboneOptions)
    """The language model."""
    tuning: TuningOptions = field(default_factory=TuningOptions)
    """Which weights of it are trained."""
    prompt: PromptOptions = field(default_factory=PromptOptions)
    """Prompt text around the items."""
    recommender: RecommenderOptions = field(default_factory=RecommenderOptions)
    """The parts around the backbone: input, readout, length."""
    training: TrainingOptions = field(default_factory=TrainingOptions)
    """How teacher and variants are trained: one recipe for every selection."""
    evaluation: EvaluationSpec = field(default_factory=EvaluationSpec)
    """Ranks, metrics, intervals."""
    probe: ProbeSpec = field(default_factory=ProbeSpec)
    """Selections, seeds and controls."""
    similarity: SimilaritySpec = field(default_factory=SimilaritySpec)
    """Layer similarity."""
    decision: DecisionOptions = field(default_factory=DecisionOptions)
    """Margin and error level of the decision."""
    cost: CostSpec = field(default_factory=CostSpec)
    """How costs are measured."""
    budget: BudgetOptions = field(default_factory=BudgetOptions)
    """Limits on the cost of a model; `--budget latency_ms=5,parameters=200000` is short for its two keys."""
    distill: DistillSpec = field(default_factory=DistillSpec)
    """The student."""
    trackers: list[Literal["tensorboard", "wandb", "mlflow"]] = field(default_factory=list)
    """Trackers that also get the rows of `log.jsonl`; each needs its own package. TensorBoard writes to `tracking/`."""

    def __post_init__(self) -> None:
        require_name("name", self.name)


def to_plain(value: Any) -> Any:
    """Returns dataclasses as plain dicts and tuples as lists, for YAML, JSON and hashes."""
    if hasattr(value, "__dataclass_fields__"):
        return {entry.name: to_plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, dict):
        return {name: to_plain(entry) for name, entry in value.items()}
    return [to_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value
