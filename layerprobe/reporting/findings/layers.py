"""Sentences on what may mislead in a similarity map: outlier rows, rogue dimensions, chance, other measures."""

from __future__ import annotations

import numpy as np
import pandas as pd

from layerprobe import columns, wording
from layerprobe.reporting.tables.layers import FEWEST_STATES, NULL_HIGH, NULL_VALUE, agreement
from layerprobe.reporting.words.score_names import DISTANCES, measure_of
from layerprobe.wording import count, layer_count, percent

LARGE_SPREAD, LARGE_SHARE, LARGE_COSINE = 0.1, 0.5, 0.5
SMALL_COSINE = 0.1
"""Where random pairs are this near to orthogonal, it does not matter which dimension makes up the rest."""
LARGE_NULL = 0.1
DISAGREE = 0.7
MOST_NAMED = 3


def state_warnings(states: pd.DataFrame) -> list[str]:
    """Returns one sentence per kind of warning, about the worst state.

    Args:
        states: rows of `states.csv`.
    """
    return [text for text in (_outliers(states), _rogues(states), _common_direction(states)) if text]


def _outliers(states: pd.DataFrame) -> str:
    worst = _worst(states, columns.OUTLIER_SPREAD, LARGE_SPREAD)
    if worst is None:
        return ""
    return (
        f"A few users dominate the map: in {_how_many(states, columns.OUTLIER_SPREAD, LARGE_SPREAD)} outlier rows hold "
        f"more than {percent(LARGE_SPREAD, 0)} of the spread; after {_layers(worst)} "
        f"{percent(worst[columns.OUTLIER_ROWS])} of the rows hold {percent(worst[columns.OUTLIER_SPREAD])}. There CKA "
        "and Procrustes mostly describe these rows; mutual kNN weights all rows equally."
    )


def _rogues(states: pd.DataFrame) -> str:
    matters = states[columns.MEAN_COSINE].abs() > SMALL_COSINE
    states = states.assign(**{columns.ROGUE_SHARE: states[columns.ROGUE_SHARE].where(matters)})
    worst = _worst(states, columns.ROGUE_SHARE, LARGE_SHARE)
    if worst is None:
        return ""
    return (
        f"A few dimensions dominate the cosine: in {_how_many(states, columns.ROGUE_SHARE, LARGE_SHARE)} the largest "
        f"dimension holds more than {percent(LARGE_SHARE, 0)} of the mean cosine; after {_layers(worst)} it holds "
        f"{percent(worst[columns.ROGUE_SHARE])}, and {count(worst[columns.ROGUE_DIMS])} of "
        f"{count(worst[columns.DIM])} dimensions are rogue. There cosine, angular distance and block influence show "
        "little else; the centred forms and CKA are hardly affected."
    )


def _common_direction(states: pd.DataFrame) -> str:
    worst = _worst(states, columns.MEAN_COSINE, LARGE_COSINE)
    if worst is None:
        return ""
    return (
        f"All users have a common direction: after {_layers(worst)} the states of two random users have a mean cosine "
        f"of {worst[columns.MEAN_COSINE]:.2f}. So a cosine near 1 between two states says little."
    )


def null_sentences(curves: pd.DataFrame) -> list[str]:
    """Returns what shuffled rows show: measures that are far from 0 by chance, and states no more similar than chance.

    Args:
        curves: `layer_tables.to_final`.
    """
    rows = curves.loc[curves[NULL_VALUE].notna() & (curves[columns.LAYER] < curves[columns.LAYER].max())]
    if rows.empty:
        return []
    highest = rows.groupby(columns.MEASURE, sort=False)[NULL_VALUE].max()
    # The angle of unrelated, centred rows is half of pi, so a null of 0.5 is not suspicious.
    natural = np.where(highest.index.isin(DISTANCES), 0.5, 0.0)
    highest = highest[highest > natural + LARGE_NULL]
    lost = rows.loc[rows[columns.VALUE] <= rows[NULL_HIGH]]
    sentences = []
    if len(highest):
        named = ", ".join(f"{_shown(str(name))} {value:.2f}" for name, value in highest.items())
        sentences.append(f"Shuffled rows alone reach up to: {named}. Compare these with the grey band, not with 0.")
    for measure, part in lost.groupby(columns.MEASURE, sort=False):
        states = wording.layers(part[columns.LAYER].astype(int).to_list())
        sentences.append(
            f"{_named(str(measure))} to the final state is no higher than chance after k = {states} layers."
        )
    return sentences or ["By every measure, every state is more similar to the final one than shuffled rows are."]


def agreement_sentence(curves: pd.DataFrame) -> str:
    """Says whether the measures order the states in the same way, by the rank correlation of their curves.

    Args:
        curves: `layer_tables.to_final`.
    """
    n_measures, n_layers = curves[columns.MEASURE].nunique(), int(curves[columns.LAYER].max())
    if n_measures < 2:
        return ""
    pairs = agreement(curves)
    if pairs.empty:
        return (
            f"It is not known whether the measures agree: this needs {FEWEST_STATES} states before the final one and "
            f"two measures that vary over them; there are {n_layers} such states."
        )
    apart = pairs.loc[pairs[columns.CORRELATION] < DISAGREE]
    if apart.empty:
        return (
            f"The {n_measures} measures order the states similarly: the lowest rank correlation of two is "
            f"{_pair(*pairs.iloc[0])}."
        )
    named = "; ".join(_pair(*row) for row in apart.head(MOST_NAMED).itertuples(index=False))
    return (
        f"**The measures do not agree** on which states are similar to the final one: {len(apart)} of {len(pairs)} "
        f"pairs of measures have a rank correlation below {DISAGREE} over the states 0 to {n_layers - 1}. The lowest: "
        f"{named}. What only one measure shows is a property of that measure."
    )


def _pair(first: str, second: str, correlation: float) -> str:
    return f"{correlation:.2f} ({measure_of(first).name} and {measure_of(second).name})"


def _shown(measure: str) -> str:
    """Returns what the curve to the final state shows of a measure: of a distance, 1 minus it."""
    name = measure_of(measure).name
    return f"1 - {name}" if measure in DISTANCES else name


def _named(measure: str) -> str:
    name = _shown(measure)
    return f"{name[0].upper()}{name[1:]}"


def _worst(states: pd.DataFrame, name: str, limit: float) -> pd.Series | None:
    above = states.loc[states[name] > limit]
    return None if above.empty else above.loc[above[name].idxmax()]


def _how_many(states: pd.DataFrame, name: str, limit: float) -> str:
    return f"{(states[name] > limit).sum()} of {len(states)} states"


def _layers(row: pd.Series) -> str:
    return layer_count(int(row[columns.LAYER]))
