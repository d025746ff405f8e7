"""Trackers: TensorBoard, Weights and Biases or MLflow, through Accelerate. None is needed; `log.jsonl` is always there.

A tracker gets the same rows as `log.jsonl`, one run per training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from accelerate.tracking import GeneralTracker, MLflowTracker, TensorBoardTracker, WandBTracker

from layerprobe import processes
from layerprobe.errors import InputError

TrackerName = Literal["tensorboard", "wandb", "mlflow"]


@dataclass(frozen=True)
class Tracking:
    """Where the rows of a study's logs go beside `log.jsonl`.

    Attributes:
        names: the trackers; none is usual.
        project: what the study is called there.
        folder: where TensorBoard's files lie.
    """

    names: tuple[TrackerName, ...] = ()
    project: str = "layerprobe"
    folder: Path = Path("tracking")

    def check(self) -> None:
        """Checks that the trackers' packages are installed.

        Raises:
            InputError: one is not; Accelerate itself would leave it out without a word.
        """
        missing = [name for name in self.names if not _is_package(name)]
        if missing:
            raise InputError(
                f"trackers: the package {missing[0]} is not installed; run `pip install {missing[0]}` or leave it out"
            )

    def start(self, label: str, spec: Mapping[str, Any]) -> Run:
        """Starts the run of one training.

        Args:
            label: what the training is called.
            spec: everything its result depends on, as plain values.
        """
        return Run(self, label, spec)


UNTRACKED = Tracking()


class Run:
    """One training's run in every tracker; a training that goes on after a stop goes on in the same W&B run."""

    def __init__(self, tracking: Tracking, label: str, spec: Mapping[str, Any]) -> None:
        tracking.check()
        self.trackers = [_tracker(name, tracking, label) for name in tracking.names if processes.is_main()]
        for tracker in self.trackers:
            tracker.start()
            tracker.store_init_configuration(dict(_flat(spec)))

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Hands one row of the log to the trackers."""
        values = {name: value for name, value in row.items() if name != "step"}
        for tracker in self.trackers:
            tracker.log(values, step=step)

    def close(self) -> None:
        """Ends the run."""
        for tracker in self.trackers:
            tracker.finish()


def _is_package(name: str) -> bool:
    """Tells whether it can be imported; a mere folder of that name, such as W&B's own `wandb/`, cannot."""
    found = find_spec(name)
    return found is not None and found.origin is not None


def _tracker(name: TrackerName, tracking: Tracking, label: str) -> GeneralTracker:
    run = label.replace(" ", "_").replace(":", "-")
    if name == "tensorboard":
        tracking.folder.mkdir(parents=True, exist_ok=True)
        return TensorBoardTracker(run, str(tracking.folder))
    if name == "mlflow":
        return MLflowTracker(tracking.project, run_name=run)
    known = hashlib.sha256(f"{tracking.folder.resolve()}:{label}".encode()).hexdigest()[:16]
    tracking.folder.mkdir(parents=True, exist_ok=True)
    return WandBTracker(tracking.project, name=run, id=known, resume="allow", dir=str(tracking.folder))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str | int | float | bool]]:
    """Yields dotted names and plain values; trackers know no lists and no null."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, (str, int, float, bool)) else str(value)
