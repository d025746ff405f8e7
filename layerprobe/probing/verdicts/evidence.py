"""`Evidence`: the models of a decision, and bounds on the differences of any pairs of them.

Takes ranks of selections and floors, hands on bounds. All pairs share one set of resampled users, so that a hundred
pairs cost little more than one, and one estimate of training noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil
from typing import TypeAlias, TypeVar

import numpy as np

from layerprobe import wording
from layerprobe.backbone.selection import LayerSelection, parse_selection
from layerprobe.errors import InputError
from layerprobe.evaluation.seeds import SeedNoise, TrainingNoise, shared_noise
from layerprobe.evaluation.uncertainty import SimultaneousBounds, resampled_means, simultaneous_bounds
from layerprobe.kinds import SASREC
from layerprobe.probing.comparisons import require_covered
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.per_user import PerUser, RankTables, paired

ModelKey: TypeAlias = "LayerSelection | str"
"""A selection, or the name of a floor."""

MOST_TIMES = 16
"""Times as many resamples as `n_boot` at most, where the level of a look is a small part of alpha."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """The models of one decision on one metric.

    Attributes:
        full_key: selection of the full model.
        full: the full model.
        smaller: every other selection, ascending by depth.
        floors: the baselines, by name.
        options: metric, cover, prior noise and resamples.
        level: error level of the bounds.
    """

    full_key: LayerSelection
    full: PerUser
    smaller: dict[LayerSelection, PerUser]
    floors: dict[str, PerUser]
    options: DecisionOptions
    level: float
    _places: dict[ModelKey, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        keys: list[ModelKey] = [*self.smaller, *self.floors, self.full_key]
        object.__setattr__(self, "_places", {key: place for place, key in enumerate(keys)})

    @staticmethod
    def read(
        tables: Mapping[LayerSelection, RankTables],
        full_key: LayerSelection,
        baselines: Mapping[str, RankTables],
        options: DecisionOptions,
        level: float,
    ) -> Evidence:
        """Computes each user's metric under every model.

        Raises:
            InputError: ranks lack the protocol `full` or the split `test`, users differ, the full model's metric is 0,
                or numbers of seeds differ or are too small for what the intervals must cover.
        """
        full = PerUser.read(called(full_key), tables[full_key], options)
        if not full.value > 0:
            raise InputError(
                f"the full model ({full.name}) has an {options.label} of 0 on {len(full.users)} users, and a margin "
                "is a share of it; train it longer or choose a larger k"
            )
        smaller = {key: PerUser.read(called(key), tables[key], options) for key in tables if key != full_key}
        floors = {name: PerUser.read(name, ranks, options) for name, ranks in baselines.items()}
        require_covered([full, *smaller.values()], options)
        return Evidence(full_key, full, smaller, floors, options, level)

    @property
    def models(self) -> dict[LayerSelection, PerUser]:
        """Every selection, the full model last."""
        return {**self.smaller, self.full_key: self.full}

    @property
    def prior(self) -> float:
        """Stated training noise: standard deviation of a training's mean metric, in the metric."""
        return self.options.prior_noise * self.full.value

    @property
    def is_exploratory(self) -> bool:
        """Whether nothing tells training noise from a difference: one seed, and no noise is stated."""
        return self.full.seeds == 1 and not self.prior

    @cached_property
    def noise(self) -> SeedNoise:
        """Seed noise that the selections' differences from the full model have in common."""
        return shared_noise([paired(model, self.full) for model in self.smaller.values()])

    def bounds(self, pairs: Sequence[tuple[ModelKey, ModelKey]]) -> SimultaneousBounds:
        """Returns bounds on the first model minus the second of each pair; they hold for all these pairs together.

        Args:
            pairs: at least one.

        Raises:
            InputError: users differ, or numbers of seeds do not pair.
        """
        differences = [paired(self.model(left), self.model(right)) for left, right in pairs]
        n_seeds, n_users = max(len(rows) for rows in differences), len(self.full.users)
        # [seeds, users, pairs]; a model that was trained once is compared with every seed of the other.
        stacked = np.stack([np.broadcast_to(rows, (n_seeds, n_users)) for rows in differences], axis=-1)
        if self.options.cover == "users":
            stacked = stacked.mean(axis=0, keepdims=True)  # [1, users, pairs]: bounds then cover users alone
        trained = np.array([self._noisy(left, n_seeds) + self._noisy(right, n_seeds) for left, right in pairs])
        left, right = ([self._places[pair[side]] for pair in pairs] for side in (0, 1))
        return simultaneous_bounds(
            stacked,
            self.level,
            self._n_boot,
            self.options.seed,
            TrainingNoise(self.noise, trained, self.prior),
            moved=self._moved[:, left] - self._moved[:, right],
        )

    def model(self, key: ModelKey) -> PerUser:
        """Returns one model."""
        if key == self.full_key:
            return self.full
        return self.floors[key] if isinstance(key, str) else self.smaller[key]

    def _noisy(self, key: ModelKey, n_seeds: int) -> int:
        """Returns how many trainings' noise a model brings into a difference (`trainings`)."""
        is_stated = bool(self.prior) and (not isinstance(key, str) or key == SASREC)
        return trainings(self.model(key).seeds, n_seeds, is_stated)

    @property
    def _n_boot(self) -> int:
        """Resamples: more where a look has a part of alpha, so that as many of them lie in the smaller tail."""
        return self.options.n_boot * min(MOST_TIMES, max(1, ceil(round(self.options.alpha / self.level, 6))))

    @cached_property
    def _moved(self) -> np.ndarray:
        """How far each resample of users moves each model's mean away from the full model's, [n_boot, models]."""
        others = [*self.smaller.values(), *self.floors.values()]
        # The full model's column is 0. Differences from it are small numbers, so that float32 keeps their digits.
        columns = [paired(model, self.full).mean(axis=0) for model in others] + [np.zeros(len(self.full.users))]
        return resampled_means(np.stack(columns, axis=1), self._n_boot, self.options.seed)


def trainings(seeds: int, n_seeds: int, is_stated: bool) -> int:
    """Returns how many trainings' noise a model brings into a difference, in parts of the mean over seeds.

    Args:
        seeds: trainings of the model; from two on their noise is known.
        n_seeds: seeds of the difference. One training that is compared with every seed counts as often.
        is_stated: whether the noise of a single training is stated.

    >>> trainings(3, 3, False), trainings(1, 3, True), trainings(1, 3, False)
    (1, 3, 0)
    """
    if seeds > 1:
        return 1
    return n_seeds if is_stated else 0


Kept = TypeVar("Kept", bound="int | str | LayerSelection")


def full_and_all(by_selection: Mapping[Kept, RankTables]) -> tuple[LayerSelection, dict[LayerSelection, RankTables]]:
    """Returns the full model's selection and all tables by selection, ascending by depth.

    Raises:
        InputError: fewer than two selections, or not exactly one that keeps all layers.
    """
    deepest = max((_layers_named(key) for key in by_selection), default=0)
    if not deepest:
        got = ", ".join(map(str, by_selection))
        raise InputError(f"by_selection must hold the full model, as first:L or the number L; got {got}")
    keyed = [(_selection(key, deepest), ranks) for key, ranks in by_selection.items()]
    tables = dict(sorted(keyed, key=lambda entry: entry[0].depth))
    if len(tables) < 2:
        raise InputError(
            f"a decision needs the full model and a smaller depth; got depths {[key.depth for key in tables]}"
        )
    full = [selection for selection in tables if selection.depth == deepest]
    other = [selection for selection in tables if selection.n_layers != deepest]
    if len(full) != 1 or other or len(tables) != len(keyed):
        raise InputError(
            f"a decision needs selections of one backbone, each once, with one that keeps all {deepest} layers; "
            f"got {', '.join(f'{selection} of {selection.n_layers}' for selection, _ in keyed)}"
        )
    return full[0], tables


def _layers_named(key: int | str | LayerSelection) -> int:
    """Returns the layers of the backbone, as far as a key tells: k for `first:k`, 0 for another text."""
    if isinstance(key, LayerSelection):
        return key.n_layers
    number = str(key).removeprefix("first:")
    return int(number) if number.isdecimal() else 0


def _selection(key: int | str | LayerSelection, n_layers: int) -> LayerSelection:
    if isinstance(key, LayerSelection):
        return key
    return parse_selection(f"first:{key}" if isinstance(key, int) else key, n_layers)


def called(selection: LayerSelection) -> str:
    """Returns the name of a selection in error messages."""
    return f"depth {selection.depth}" if wording.keeps_first(selection.text) else selection.text
