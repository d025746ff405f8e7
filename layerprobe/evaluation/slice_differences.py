"""Who loses: a model minus the full model in every group of users, with intervals over users and training seeds.

Takes ranks tables of one split and protocol and the groups of `evaluation.slices` (no torch), hands on rows of
`slice_differences.csv`. Differences are paired by user, so their intervals are narrower than the two values suggest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.errors import InputError
from layerprobe.evaluation.metrics import metric_values, target_key, user_means
from layerprobe.evaluation.seeds import SeedNoise, seeded_intervals, shared_noise
from layerprobe.evaluation.slices import MIN_USERS, SliceCuts

NO_BOUNDS = (np.nan, np.nan)


@dataclass(frozen=True, eq=False)
class SlicedModel:
    """One model and what it ranked under each training seed."""

    kind: str
    """Kind of the model, as in `curve.csv`."""
    selection: str
    """Text of its layers; empty for floors."""
    depth: int | None
    """Layers kept; None for floors."""
    ranks: Mapping[int | None, pd.DataFrame]
    """A ranks table of one split and protocol for each training seed; None is the seed of a model without training."""

    @property
    def name(self) -> str:
        """What error messages call it."""
        return f"{self.kind} {self.selection}".strip()


@dataclass(frozen=True, eq=False)
class _PerSeed:
    """Metrics of a model, `metric` [seeds, targets, metrics]: under each of its `seeds`, by user and place."""

    seeds: tuple[int | None, ...]
    metric: np.ndarray


@dataclass(frozen=True, eq=False)
class _Group:
    """One group of users: the rows of their targets in it, and per metric the noise of training among them."""

    slice_name: str
    name: str
    rows: np.ndarray
    users: np.ndarray
    noise: list[SeedNoise]

    @property
    def n_users(self) -> int:
        """Number of users in the group."""
        return len(np.unique(self.users))

    def of_users(self, values: np.ndarray) -> np.ndarray:
        """Returns each user's mean over its targets in the group: [seeds, targets, m] to [seeds, users, m]."""
        return _of_users(values[:, self.rows], self.users)


@dataclass(frozen=True, eq=False)
class _Pair:
    """A model and the full one, seed beside seed, each [seeds, targets, metrics]; `trained` as for `mean_error`.

    `seeds` is the number of the model's own trainings; it is 1 for a model that is compared with every seed of the full
    one.
    """

    own: np.ndarray
    full: np.ndarray
    trained: int
    seeds: int


def slice_differences(
    full: SlicedModel,
    others: Sequence[SlicedModel],
    cuts: Sequence[SliceCuts],
    metrics: Sequence[tuple[str, int]],
    alpha: float,
    covers_training: bool = True,
) -> pd.DataFrame:
    """Compares models with the full one, user by user, in every group.

    Seeds are paired by number; a seed that only one of the two has is left out. A floor that was trained once, or not
    at all, is compared with every seed of the full model.

    `ci_low` and `ci_high` hold one by one. `ci_low_all` and `ci_high_all` hold for all groups of all slices of a model
    and metric at once, with a probability of at least 1 - alpha: each has its share of alpha (Bonferroni), since groups
    of different slices share users in ways that no simple rule covers. Both use Student's t and cover the choice of
    users; where `seeds` is above 1 also the noise of training (`evaluation.seeds`).

    Args:
        full: the full model.
        others: what is compared with it. Kinds `full.kind` share their noise of training with the full model.
        cuts: from `slices.slice_cuts`.
        metrics: (metric, k) pairs as for `evaluation.metrics.metric_values`.
        alpha: share left outside, in (0, 1).
        covers_training: whether intervals cover the noise of training where there are several seeds.

    Returns:
        Rows with the columns `columns.SLICE_DIFFERENCES`, model by model as given, groups as cut. `relative` is the
        difference as a share of the full model's value in the group, NaN where that is 0. Bounds are NaN where the
        group has fewer than `MIN_USERS` users or the difference is the same for all of them under every seed; groups
        of the second kind still count among all groups, so that the number of groups depends on the users only.

    Raises:
        InputError: users or targets differ from the full model's, a model has no seed in common with it, or alpha lies
            outside its range.
    """
    reference = _sorted(next(iter(full.ranks.values())))
    of_full, *of_others = [_per_seed(model, reference, metrics) for model in (full, *others)]
    pairs = [_pair(model, of_model, of_full) for model, of_model in zip(others, of_others, strict=True)]
    if not covers_training:  # the mean over seeds as if it were one seed: what is left varies over users only
        pairs = [_Pair(_over_seeds(pair.own), _over_seeds(pair.full), pair.trained, pair.seeds) for pair in pairs]
    # Only models of the full one's kind are trained like it, so only their differences show its noise.
    alike = [pair.own - pair.full for model, pair in zip(others, pairs, strict=True) if model.kind == full.kind]
    groups = _groups(reference, cuts, alike, len(metrics))
    family = sum(group.n_users >= MIN_USERS for group in groups)
    tables = []
    for model, pair in zip(others, pairs, strict=True):
        rows = [row for group in groups for row in _rows(pair, group, family, metrics, alpha)]
        of_model = {columns.KIND: model.kind, columns.SELECTION: model.selection, columns.DEPTH: model.depth}
        tables.append(pd.DataFrame(rows, columns=list(columns.DIFFERENCE_ROWS)).assign(**of_model))
    # Int64 holds a missing depth and keeps the others whole numbers.
    table = pd.concat([table.astype({columns.DEPTH: "Int64"}) for table in tables], ignore_index=True)
    return table[list(columns.SLICE_DIFFERENCES)]


def _rows(
    pair: _Pair, group: _Group, family: int, metrics: Sequence[tuple[str, int]], alpha: float
) -> list[tuple[object, ...]]:
    """Returns the rows of one group, a row per metric; `family` is the number of groups with intervals."""
    values, full = group.of_users(pair.own), group.of_users(pair.full)  # [seeds, users of the group, metrics] each
    rows = []
    for column, (metric, k) in enumerate(metrics):
        differences = values[:, :, [column]] - full[:, :, [column]]  # [seeds, users of the group, 1]
        value, reference = float(values[:, :, column].mean()), float(full[:, :, column].mean())
        difference = float(differences.mean())
        relative = difference / reference if reference > 0 else np.nan
        alone = together = NO_BOUNDS
        if group.n_users >= MIN_USERS and np.ptp(differences) > 0:
            noise = group.noise[column]
            alone, together = (_bounds(differences, level, noise, pair.trained) for level in (alpha, alpha / family))
        of_group = (group.slice_name, group.name, metric, k, value, reference, difference, relative)
        rows.append((*of_group, *alone, *together, group.n_users, pair.seeds))
    return rows


def _bounds(differences: np.ndarray, alpha: float, noise: SeedNoise, trained: int) -> tuple[float, float]:
    low, high = seeded_intervals(differences, alpha, noise, trained)
    return float(low[0]), float(high[0])


def _groups(
    reference: pd.DataFrame, cuts: Sequence[SliceCuts], differences: Sequence[np.ndarray], n_metrics: int
) -> list[_Group]:
    """Returns the groups of all slices with the noise that differences [seeds, targets, metrics] show in them."""
    groups, users = [], reference[columns.USER].to_numpy()
    for cut in cuts:
        position = cut.assign(reference)  # [targets]
        for number, name in enumerate(cut.groups):
            rows = np.flatnonzero(position == number)
            inside = [_of_users(values[:, rows], users[rows]) for values in differences]
            noise = [shared_noise([values[:, :, column] for values in inside]) for column in range(n_metrics)]
            groups.append(_Group(cut.column, name, rows, users[rows], noise))
    return groups


def _of_users(values: np.ndarray, users: np.ndarray) -> np.ndarray:
    """Averages targets [seeds, targets, m] of the same user to [seeds, users, m]."""
    return np.moveaxis(user_means(users, np.moveaxis(values, 1, 0)), 0, 1)


def _over_seeds(values: np.ndarray) -> np.ndarray:
    return values.mean(axis=0, keepdims=True)  # [1, targets, metrics]


def _pair(model: SlicedModel, own: _PerSeed, full: _PerSeed) -> _Pair:
    if model.depth is None and len(own.seeds) == 1:  # a floor: one ranking against every seed of the full model
        return _Pair(np.broadcast_to(own.metric, full.metric.shape), full.metric, trained=1, seeds=1)
    shared = [seed for seed in full.seeds if seed in own.seeds]
    if not shared:
        raise InputError(
            f"{model.name} must share a training seed with the full model; it has {list(own.seeds)} and the full model "
            f"{list(full.seeds)}: train one of them with a seed of the other"
        )
    left, right = (side.metric[[side.seeds.index(seed) for seed in shared]] for side in (own, full))
    return _Pair(left, right, trained=2, seeds=len(shared))  # [shared seeds, targets, metrics] each


def _per_seed(model: SlicedModel, reference: pd.DataFrame, metrics: Sequence[tuple[str, int]]) -> _PerSeed:
    tables = [_sorted(table) for table in model.ranks.values()]
    for table in tables:
        _check_same_users(model, table, reference)
    values = [np.stack([metric_values(table, metric, k) for metric, k in metrics], axis=1) for table in tables]
    return _PerSeed(tuple(model.ranks), np.stack(values))  # [seeds, targets, metrics]


def _sorted(ranks: pd.DataFrame) -> pd.DataFrame:
    return ranks.iloc[np.argsort(ranks[columns.USER].to_numpy(), kind="stable")]


def _check_same_users(model: SlicedModel, ranks: pd.DataFrame, reference: pd.DataFrame) -> None:
    same = all(np.array_equal(ranks[name], reference[name]) for name in (columns.USER, columns.TARGET))
    if not same or ranks.duplicated(target_key(ranks)).any():
        raise InputError(
            f"{model.name} must be ranked on the same users and targets as the full model, each target once; it has "
            f"{len(ranks)} rows and the full model {len(reference)}: rank both on one data folder"
        )
