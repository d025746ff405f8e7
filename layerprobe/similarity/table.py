"""The tidy tables of a study's `similarity/` folder: states compared with each other, with chance, with a student.

Takes `hidden` [L + 1, rows, dim], one row per user; hands on one row per measure and pair of states, with intervals
over users. The importance of single layers is in `similarity.importance`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch

from layerprobe import columns
from layerprobe.arguments import checked
from layerprobe.errors import InputError
from layerprobe.evaluation.uncertainty import mean_intervals
from layerprobe.ranges import LEVEL, SEED, Range
from layerprobe.similarity.measures import DEFAULT_MEASURES, Measure, measures_named
from layerprobe.similarity.states import PairScores, States, layer_pairs

LEAST_PERMUTATIONS = 20
SHUFFLED_ENTRIES = 2**26
"""Numbers that the shuffled copies of a state made at a time hold together, half a gigabyte; at least as many copies
are made as there are states."""


@dataclass(frozen=True)
@checked
class Resampling:
    """How intervals are drawn: percentiles of resamples of the users.

    Every measure gives one part per user whose mean is the score up to a bias of order 1 / users. The parts are
    resampled, not the users: a user drawn twice would be the nearest neighbour of itself and raise every measure.
    Users must be independent rows: several positions of one user make the intervals too narrow.
    """

    n_boot: Annotated[int, Range(100, 1_000_000)] = 1000
    """Resamples, at least 100."""
    alpha: Annotated[float, LEVEL] = 0.05
    """1 - the intervals' nominal coverage, in (0, 1)."""
    seed: Annotated[int, SEED] = 0
    """Seed of the resamples; calls with equal users, resamples and seed share them."""

    def bounds(self, scores: PairScores, low: float = -np.inf, high: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
        """Returns low and high of each score's interval, clipped to the measure's range.

        Raises:
            InputError: n_boot or alpha is out of range.
        """
        # Around the estimate, not around the parts' mean: jackknife parts have a small bias.
        parts = scores.row_parts - scores.row_parts.mean(axis=0)  # [rows, pairs]
        below, above = mean_intervals(parts, self.alpha, self.n_boot, self.seed)
        return (scores.estimates + below).clip(low, high), (scores.estimates + above).clip(low, high)


DEFAULT_RESAMPLING = Resampling()


def similarity_table(
    hidden: States,
    rows_label: str,
    measures: Sequence[str] = DEFAULT_MEASURES,
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> pd.DataFrame:
    """Returns every measure for the full square of states, with intervals over users.

    Args:
        hidden: states 0..L, [L + 1, rows, dim], before the final norm; at least 5 rows.
        rows_label: which rows these are, for example `readout`; stored in column `rows`.
        measures: names in `similarity.measures.MEASURES`.
        resampling: how the intervals are drawn.

    Returns:
        Columns `columns.SIMILARITY`, one row per (measure, layer_a, layer_b); the values are symmetric in the layers.

    Raises:
        InputError: an unknown measure, states a measure refuses (not finite, constant, too few rows), alpha or n_boot
            out of range.
    """
    return square_table(pair_scores(hidden, measures), hidden, rows_label, resampling)


def pair_scores(hidden: States, measures: Sequence[str]) -> dict[str, PairScores]:
    """Returns the scores of all pairs of states a <= b by each measure: computed once, read by every table.

    Raises:
        InputError: an unknown measure, or states a measure refuses (not finite, constant, zero vectors, too few rows).
    """
    return {name: measure.pairs(hidden, None) for name, measure in measures_named(measures).items()}


def square_table(
    found: dict[str, PairScores], hidden: States, rows_label: str, resampling: Resampling = DEFAULT_RESAMPLING
) -> pd.DataFrame:
    """Returns `pair_scores` of these states as `similarity_table` does."""
    n_states = len(hidden)
    first, second = (index.numpy() for index in layer_pairs(n_states))
    pair = np.empty((n_states, n_states), dtype=np.int64)  # which score each cell of the square takes
    pair[first, second] = pair[second, first] = np.arange(len(first))
    layers = np.indices((n_states, n_states)).reshape(2, -1)
    table = _rows(found, pair.ravel(), (layers[0], layers[1]), resampling)
    return table.assign(**_facts(hidden, rows_label))


def student_table(
    teacher: States,
    student: States,
    rows_label: str,
    measures: Sequence[str] = DEFAULT_MEASURES,
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> pd.DataFrame:
    """Returns every measure between each state of a teacher and each of a student on the same users.

    Args:
        teacher: its states 0..L, [L + 1, rows, dim]; `layer_a` counts them.
        student: its states 0..l of the same users in the same order; `layer_b` counts them.
        rows_label: which rows these are.
        measures: names in `similarity.measures.MEASURES`.
        resampling: how the intervals are drawn.

    Returns:
        Columns `columns.SIMILARITY`; `dim` is the teacher's.

    Raises:
        InputError: as for `similarity_table`; a measure that compares coordinates and states of different dims.
    """
    first = torch.arange(len(teacher)).repeat_interleave(len(student))
    second = torch.arange(len(student)).repeat(len(teacher))
    # One list of states, so that a measure does the work of each state once for all of its pairs.
    states, pairs = [*teacher, *student], (first, second + len(teacher))
    scores = {name: measure.pairs(states, pairs) for name, measure in measures_named(measures).items()}
    table = _rows(scores, np.arange(len(first)), (first.numpy(), second.numpy()), resampling)
    return table.assign(**_facts(teacher, rows_label))


def null_table(
    hidden: States,
    measures: Sequence[str] = DEFAULT_MEASURES,
    n_permutations: int = 100,
    alpha: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """Returns what each measure reads between a state and the last one when the last one's rows are shuffled.

    Shuffled rows belong to other users, so what is left is chance and the measure's bias for this n and dim: about 0
    for `cka`, k / (n - 1) for `mutual-knn`, far above 0 for `cka-biased`, `procrustes`, `svcca` and `pwcca`.

    Args:
        hidden: states 0..L, [L + 1, rows, dim].
        measures: names in `similarity.measures.MEASURES`.
        n_permutations: shuffles, at least 20; all measures and states share them.
        alpha: `ci_low` and `ci_high` hold 1 - alpha of the shuffled values.
        seed: seed of the shuffles.

    Returns:
        Columns `columns.NULL`, one row per measure and state k < L, with `layer_b` = L; `value` is the mean. Empty with
        L = 0.

    Raises:
        InputError: as for `similarity_table`; fewer than 20 shuffles.
    """
    if n_permutations < LEAST_PERMUTATIONS:
        raise InputError(f"a null needs at least {LEAST_PERMUTATIONS} permutations; got {n_permutations}")
    if len(hidden) == 1:
        return pd.DataFrame(columns=list(columns.NULL))
    tables = [
        _null_rows(name, _shuffled(measure, hidden, n_permutations, seed), alpha)
        for name, measure in measures_named(measures).items()
    ]
    facts = {columns.N_ROWS: len(hidden[0]), columns.DIM: hidden[0].shape[1]}
    return pd.concat(tables, ignore_index=True).assign(**facts)


def _shuffled(measure: Measure, hidden: States, n_permutations: int, seed: int) -> np.ndarray:
    """Returns the values of all states but the last with shuffled copies of the last, [n_permutations, L]."""
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same shuffles on every device
    n_states, values = len(hidden), []
    states = [hidden[k] for k in range(n_states)]
    rows, dim = states[-1].shape
    # Copies at a time: each one more saves passes over the fixed states, and costs a state's memory.
    at_once = max(n_states, SHUFFLED_ENTRIES // (rows * max(rows, dim)))
    for start in range(0, n_permutations, at_once):
        n_copies = min(at_once, n_permutations - start)
        orders = [torch.randperm(len(states[-1]), generator=generator) for _ in range(n_copies)]
        first = torch.arange(n_states - 1).repeat(n_copies)
        second = torch.arange(n_copies).repeat_interleave(n_states - 1) + n_states - 1
        scores = measure.pairs([*states[:-1], *(states[-1][order] for order in orders)], (first, second))
        values.append(scores.estimates.reshape(n_copies, n_states - 1))
    return np.concatenate(values)


def _null_rows(name: str, values: np.ndarray, alpha: float) -> pd.DataFrame:
    n_layers = values.shape[1]
    low, high = np.quantile(values, [alpha / 2, 1 - alpha / 2], axis=0)
    return pd.DataFrame(
        {
            columns.MEASURE: name,
            columns.LAYER_A: np.arange(n_layers),
            columns.LAYER_B: n_layers,
            columns.VALUE: values.mean(axis=0),
            columns.CI_LOW: low,
            columns.CI_HIGH: high,
            columns.N_PERMUTATIONS: len(values),
        }
    )


def _rows(
    by_measure: dict[str, PairScores], pair: np.ndarray, layers: tuple[np.ndarray, np.ndarray], resampling: Resampling
) -> pd.DataFrame:
    """Returns one row per measure and entry of `pair`, which says whose score it takes."""
    tables = []
    for name, measure in measures_named(tuple(by_measure)).items():
        scores = by_measure[name]
        low, high = resampling.bounds(scores, measure.low, measure.high)
        numbers = {columns.VALUE: scores.estimates, columns.CI_LOW: low, columns.CI_HIGH: high}
        table = pd.DataFrame({columns.MEASURE: name, columns.LAYER_A: layers[0], columns.LAYER_B: layers[1]})
        table = table.assign(**{column: values[pair] for column, values in numbers.items()})
        tables.append(table.assign(**{columns.N_ROWS: len(scores.row_parts)}))
    return pd.concat(tables, ignore_index=True)


def _facts(hidden: States, rows_label: str) -> dict[str, Any]:
    return {columns.DIM: hidden[0].shape[1], columns.ROWS: rows_label}
