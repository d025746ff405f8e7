"""`lr`: the learning-rate test of one model of a study."""

from __future__ import annotations

import argparse

from layerprobe import processes
from layerprobe.arguments import as_path, hints_of, require_key
from layerprobe.cli.study_commands import asked_spec
from layerprobe.training.log import quiet_libraries


def rate_command(known: argparse.Namespace, rest: list[str]) -> int:
    """Tests learning rates and prints the result and its files."""
    quiet_libraries()
    from layerprobe.pipeline.learning_rate_test import rate_test
    from layerprobe.store.atomic import read_json
    from layerprobe.study.parser import study_folder
    from layerprobe.study.study import Study
    from layerprobe.training.range_test import RateRange

    for name, hint in hints_of(RateRange).items():
        require_key(f"--{name}", getattr(known, name), hint)
    rates = RateRange(known.low, known.high, known.steps)
    spec = asked_spec(known, rest)
    if spec is None:
        return 0
    processes.join()
    place = None if known.out is None else as_path("--out", known.out)
    folder = rate_test(Study(spec, study_folder(place, spec.name)), known.model, rates)
    if processes.is_main():
        print("\n".join(read_json(folder / "range.json")["sentences"]))
        print(f"table: {folder / 'range.csv'}\nfigure: {folder / 'range.png'}")
    return 0
