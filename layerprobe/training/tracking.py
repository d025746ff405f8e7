"""Trackers: TensorBoard, Weights and Biases or MLflow, through Accelerate. All are optional; `log.jsonl` always exists.

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
    """Where the rows of a study's logs go besides `log.jsonl`.

    Attributes:
        names: the trackers; usually none.
        project: the study's name there.
        folder: where TensorBoard's files are.
    """

    names: tuple[TrackerName, ...] = ()
    project: str = "layerprobe"
    folder: Path = Path("tracking")

    def check(self) -> None:
        """Checks that the trackers' packages are installed.

        Raises:
            InputError: one is not; Accelerate itself would leave it out silently.
        """
        missing = [name for name in self.names if not _is_package(name)]
        if missing:
            raise InputError(
                f"trackers: the package {missing[0]} is not installed; run `pip install {missing[0]}` or leave it out"
            )

    def start(self, label: str, spec: Mapping[str, Any]) -> Run:
        """Starts the run of one training.

        Args:
            label: the training's name.
            spec: everything its result depends on, as plain values.
        """
        return Run(self, label, spec)


UNTRACKED = Tracking()


class Run:
    """One training's run in every tracker; a resumed training continues the same W&B run."""

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
    spec = find_spec(name)
    return spec is not None and spec.origin is not None


def _tracker(name: TrackerName, tracking: Tracking, label: str) -> GeneralTracker:
    run = label.replace(" ", "_").replace(":", "-")
    if name == "tensorboard":
        tracking.folder.mkdir(parents=True, exist_ok=True)
        return TensorBoardTracker(run, str(tracking.folder))
    if name == "mlflow":
        return MLflowTracker(tracking.project, run_name=run)
    # The same id for the same training in the same folder: W&B then resumes the run.
    run_id = hashlib.sha256(f"{tracking.folder.resolve()}:{label}".encode()).hexdigest()[:16]
    tracking.folder.mkdir(parents=True, exist_ok=True)
    return WandBTracker(tracking.project, name=run, id=run_id, resume="allow", dir=str(tracking.folder))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str | int | float | bool]]:
    """Yields dotted names and plain values; trackers take neither lists nor null."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, (str, int, float, bool)) else str(value)
