"""`DecisionOptions`: what "not worse" means in a study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from layerprobe import wording
from layerprobe.arguments import checked
from layerprobe.errors import InputError
from layerprobe.evaluation.metrics import METRICS
from layerprobe.ranges import LEVEL, SEED, SHARE, Range

Rule = Literal["sequence", "simultaneous"]
Cover = Literal["auto", "users", "training"]


@dataclass(frozen=True)
@checked
class DecisionOptions:
    """What "not worse" means.

    Attributes:
        metric: one of `METRICS`, on test targets ranked among the whole catalogue.
        k: cut-off of the metric; 0 for mrr, which has none.
        margin: share of the full model's value that may be lost, in (0, 1).
        alpha: probability that any "not worse" is false, in (0, 1). "Worse" and "better" have an alpha of their own;
            so do the selections outside a sequence.
        rule: `sequence` tests one selection per depth, from the deepest down, each at alpha, and stops at the first
            that does not pass; it has the most power if quality rises with depth. `simultaneous` tests all selections
            together and picks the smallest that passes.
        cover: what intervals cover. `auto`: users, and training noise where there are several seeds. `users`: users
            alone, so the answer holds for these trained models. `training`: both; one seed is refused.
        prior_noise: stated training noise: standard deviation of the mean metric over trainings, as a share of the full
            model's value, in [0, 1). Where it is larger than what the seeds show, it widens every interval; with one
            seed it alone stands for training noise. 0 states nothing.
        planned_seeds: number of seeds that the study may grow to, at least 2. Looks at fewer seeds then spend a part of
            alpha each (`probing.looks`); None plans one look.
        n_boot: number of resamples.
        seed: seed of the resamples.

    Raises:
        InputError: a value is outside its range.
    """

    metric: str = "ndcg"
    k: Annotated[int, Range(0, 1_000_000)] = 10
    margin: Annotated[float, SHARE] = 0.02
    alpha: Annotated[float, LEVEL] = 0.05
    rule: Rule = "sequence"
    cover: Cover = "auto"
    prior_noise: Annotated[float, Range(0, 1, below=True)] = 0.0
    planned_seeds: Annotated[int | None, Range(2, 1000)] = None
    n_boot: Annotated[int, Range(100, 1_000_000)] = 2000
    seed: Annotated[int, SEED] = 0

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise InputError(f"metric must be one of {', '.join(METRICS)}; got {self.metric!r}")
        if (self.metric == "mrr") != (self.k == 0):
            raise InputError(f"k must be at least 1 for hr and ndcg and 0 for mrr; got {self.metric} with k = {self.k}")
        if self.prior_noise and self.cover == "users":
            raise InputError("prior_noise widens intervals for training noise, which cover users leaves out; drop one")

    @property
    def label(self) -> str:
        """The metric as people write it, such as NDCG@10."""
        return wording.metric_label(self.metric, self.k)
