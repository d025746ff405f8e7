"""`lr`: which learning rate one model of a study bears."""

from __future__ import annotations

import argparse
from pathlib import Path

from layerprobe import processes
from layerprobe.cli.study_commands import asked_spec
from layerprobe.training.log import quiet_libraries


def rate_command(known: argparse.Namespace, rest: list[str]) -> int:
    """Tests learning rates and prints what was found and where it is."""
    quiet_libraries()
    from layerprobe.pipeline.learning_rate_test import rate_test
    from layerprobe.store.atomic import read_json
    from layerprobe.study.study import Study
    from layerprobe.training.range_test import RateRange

    tried = RateRange(known.low, known.high, known.steps)
    spec = asked_spec(known, rest)
    if spec is None:
        return 0
    processes.join()
    folder = rate_test(Study(spec, Path(known.out or f"runs/{spec.name}")), known.model, tried)
    if processes.is_main():
        print("\n".join(read_json(folder / "range.json")["sentences"]))
        print(
            "\n".join(f"{name}: {folder / place}" for name, place in (("table", "range.csv"), ("figure", "range.png")))
        )
    return 0
