"""Looks at other metrics: the rows of `robustness.csv` that a report shows, and what they have in common."""

from __future__ import annotations

import pandas as pd

from layerprobe import columns
from layerprobe.store.decision import DecisionRecord
from layerprobe.wording import keeps_first, metric_label

LABEL = "label"


def with_labels(looks: pd.DataFrame) -> pd.DataFrame:
    """Adds the column `label`: the metric as people write it."""
    names = [metric_label(metric, int(k)) for metric, k in zip(looks[columns.METRIC], looks[columns.K], strict=True)]
    return looks.assign(**{LABEL: names})


def verdicts(looks: pd.DataFrame) -> pd.DataFrame:
    """Returns one row per metric, in the order of the table: label, is_own, verdict, kept."""
    return looks.drop_duplicates(LABEL)[[LABEL, columns.IS_OWN, columns.VERDICT, columns.KEPT]]


def representing(decision: DecisionRecord) -> list[str]:
    """Returns the selections that represent their depths, shallowest first, without the full model.

    By the rule `sequence` those that were tested; else the one written `first:k`, or the first that was named.
    """
    if decision.sequence:
        return list(reversed(decision.sequence))
    by_depth: dict[int, str] = {}
    for row in sorted(decision.depths, key=lambda row: not keeps_first(row.text)):
        by_depth.setdefault(row.depth, row.text)
    return [text for depth, text in sorted(by_depth.items()) if depth != decision.full_depth]
