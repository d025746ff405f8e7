"""`DistilledRecord`: the content of `distilled.json`, for those who write it and those who read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from layerprobe.store.decision import BaselineRow, DecisionRecord
from layerprobe.store.layout import StudyLayout
from layerprobe.store.records import read_record, write_record

AGAIN = "run the distill stage again"


@dataclass(frozen=True, kw_only=True)
class DistilledRecord:
    """A student against plain fine-tuning of its layers; the numbers are explained in `probing.distilled.Gain`.

    Attributes:
        student: folder name of the student.
        plain: selection of the plain models; it keeps the same layers and may be written in another way.
        against_baselines: the student against every baseline; empty in studies of older versions.
    """

    student: str
    plain: str
    metric: str
    k: int
    alpha: float
    selection: str
    depth: int
    layers: tuple[int, ...]
    value: float
    plain_value: float
    difference: float
    relative: float | None
    ci_low: float
    ci_high: float
    verdict: str
    seeds: int
    n_users: int
    sentence: str
    notes: tuple[str, ...]
    against_baselines: tuple[BaselineRow, ...] = ()

    def agrees(self, decision: DecisionRecord) -> bool:
        """Tells whether the student is compared by the metric and error level of the decision."""
        return (self.metric, self.k, self.alpha) == (decision.metric, decision.k, decision.alpha)


def read_distilled(study: Path) -> DistilledRecord:
    """Reads the comparison of a study's folder.

    Raises:
        InputError: there is none, or it is damaged.
    """
    return read_record(StudyLayout(study).distilled, DistilledRecord, AGAIN)


def write_distilled(study: Path, comparison: DistilledRecord) -> None:
    """Writes the comparison of a study's folder."""
    write_record(StudyLayout(study).distilled, comparison)
