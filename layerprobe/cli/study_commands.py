"""`demo`, `run` and the single stages."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from layerprobe import processes
from layerprobe.arguments import as_path, require_kind, writable_folder
from layerprobe.cli.budget_flag import budget_flags
from layerprobe.cli.closing import stage_lines, study_lines
from layerprobe.errors import BudgetNotMet, InputError, LayerprobeError, StudyError

if TYPE_CHECKING:
    from layerprobe.study.study import Study

WHOLE = ("demo", "run")
"""Commands that run all stages."""
BEFORE_SWEEP = ("data", "items", "teach", "similarity")
"""Stages that train no variants; they do not report variants that failed in an earlier run."""


def run_command(known: argparse.Namespace, rest: list[str]) -> int:
    """Runs a study, or one stage of it, and prints where its results are."""
    if known.command == "report":
        return _report(known, rest)
    from layerprobe.training.log import quiet_libraries

    quiet_libraries()
    from layerprobe.pipeline.run import run_stages
    from layerprobe.study.parser import study_folder
    from layerprobe.study.study import Study
    from layerprobe.sweep.executors import executor_named
    from layerprobe.sweep.tasks import failed_line

    spec = asked_spec(known, rest)
    if spec is None:
        return 0
    processes.join()
    study = Study(spec, study_folder(_place(known), spec.name))
    if getattr(known, "dry_run", False):
        return _dry_run(study, known.executor)
    with executor_named(getattr(known, "executor", "local")) as executor:
        try:
            run_stages(study, None if known.command in WHOLE else known.command, executor)
        except (StudyError, BudgetNotMet) as error:
            raise _with_failed(study, known.command, error) from error
    if processes.is_main():
        is_whole = known.command in WHOLE
        print("\n".join(study_lines(study.folder) if is_whole else stage_lines(study, known.command)))
    failed = processes.agreed(lambda: failed_line(study)) if known.command not in BEFORE_SWEEP else None
    if failed is not None:
        raise StudyError(failed)
    processes.leave()
    return 0


def _with_failed(study: Study, command: str, error: LayerprobeError) -> LayerprobeError:
    """Returns the error that ended a run, on the main process with the models that failed before it."""
    from layerprobe.sweep.tasks import failed_line

    failed = failed_line(study) if command not in BEFORE_SWEEP and processes.is_main() else None
    return error if failed is None or failed in str(error) else type(error)(f"{error}; and {failed}")


def _dry_run(study: Study, executor: str) -> int:
    """Prints the time and memory a run needs, then refuses it where they do not fit."""
    from layerprobe.pipeline.dry_run.plan import plan

    if executor != "local":
        raise InputError(f"--dry-run measures only this machine: leave --executor {executor} out")
    estimate = plan(study)
    if processes.is_main():
        print("\n".join(estimate.lines), flush=True)
    estimate.require_fit()
    return 0


def asked_spec(known: argparse.Namespace, rest: list[str]):  # noqa: ANN201 - the type would import torch for `--help`
    """Returns the study of the command, or None where `--print_config` only prints its keys."""
    from layerprobe.study.demo import demo_spec
    from layerprobe.study.parser import load_spec, study_folder
    from layerprobe.study.spec import to_plain

    if known.command == "demo":
        return demo_spec(_place(known))
    printing = "--print_config" in rest
    given = [argument for argument in rest if argument != "--print_config"]
    flags = [*budget_flags(getattr(known, "budget", [])), *given]
    spec = load_spec(known.study, flags, partial(study_folder, _place(known)))
    if known.path is not None:
        as_path("--path", known.path)
        spec = dataclasses.replace(spec, data=dataclasses.replace(spec.data, path=known.path))
    if printing:
        import yaml

        yaml.safe_dump(to_plain(spec), sys.stdout, sort_keys=False, allow_unicode=True)
        return None
    if spec.data.source != "synthetic" and spec.data.path is None:
        raise InputError(f"source {spec.data.source} needs the log's place: give --path FILE_OR_FOLDER")
    return spec


def _report(known: argparse.Namespace, rest: list[str]) -> int:
    """Draws the report from files, without loading torch: of a folder, or of the study that a YAML names."""
    from layerprobe.reporting.report import write_report

    if rest or known.path or known.budget:
        raise InputError("report reads the study's folder and takes no option but --out")
    path, place = as_path("the study", known.study), _place(known)
    if place is not None and path.is_dir():
        writable_folder("--out", place)  # drawing takes a while
    if path.is_dir():
        print(f"report: {write_report(path, place)}")
        return 0
    if place is None and not path.is_file():
        raise InputError(f"a study is a YAML file or a folder; there is none at {path}")
    print(f"report: {write_report(place or _named_folder(path))}")
    return 0


def _place(known: argparse.Namespace) -> Path | None:
    """Returns the folder that `--out` names; None where it is not given."""
    return None if known.out is None else as_path("--out", known.out)


def _named_folder(path: Path) -> Path:
    """Returns the folder of the study that a YAML names, without torch."""
    from layerprobe.store.atomic import read_yaml
    from layerprobe.study.spec_rules import require_name

    spec = read_yaml(path)
    if not isinstance(spec, dict):
        raise InputError(f"{path} must hold keys and values of a study")
    name = spec.get("name", "study")
    require_kind("name", name, str)
    require_name("name", name)
    return Path("runs") / name
