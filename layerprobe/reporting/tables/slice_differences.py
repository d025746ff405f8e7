"""Who loses: which rows of `slice_differences.csv` the figure and the table show, and the sentence about them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.kinds import STUDENT, VARIANT, label_of
from layerprobe.reporting.tables.curve import NAME, RELATIVE_HIGH, RELATIVE_LOW
from layerprobe.reporting.tables.slices import METRIC, REFERENCE, SLICE_NAMES, group_name
from layerprobe.store.decision import DecisionRecord
from layerprobe.wording import keeps_first, level, metric_label, percent

RELATIVE_LOW_ALL, RELATIVE_HIGH_ALL = "relative_ci_low_all", "relative_ci_high_all"
WHAT = {**SLICE_NAMES, columns.RECENCY: "since the last item"}
"""What stands behind a group in a sentence: users with 5-6 items in the history."""
_BOUNDS = {
    RELATIVE_LOW: columns.CI_LOW,
    RELATIVE_HIGH: columns.CI_HIGH,
    RELATIVE_LOW_ALL: columns.CI_LOW_ALL,
    RELATIVE_HIGH_ALL: columns.CI_HIGH_ALL,
}


def shown_differences(differences: pd.DataFrame, decision: DecisionRecord | None) -> pd.DataFrame:
    """Picks NDCG@10 of the decided selection, of the distilled students and of SASRec, as shares of the full model.

    Where no smaller selection was decided, the deepest one that was studied stands in its place.

    Args:
        differences: `StudyFiles.slice_differences`.
        decision: `StudyFiles.decision`.

    Returns:
        The rows, model by model, with the further columns name, relative_ci_low, relative_ci_high,
        relative_ci_low_all and relative_ci_high_all; NaN where there is no bound or the full model's value is 0.
    """
    is_metric = (differences[columns.METRIC] == METRIC[0]) & (differences[columns.K] == METRIC[1])
    rows = differences.loc[is_metric]
    names = _names(rows, decision)
    keys = list(zip(rows[columns.KIND], rows[columns.SELECTION], strict=True))
    named = rows.assign(**{NAME: [names.get(key, "") for key in keys]})
    full = rows[columns.FULL_VALUE].where(rows[columns.FULL_VALUE] > 0)
    shares = {share: rows[bound] / full for share, bound in _BOUNDS.items()}
    place = pd.Series([list(names).index(key) if key in names else -1 for key in keys], index=rows.index)
    shown = named.assign(**shares).loc[place >= 0]
    return shown.iloc[np.argsort(place[place >= 0].to_numpy(), kind="stable")].reset_index(drop=True)


def _names(rows: pd.DataFrame, decision: DecisionRecord | None) -> dict[tuple[str, str], str]:
    """Returns what each shown model is called, by kind and selection."""
    variants = rows.loc[rows[columns.KIND] == VARIANT, [columns.SELECTION, columns.DEPTH]].drop_duplicates()
    depths = dict(variants.itertuples(index=False, name=None))
    names: dict[tuple[str, str], str] = {}
    chosen = None if decision is None or decision.chosen is None else decision.chosen.text
    if chosen in depths:
        names[VARIANT, str(chosen)] = f"{_called(str(chosen), depths[chosen])}, decided"
    elif depths:
        deepest = max(depths, key=lambda text: (depths[text], keeps_first(text)))
        names[VARIANT, deepest] = _called(deepest, depths[deepest])
    students = rows.loc[rows[columns.KIND] == STUDENT, columns.SELECTION].unique()
    for text in students:
        beside = "" if len(students) == 1 else f" {text}"
        names[STUDENT, text] = f"{label_of(STUDENT)}{beside}"
    if (rows[columns.KIND] == REFERENCE).any():
        names[REFERENCE, ""] = label_of(REFERENCE)
    return names


def _called(text: str, depth: int) -> str:
    return f"depth {depth}" if keeps_first(text) else text


def loses(table: pd.DataFrame) -> pd.Series:
    """Tells which rows lose: their interval for all groups together lies below 0."""
    return table[columns.CI_HIGH_ALL] < 0


def gains(table: pd.DataFrame) -> pd.Series:
    """Tells which rows gain: their interval for all groups together lies above 0."""
    return table[columns.CI_LOW_ALL] > 0


def who_loses(table: pd.DataFrame, alpha: float | None) -> str:
    """Says which groups of which model lose or gain: significantly, where several seeds show it.

    Of models that were trained once it is said for these trained models, without a word of significance.

    Args:
        table: `shown_differences`; at least one row.
        alpha: what the intervals leave outside; None where it is not known.
    """
    known = table.loc[table[columns.CI_LOW_ALL].notna()]
    if known.empty:
        return "No group has enough users for an interval, so it is not known who loses."
    metric, sure = metric_label(*METRIC), "" if alpha is None else level(1 - alpha)
    once = (known[columns.SEEDS] == 1).to_numpy(bool)
    starts = (
        (
            ~once,
            f"Significant differences in {metric} from the full model ({f'{sure} confidence, ' if sure else ''}for "
            "all groups of a model together):",
        ),
        (
            once,
            f"Differences in {metric} from the full model whose {f'{sure} ' if sure else ''}interval, for all groups "
            "of a model together, does not contain 0; each model was trained once, so this holds for these trained "
            "models:",
        ),
    )
    return " ".join(_said(start, known.loc[rows]) for rows, start in starts if rows.any())


def _said(start: str, known: pd.DataFrame) -> str:
    if not (loses(known) | gains(known)).any():
        return (
            f"{start} none. This does not prove that all groups are served equally well: the intervals show how large "
            "a difference may still be."
        )
    return f"{start} {'; '.join(_of_model(str(name), rows) for name, rows in known.groupby(NAME, sort=False))}."


def _of_model(name: str, rows: pd.DataFrame) -> str:
    parts = [
        f"{verb} for {_listed(rows.loc[which])}"
        for verb, which in (("loses", loses(rows)), ("gains", gains(rows)))
        if which.any()
    ]
    return f"{name}: {' and '.join(parts) or 'none'}"


def _listed(rows: pd.DataFrame) -> str:
    """Returns groups, slice by slice, each with its relative difference."""
    slices = []
    for name, of_slice in rows.groupby(columns.SLICE, sort=False):
        groups = [
            f"{group_name(group, str(name))} ({percent(share)})"
            for group, share in zip(of_slice[columns.GROUP], of_slice[columns.RELATIVE], strict=True)
        ]
        slices.append(f"{', '.join(groups)} {WHAT[str(name)]}")
    return f"users with {' and with '.join(slices)}"
