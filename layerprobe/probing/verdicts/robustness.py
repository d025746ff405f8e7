"""The decision under every metric and cut-off: looks, not tests.

A verdict that turns with the metric rests on the choice of the metric. Each row of the table asks the whole question
again on the same users, at the same level, so the rows are no independent tests, and the one that pleases must not be
picked: the study's own metric was fixed beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from layerprobe import columns
from layerprobe.backbone.selection import LayerSelection
from layerprobe.evaluation.metrics import metric_columns, metric_values
from layerprobe.probing.comparisons import Comparison
from layerprobe.probing.decide import Decision, weigh
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.per_user import RankTables
from layerprobe.probing.verdicts.evidence import Evidence, Kept, full_and_all

LOOK_BOOT = 500
"""Resamples of a look at another metric, at most: its bounds are for reading, not for deciding."""


def robustness(
    by_selection: Mapping[Kept, RankTables],
    baselines: Mapping[str, RankTables],
    options: DecisionOptions,
    ks: Sequence[int],
    level: float | None = None,
) -> pd.DataFrame:
    """Decides by each metric and cut-off; metrics of which the full model has 0 are left out.

    Args:
        by_selection: as for `decide`.
        baselines: as for `decide`.
        options: rule, margin and error; metric and cut-off are replaced.
        ks: cut-offs of HR and NDCG.
        level: error level of this look; None is the whole `options.alpha`.

    Returns:
        Columns `columns.ROBUSTNESS`: a row per metric, cut-off and selection. `verdict` and `kept` are the decision's.

    Raises:
        InputError: as `decide`.
    """
    full_key, tables = full_and_all(by_selection)
    level = options.alpha if level is None else level
    few = replace(options, n_boot=min(options.n_boot, LOOK_BOOT))
    rows: list[dict[str, object]] = []
    for metric, k in metric_columns(ks):
        if not _any_hit(tables[full_key], metric, k):
            continue
        is_own = (metric, k) == (options.metric, options.k)
        asked = replace(options if is_own else few, metric=metric, k=k)  # its own row is the decision's, to the digit
        decision = weigh(Evidence.read(tables, full_key, baselines, asked, level), asks_best=False)
        rows += [
            {columns.METRIC: metric, columns.K: k, columns.IS_OWN: is_own, **_row(decision, selection, comparison)}
            for selection, comparison in decision.selections.items()
        ]
    return pd.DataFrame(rows, columns=list(columns.ROBUSTNESS))


def _any_hit(tables: RankTables, metric: str, k: int) -> bool:
    """Tells whether the full model's metric is above 0 with any seed."""
    per_seed = [tables] if isinstance(tables, pd.DataFrame) else tables
    tests = (rows[(rows[columns.SPLIT] == "test") & (rows[columns.PROTOCOL] == "full")] for rows in per_seed)
    return any(metric_values(test, metric, k).any() for test in tests)


def _row(decision: Decision, selection: LayerSelection, comparison: Comparison) -> dict[str, object]:
    full = decision.selections[max(decision.selections, key=lambda one: one.depth)].value
    return {
        columns.VERDICT: decision.verdict,
        columns.KEPT: "" if decision.selection is None else decision.selection.text,
        columns.SELECTION: selection.text,
        columns.DEPTH: selection.depth,
        columns.VALUE: comparison.value,
        columns.RELATIVE: comparison.relative,
        columns.CI_LOW: comparison.ci_low / full,
        columns.CI_HIGH: comparison.ci_high / full,
        columns.OWN_VERDICT: comparison.verdict,
    }
