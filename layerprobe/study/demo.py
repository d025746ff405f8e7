"""The demo: a small study on built-in data, the whole path in a few minutes on two cores."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from layerprobe.study.parser import load_spec, study_folder
from layerprobe.study.spec import StudySpec

DEMO = Path(__file__).with_name("demo.yaml")


def demo_spec(out: Path | None = None) -> StudySpec:
    """Returns the demo's spec; `configs/demo.yaml` is the same file for people to copy and change.

    Args:
        out: folder of the demo; None is `runs/demo`.
    """
    return load_spec(DEMO, [], partial(study_folder, out))
