"""Words and number formats that tables, figures and text of a report share."""

from __future__ import annotations

import math

METRIC_NAMES = {"hr": "HR", "ndcg": "NDCG", "mrr": "MRR"}
KIND_NAMES = {
    "variant": "fine-tuned",
    "random-init": "random initialisation",
    "exit-probe": "exit, probed",
    "exit-norm": "exit, normed",
    "exit-raw": "exit, raw",
    "distilled": "distilled student",
    "sasrec": "SASRec",
    "tfidf": "TF-IDF",
    "markov-1": "Markov-1",
    "popularity": "popularity",
}
CONTROLS = ("random-init",)
EXITS = ("exit-probe", "exit-norm", "exit-raw")
FLOORS = ("sasrec", "tfidf", "markov-1", "popularity")
UNKNOWN = "-"


def metric_label(metric: str, k: int) -> str:
    """Returns the metric as people write it, for example `NDCG@10` or `MRR`."""
    name = METRIC_NAMES.get(metric, metric)
    return f"{name}@{k}" if k else name


def four_digits(value: float | None) -> str:
    """Returns a metric or a difference with four digits; `-` where there is none."""
    return UNKNOWN if _is_missing(value) else f"{value:.4f}"


def percent(share: float | None, digits: int = 1) -> str:
    """Returns a share as per cent with its sign kept; `-` where there is none."""
    return UNKNOWN if share is None or _is_missing(share) else f"{100 * share:.{digits}f} %"


def count(value: float | None) -> str:
    """Returns a whole number with thousands marked; `-` where there is none."""
    return UNKNOWN if value is None or _is_missing(value) else f"{round(value):,}"


def seconds(value: float | None) -> str:
    """Returns a time in seconds with one digit; `-` where there is none."""
    return UNKNOWN if _is_missing(value) else f"{value:,.1f}"


def interval(low: float, high: float) -> str:
    """Returns `[low, high]` with four digits."""
    return f"[{four_digits(low)}, {four_digits(high)}]"


def level(share: float) -> str:
    """Returns a round share without needless digits, for example `2 %` for a margin of 0.02."""
    return f"{100 * share:g} %"


def candidates(protocol: str) -> str:
    """Returns what a protocol ranks the target among."""
    if protocol == "full":
        return "the whole catalogue"
    return f"{protocol.removeprefix('sampled-')} uniform negatives, the same for every model"


def confidence(alpha: float | None) -> str:
    """Returns `95 % bootstrap interval over users` for alpha = 0.05; without the level where it is not known."""
    covered = "" if alpha is None else f"{level(1 - alpha)} "
    return f"{covered}bootstrap interval over users"


def _is_missing(value: float | None) -> bool:
    return value is None or math.isnan(value)
