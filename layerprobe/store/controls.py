"""`ControlsRecord`: the content of `controls.json`, for those who write it and those who read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from layerprobe.store.layout import StudyLayout
from layerprobe.store.records import read_record, write_record

AGAIN = "run the decide stage again"


@dataclass(frozen=True, kw_only=True)
class TwinRow:
    """One variant against its twin; the numbers are explained in `probing.controls.TwinDifference`."""

    selection: str
    depth: int
    layers: tuple[int, ...]
    value: float
    control_value: float
    difference: float
    ci_low: float
    ci_high: float
    verdict: str
    seeds: int


@dataclass(frozen=True, kw_only=True)
class ControlArmRow:
    """One control arm; explained in `probing.controls.ControlArm`."""

    control: str
    metric: str
    k: int
    alpha: float
    n_boot: int
    seed: int
    n_users: int
    sentence: str
    selections: tuple[TwinRow, ...]


@dataclass(frozen=True, kw_only=True)
class ControlsRecord:
    """Variants against their twins, one entry per control arm."""

    controls: tuple[ControlArmRow, ...]


def read_controls(study: Path) -> ControlsRecord:
    """Reads the control arms of a study's folder.

    Raises:
        InputError: there are none, or they are damaged.
    """
    return read_record(StudyLayout(study).control_comparison, ControlsRecord, AGAIN)


def write_controls(study: Path, controls: ControlsRecord) -> None:
    """Writes the control arms of a study's folder."""
    write_record(StudyLayout(study).control_comparison, controls)
