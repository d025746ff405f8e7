"""`CurveTable`: metrics with intervals of every point of a study: variants, controls, exits, distilled models, floors.

Takes ranks tables, hands on rows of `curve.csv`, which every depth figure and table is drawn from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.arguments import require_columns, require_cutoffs, require_kind, require_mapping, require_whole
from layerprobe.backbone.selection import parse_selection
from layerprobe.errors import InputError
from layerprobe.evaluation.metrics import MetricName, metric_columns, metric_values, user_means
from layerprobe.evaluation.uncertainty import mean_intervals
from layerprobe.kinds import EXITS, KINDS, VARIANT

NAMES = tuple(kind.name for kind in KINDS)
BOOTSTRAP_SEED = 0
"""The same resamples for every point, so that bands of two points differ by the points alone."""

_TYPES = {
    columns.KIND: "str",
    columns.SELECTION: "str",
    columns.DEPTH: "Int64",
    columns.SEED: "Int64",
    columns.PROTOCOL: "str",
    columns.SPLIT: "str",
    columns.METRIC: "str",
    columns.K: "int64",
    columns.VALUE: "float64",
    columns.CI_LOW: "float64",
    columns.CI_HIGH: "float64",
    columns.N_USERS: "int64",
    columns.PARAMETERS: "Int64",
    columns.TRAIN_SECONDS: "float64",
    columns.USERS_PER_SECOND: "float64",
}


@dataclass(frozen=True)
class CurvePoint:
    """What was ranked.

    Attributes:
        kind: name of one of `kinds.KINDS`.
        selection: text form of the kept layers; "" for floors.
        depth: layers kept or read; None for floors, which have none.
        seed: training seed; None where nothing was trained.
        parameters: number of parameters that scoring uses; None where unknown.
        train_seconds: training time of this point; None where it has no training of its own (exits).
        users_per_second: scoring speed; None where it was not measured.
    """

    kind: str
    selection: str = ""
    depth: int | None = None
    seed: int | None = None
    parameters: int | None = None
    train_seconds: float | None = None
    users_per_second: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in NAMES:
            raise InputError(f"the kind of a curve point must be one of {', '.join(NAMES)}; got {self.kind!r}")


def curve_rows(ranks: pd.DataFrame, point: CurvePoint, ks: Sequence[int], alpha: float, n_boot: int) -> pd.DataFrame:
    """Computes every metric of one point with its bootstrap interval over users.

    Args:
        ranks: table with the columns `columns.RANKS`. The rows of a user with several targets are averaged, since the
            user is what varies.
        point: what was ranked.
        ks: cut-offs of hr and ndcg.
        alpha: error level of each interval; .05 gives 95 % bands, each for its own value alone.
        n_boot: number of resamples.

    Returns:
        Rows with the columns `columns.CURVE`: per protocol and split, hr and ndcg at each cut-off, and mrr with k = 0.

    Raises:
        InputError: there are no ranks, or protocols of a split differ in their number of targets.
    """
    groups = _groups(ranks)
    metrics = metric_columns(ks)
    per_user = {keys: _per_user(group, metrics) for keys, group in groups.items()}  # each [users, metrics]
    parts = [
        _with_intervals({keys: values for keys, values in per_user.items() if len(values) == n_users}, alpha, n_boot)
        for n_users in dict.fromkeys(map(len, per_user.values()))
    ]
    values = {keys: table for part in parts for keys, table in part.items()}
    rows = pd.DataFrame(
        [
            (*keys, *metric, *numbers, len(per_user[keys]))
            for keys in groups
            for metric, numbers in zip(metrics, values[keys], strict=True)
        ],
        columns=[
            *(columns.PROTOCOL, columns.SPLIT, columns.METRIC, columns.K),
            *(columns.VALUE, columns.CI_LOW, columns.CI_HIGH, columns.N_USERS),
        ],
    ).assign(**vars(point))
    return rows[list(columns.CURVE)].astype(_TYPES)


def _groups(ranks: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """Returns the rows of each protocol and split; the protocols of a split hold the same number of targets."""
    found = ranks.groupby([columns.PROTOCOL, columns.SPLIT], sort=False, observed=True)
    groups = {cast("tuple[str, str]", keys): group for keys, group in found}
    protocols = {protocol for protocol, _ in groups}
    sizes = {split: [len(group) for (_, part), group in groups.items() if part == split] for _, split in groups}
    differing = {split: size for split, size in sizes.items() if len(size) != len(protocols) or len(set(size)) > 1}
    if not groups or differing:
        got = "; ".join(f"{split}: {sorted(size)} rows" for split, size in differing.items()) or "no rows"
        raise InputError(
            f"a ranks table must hold the same users and targets in every protocol of a split; got {got}; the file is "
            "empty or truncated: delete it and rank again"
        )
    return groups


def _per_user(ranks: pd.DataFrame, metrics: list[tuple[MetricName, int]]) -> np.ndarray:
    values = np.stack([metric_values(ranks, metric, k) for metric, k in metrics], axis=1)  # [targets, metrics]
    return user_means(ranks[columns.USER].to_numpy(), values)


def _with_intervals(
    groups: dict[tuple[str, str], np.ndarray], alpha: float, n_boot: int
) -> dict[tuple[str, str], list[tuple[float, float, float]]]:
    """Returns value, low and high of each metric, per group; all groups have the same number of users."""
    stacked = np.concatenate(list(groups.values()), axis=1)  # [users, groups x metrics]
    numbers = zip(stacked.mean(axis=0), *mean_intervals(stacked, alpha, n_boot, BOOTSTRAP_SEED), strict=True)
    table = [tuple(map(float, row)) for row in numbers]
    width = len(table) // len(groups)
    return {keys: table[start * width : (start + 1) * width] for start, keys in enumerate(groups)}  # pyright: ignore


def curve(
    ranks: Mapping[str | int, pd.DataFrame],
    ks: Sequence[int] = (1, 5, 10, 20),
    alpha: float = 0.05,
    n_boot: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Puts the ranks of several models into one curve table, which the plots draw.

    Args:
        ranks: per model its ranks. A number k, or a text such as `first:2`, is a fine-tuned selection of layers;
            `exit-norm-2` is an exit; any other name is that of a kind: `sasrec`, `popularity`, `markov-1`, `tfidf`.
        ks: cut-offs of HR and NDCG.
        alpha: share left outside each interval.
        n_boot: resamples of users.
        seed: training seed of the models with layers, for the table.

    Returns:
        Columns `columns.CURVE`. The layers of a selection other than `first:k` are counted among those of the deepest
        `first:k`, the full model.

    Raises:
        InputError: a name is of no kind, or a table lacks columns or users.
    """
    require_mapping("ranks", ranks, "names and ranks tables")
    require_whole("seed", seed, 0)
    cutoffs = require_cutoffs(ks)
    n_layers = max((_first(name) or 0 for name in ranks), default=0)
    tables = []
    for name, table in ranks.items():
        require_columns(f"ranks of {name}", table, columns.RANKED)
        tables.append(curve_rows(table, point_named(name, seed, n_layers), cutoffs, alpha, n_boot))
    return pd.concat(tables, ignore_index=True)


def point_named(name: str | int, seed: int = 0, n_layers: int = 0) -> CurvePoint:
    """Returns the point that a short name stands for.

    Args:
        name: as in `curve`.
        seed: training seed of a model with layers.
        n_layers: layers of the full model; 0 knows `first:k` alone.

    Raises:
        InputError: the name is of no kind, or its layers do not fit the full model.

    >>> point_named("first:2").depth, point_named("exit-norm-3").kind, point_named("sasrec").seed
    (2, 'exit-norm', None)
    """
    require_kind("a name of ranks", name, str, int)
    text = f"first:{name}" if isinstance(name, int) else name
    kind, _, k = text.rpartition("-")
    if ":" in text:
        return CurvePoint(VARIANT, text, parse_selection(text, max(n_layers, _first(text) or 0)).depth, seed)
    return CurvePoint(kind, depth=int(k), seed=seed) if kind in EXITS and k.isdecimal() else CurvePoint(text)


def _first(name: str | int) -> int | None:
    """Returns k of `first:k`, or of the number k; None for another name."""
    number = str(name).removeprefix("first:")
    is_first = isinstance(name, int) or str(name).startswith("first:")
    return int(number) if is_first and number.isdecimal() else None


def read_curve(path: Path) -> pd.DataFrame:
    """Reads `curve.csv` and checks its columns.

    Returns:
        Table with the columns `columns.CURVE`; depth, seed and parameters are nullable integers.

    Raises:
        InputError: the file is missing or empty, lacks a column, or a column has values of another type.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, UnicodeDecodeError, pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} must be a curve table; {reason}; run the curve stage to make it again") from error
    missing = [name for name in columns.CURVE if name not in table.columns]
    if missing:
        raise InputError(
            f"{path} lacks the column {', '.join(missing)}; found {', '.join(map(str, table.columns))}; "
            "run the curve stage to make it again"
        )
    try:
        return pd.DataFrame({name: typed_cells(table[name], dtype) for name, dtype in _TYPES.items()})
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} holds a value of the wrong type: {error}; run the curve stage again") from error


def typed_cells(cells: pd.Series, dtype: str) -> pd.Series:
    """Returns text cells as `dtype`, empty ones as missing.

    Floats are parsed by Python, which gives back exactly the number that was written.
    """
    if dtype == "str":
        return cells
    numbers = cells.replace("", "nan").astype("float64")
    # Through Int64, which refuses 2.5 where int64 would truncate it.
    return numbers if dtype == "float64" else numbers.astype("Int64").astype(dtype)
