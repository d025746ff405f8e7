"""`DecisionOptions`: what "not worse" means in a study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from layerprobe import wording
from layerprobe.arguments import checked
from layerprobe.errors import InputError
from layerprobe.evaluation.metrics import METRICS

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
        n_boot: number of resamples.
        seed: seed of the resamples.

    Raises:
        InputError: a value is outside its range.
    """

    metric: str = "ndcg"
    k: int = 10
    margin: float = 0.02
    alpha: float = 0.05
    rule: Rule = "sequence"
    cover: Cover = "auto"
    n_boot: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise InputError(f"metric must be one of {', '.join(METRICS)}; got {self.metric!r}")
        if (self.metric == "mrr") != (self.k == 0) or self.k < 0:
            raise InputError(f"k must be at least 1 for hr and ndcg and 0 for mrr; got {self.metric} with k = {self.k}")
        if self.n_boot < 100 or self.seed < 0:
            raise InputError(f"n_boot must be at least 100 and seed not negative; got {self.n_boot} and {self.seed}")
        for name in ("margin", "alpha"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise InputError(f"{name} must lie between 0 and 1 (a share: .02 means 2 %); got {value}")

    @property
    def label(self) -> str:
        """The metric as people write it, such as NDCG@10."""
        return wording.metric_label(self.metric, self.k)
