"""Student against teacher, user by user, from the stored ranks of both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.errors import StudyError
from layerprobe.evaluation.metrics import metric_values, target_key, user_means
from layerprobe.evaluation.uncertainty import mean_intervals
from layerprobe.reporting.files.study_files import ModelFiles
from layerprobe.wording import metric_label

N_BOOT = 1000
COMPARED = (("hr", 10), ("ndcg", 10), ("mrr", 0))
SIDES = ("teacher", "student", "difference")


def compare(teacher: ModelFiles, student: ModelFiles, alpha: float, protocol: str = "full") -> pd.DataFrame:
    """Compares test metrics of two models on the same users.

    The difference is student minus teacher of the same user. So its interval is that of a paired comparison, which is
    narrower than the intervals of the two models suggest. All intervals share one set of resamples of the users.

    Args:
        teacher: the larger model.
        student: the smaller model.
        alpha: intervals cover 1 - alpha, pointwise.
        protocol: which ranking.

    Returns:
        One row per metric: metric, then value, low and high of teacher, student and difference, and n_users.

    Raises:
        StudyError: the two models were not ranked on the same users and targets.
    """
    first, second = _test_ranks(teacher, protocol), _test_ranks(student, protocol)
    if not first.index.equals(second.index):
        raise StudyError(
            f"teacher and {student.name} must be ranked on the same users and targets (protocol {protocol}, test); "
            "they are not: train the student again in this study"
        )
    values = np.stack([_per_user(first, second, metric, k) for metric, k in COMPARED])  # [metric, side, user]
    flat = values.reshape(-1, values.shape[2]).T  # [user, metric and side]: one set of resamples for all
    low, high = (np.asarray(bound).reshape(values.shape[:2]) for bound in mean_intervals(flat, alpha, N_BOOT, 0))
    table: dict[str, Sequence[object] | np.ndarray] = {columns.METRIC: [metric_label(*pair) for pair in COMPARED]}
    for position, side in enumerate(SIDES):
        table[side] = values.mean(axis=2)[:, position]
        table[f"{side}_low"] = low[:, position]
        table[f"{side}_high"] = high[:, position]
    return pd.DataFrame(table).assign(**{columns.N_USERS: len(flat)})


def _test_ranks(model: ModelFiles, protocol: str) -> pd.DataFrame:
    ranks = model.ranks
    part = ranks[(ranks[columns.PROTOCOL] == protocol) & (ranks[columns.SPLIT] == "test")]
    return part.sort_values(target_key(part), kind="stable").set_index([columns.USER, columns.TARGET])


def _per_user(teacher: pd.DataFrame, student: pd.DataFrame, metric: str, k: int) -> np.ndarray:
    """Returns the metric of both models and their difference, shape (3, users)."""
    users = teacher.index.get_level_values(columns.USER).to_numpy()
    large, small = (user_means(users, metric_values(side, metric, k)) for side in (teacher, student))
    return np.stack([large, small, small - large])
