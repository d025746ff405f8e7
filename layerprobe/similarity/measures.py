"""The registry: every way to compare two states, by the name it has in tables, figures and studies.

Each measure has a function of two plain matrices, which says what the number means, its range, source and pitfalls,
and one of a list of states and pairs that does the work of each state once. Which to read:

- `cka` first: it ignores rotation and scale, is centred and unbiased. `mutual-knn`, `rsa` and `cknna` ask whether
  neighbours or distances are kept, and outlier rows move them less; `procrustes` asks whether one state is a rotated
  copy of the other.
- `cosine`, its centred and standardised forms and `angular` compare coordinates as they are, so they fit layers of one
  residual stream and say nothing about two models trained separately.
- `svcca` and `pwcca` need many more rows than dimensions. `cka-biased` is there to compare with published maps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from layerprobe.errors import InputError
from layerprobe.similarity.cka import cka_biased_pairs, cka_pairs, linear_cka, linear_cka_biased
from layerprobe.similarity.distances import rsa, rsa_pairs
from layerprobe.similarity.kernels import rbf_cka, rbf_cka_pairs
from layerprobe.similarity.neighbours import cknna, cknna_pairs, mutual_knn, mutual_knn_pairs
from layerprobe.similarity.standardised import standardised_cosine, standardised_cosine_pairs
from layerprobe.similarity.states import Pairs, PairScores, States
from layerprobe.similarity.subspace import procrustes, procrustes_pairs, pwcca, pwcca_pairs, svcca, svcca_pairs
from layerprobe.similarity.vectors import (
    angular_distance,
    angular_pairs,
    centred_cosine,
    centred_cosine_pairs,
    cosine,
    cosine_pairs,
)

NEIGHBOURS = 10
"""Neighbours that `mutual-knn` and `cknna` look at in tables."""
MeasureName = Literal[
    "cka",
    "cka-biased",
    "cka-rbf",
    "cosine",
    "cosine-centred",
    "cosine-standardised",
    "angular",
    "procrustes",
    "svcca",
    "pwcca",
    "rsa",
    "mutual-knn",
    "cknna",
]


@dataclass(frozen=True)
class Measure:
    """One way to compare two states.

    Attributes:
        of: the value of two matrices [rows, dim].
        pairs: values and row parts of pairs of a list of states, all pairs a <= b by default.
        low, high: the range.
        same: the value of a state and itself: 1, and 0 for a distance.
        same_space: whether coordinates are compared as they are, so that both states need the same dim and basis.
        above_dim: whether it needs more rows than dimensions.
        least_rows: rows it needs in any case, with its usual options.
    """

    of: Callable[[torch.Tensor, torch.Tensor], float]
    pairs: Callable[[States, Pairs | None], PairScores]
    low: float
    high: float
    same: float = 1.0
    same_space: bool = False
    above_dim: bool = False
    least_rows: int = 5


MEASURES: dict[str, Measure] = {
    "cka": Measure(linear_cka, cka_pairs, -1, 1),
    "cka-biased": Measure(linear_cka_biased, cka_biased_pairs, 0, 1),
    "cka-rbf": Measure(rbf_cka, rbf_cka_pairs, -1, 1),
    "cosine": Measure(cosine, cosine_pairs, -1, 1, same_space=True),
    "cosine-centred": Measure(centred_cosine, centred_cosine_pairs, -1, 1, same_space=True),
    "cosine-standardised": Measure(standardised_cosine, standardised_cosine_pairs, -1, 1, same_space=True),
    "angular": Measure(angular_distance, angular_pairs, 0, 1, same=0.0, same_space=True),
    "procrustes": Measure(procrustes, procrustes_pairs, 0, 1),
    "svcca": Measure(svcca, svcca_pairs, 0, 1, above_dim=True),
    "pwcca": Measure(pwcca, pwcca_pairs, 0, 1, above_dim=True),
    "rsa": Measure(rsa, rsa_pairs, -1, 1),
    "mutual-knn": Measure(mutual_knn, mutual_knn_pairs, 0, 1, least_rows=NEIGHBOURS + 2),
    "cknna": Measure(cknna, cknna_pairs, -1, 1, least_rows=NEIGHBOURS + 2),
}
DEFAULT_MEASURES: tuple[MeasureName, ...] = ("cka", "cosine", "cosine-centred", "mutual-knn")
"""What a study draws by default: each is valid for any number of rows and dimensions."""


def measures_named(names: Sequence[str]) -> dict[str, Measure]:
    """Returns measures by name, in the order given.

    Raises:
        InputError: a name is unknown or stands twice, or there is none.
    """
    unknown = [name for name in names if name not in MEASURES]
    if unknown or not names or len(set(names)) < len(names):
        got = unknown[0] if unknown else ", ".join(names) or "none"
        raise InputError(f"measures must be some of {', '.join(MEASURES)}, each once; got {got}")
    return {name: MEASURES[name] for name in names}


def require_rows(names: Sequence[str], n_rows: int, dim: int) -> None:
    """Checks, before states are computed, that the measures are defined for these numbers of rows and dimensions.

    Raises:
        InputError: a measure needs more rows.
    """
    for name, measure in measures_named(names).items():
        least = max(measure.least_rows, dim + 1 if measure.above_dim else 0)
        if n_rows < least:
            why = f" for states of {dim} dimensions" if measure.above_dim else ""
            raise InputError(
                f"{name} needs at least {least} rows{why}; got {n_rows}: compare more users, or leave {name} out of "
                "similarity.measures"
            )
