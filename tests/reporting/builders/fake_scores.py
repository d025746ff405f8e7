"""Writes the made-up layer scores of a fake study: `similarity/`, `predictiveness.csv` and `predicted.csv`.

The numbers follow the study's shape: early layers do most, late layers little, scores guess the skill with noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.store.atomic import write_csv, write_json, write_parquet

N_PERMUTATIONS = 200
NULL_FACTS = {columns.N_PERMUTATIONS: N_PERMUTATIONS, columns.N_ROWS: 400, columns.DIM: 64}
RATES = {
    "cka": 0.25,
    "cka-biased": 0.1,
    "cka-rbf": 0.2,
    "procrustes": 0.15,
    "svcca": 0.08,
    "pwcca": 0.12,
    "rsa": 0.3,
    "mutual-knn": 0.5,
    "cknna": 0.6,
}
NULLS = {"cka-biased": 0.3, "svcca": 0.45, "pwcca": 0.4, "procrustes": 0.2, "mutual-knn": 0.03, "angular": 0.5}
BARS = ("block-influence", "block-influence-centred", "angular", "cka-drop", columns.DROP_ONE, "taylor")
SCORES = (*BARS, "cut-ndcg", "exit-raw", "exit-norm", "exit-probe", "cka-to-full", "depth")


@dataclass(frozen=True)
class ScoreShape:
    """What the made-up scores look like."""

    folder: Path
    n_layers: int
    n_users: int
    dim: int
    measures: tuple[str, ...]
    seeds: int = 1


def write_fake_scores(shape: ScoreShape, variants: Mapping[str, tuple[int, float]]) -> None:
    """Writes every file; `variants` holds depth and measured value of each selection."""
    folder = shape.folder / "similarity"
    write_parquet(folder / "similarity.parquet", _similarity(shape, shape.n_layers))
    write_parquet(folder / "student.parquet", _similarity(shape, max(1, shape.n_layers // 2)))
    write_csv(folder / "null.csv", _null(shape))
    write_csv(folder / "states.csv", _states(shape))
    write_csv(folder / "importance.csv", _importance(shape))
    write_csv(folder / "blocks.csv", _blocks(shape))
    write_json(folder / "selections.json", _orders(shape))
    write_csv(folder / "greedy.csv", _greedy(shape))
    predicted = _predicted(variants)
    write_csv(shape.folder / "predicted.csv", predicted)
    write_csv(shape.folder / "predictiveness.csv", _predictiveness(predicted, shape))


def _values(measure: str, n_first: int, n_second: int) -> np.ndarray:
    gap = np.abs(np.linspace(0, 4, n_first + 1)[:, None] - np.linspace(0, 4, n_second + 1)[None, :])
    if measure in ("cosine", "cosine-centred"):
        return np.cos(0.45 * gap)
    return gap / 10 if measure == "angular" else np.exp(-RATES[measure] * gap)


def _similarity(shape: ScoreShape, n_second: int) -> pd.DataFrame:
    tables = []
    for measure in shape.measures:
        matrix = _values(measure, shape.n_layers, n_second)
        first, second = np.indices(matrix.shape).reshape(2, -1)
        tables.append(_with_bounds(measure, {columns.LAYER_A: first, columns.LAYER_B: second}, matrix.ravel(), 0.02))
    rows = f"readout of {shape.n_users} test histories"
    facts = {columns.N_ROWS: shape.n_users, columns.DIM: shape.dim, columns.ROWS: rows}
    return pd.concat(tables, ignore_index=True).assign(**facts)


def _with_bounds(
    measure: str, keys: Mapping[str, np.ndarray | Sequence[int]], value: np.ndarray, room: float
) -> pd.DataFrame:
    bounds = {columns.VALUE: value, columns.CI_LOW: value - room, columns.CI_HIGH: value + room}
    return pd.DataFrame({columns.MEASURE: measure, **keys, **bounds})


def _null(shape: ScoreShape) -> pd.DataFrame:
    states = np.arange(shape.n_layers)
    keys = {columns.LAYER_A: states, columns.LAYER_B: np.full(shape.n_layers, shape.n_layers)}
    tables = [_with_bounds(name, keys, np.full(shape.n_layers, NULLS.get(name, 0.0)), 0.03) for name in shape.measures]
    return pd.concat(tables, ignore_index=True).assign(
        **{columns.N_PERMUTATIONS: N_PERMUTATIONS, columns.N_ROWS: 400, columns.DIM: 64}
    )


def _states(shape: ScoreShape) -> pd.DataFrame:
    state = np.arange(shape.n_layers + 1)
    share = state / shape.n_layers
    return pd.DataFrame(
        {
            columns.LAYER: state,
            columns.N_ROWS: shape.n_users,
            columns.DIM: shape.dim,
            columns.OUTLIER_ROWS: 0.01 * share,
            columns.OUTLIER_SPREAD: 0.05 * share,
            columns.ROGUE_DIMS: 0,
            columns.ROGUE_SHARE: 0.3 * share,
            columns.MEAN_COSINE: 0.4 * share,
        }
    )


def _bars(shape: ScoreShape) -> dict[str, np.ndarray]:
    layer = np.arange(shape.n_layers)
    place = 4 * layer / shape.n_layers
    scales = dict(zip(BARS, (0.4, 0.5, 0.2, 0.3, 0.7, 1.5), strict=True))
    bars = {name: scale * np.exp(-0.8 * place) for name, scale in scales.items()}
    bars[columns.DROP_ONE] = 0.7 * np.exp(-1.5 * place) - 0.01
    return bars


def _importance(shape: ScoreShape) -> pd.DataFrame:
    layers = {columns.LAYER: np.arange(shape.n_layers)}
    tables = [_with_bounds(name, layers, values, 0.03) for name, values in _bars(shape).items()]
    return pd.concat(tables, ignore_index=True).assign(**{columns.N_ROWS: shape.n_users, columns.DIM: 64})


def _blocks(shape: ScoreShape) -> pd.DataFrame:
    n = shape.n_layers
    pairs = [(start, length) for length in range(1, n + 1) for start in range(n - length + 1)]
    start, length = np.array(pairs).T
    state = np.concatenate([[0.0], np.cumsum(_bars(shape)["angular"])])
    keys = {columns.START: start, columns.LENGTH: length}
    value = np.minimum(0.6, 0.1 * length / n + (state[start + length] - state[start]) / state[-1] / 2)
    return _with_bounds("angular", keys, value, 0.01).assign(**{columns.N_ROWS: shape.n_users, columns.DIM: 64})


def _orders(shape: ScoreShape) -> dict[str, dict[str, list]]:
    layers = list(range(shape.n_layers))
    last_first = layers[::-1]
    swapped = [*last_first[1:2], *last_first[:1], *last_first[2:]]
    orders = {"bi": last_first, "angular": last_first, "cka": swapped, "greedy": last_first}
    return {
        name: {"kept": [sorted(order[len(order) - k :]) for k in range(len(order) + 1)]}
        for name, order in orders.items()
    }


def _greedy(shape: ScoreShape) -> pd.DataFrame:
    steps = np.arange(1, shape.n_layers + 1)
    value = 0.1 * (1 - (steps / shape.n_layers) ** 2)
    return pd.DataFrame({columns.STEP: steps, columns.LAYER: shape.n_layers - steps, columns.VALUE: value})


def _predicted(variants: Mapping[str, tuple[int, float]]) -> pd.DataFrame:
    generator = np.random.default_rng(3)
    texts = list(variants)
    depth = np.array([variants[text][0] for text in texts])
    measured = np.array([variants[text][1] for text in texts])
    tables = []
    for position, name in enumerate(SCORES):
        noise = generator.normal(scale=0.1 * position * measured.std(), size=len(texts))
        value = depth.astype(float) if name == "depth" else 3 * (measured + noise)
        keys = {columns.SELECTION: texts, columns.DEPTH: depth, columns.VALUE: value, columns.MEASURED: measured}
        tables.append(pd.DataFrame({columns.SCORE: name, **keys}))
    return pd.concat(tables, ignore_index=True)


def _predictiveness(predicted: pd.DataFrame, shape: ScoreShape) -> pd.DataFrame:
    rows = [
        (name, part[[columns.VALUE, columns.MEASURED]].rank().corr().iloc[0, 1], len(part))
        for name, part in predicted.groupby(columns.SCORE, sort=False)
    ]
    rows.append(("perfect" if shape.seeds > 1 else "perfect-same-models", 0.97, rows[0][2]))
    counts = (shape.n_users, shape.seeds)
    scored = [(name, value, max(-1, value - 0.08), min(1, value + 0.03), 0.001, n, *counts) for name, value, n in rows]
    return pd.DataFrame(scored, columns=list(columns.PREDICTIVENESS))
