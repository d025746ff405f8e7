"""The command line. Heavy imports happen inside the command that needs them, so `--help` is instant.

Exit codes: 0 done; 1 a training or check failed; 2 the user's input is wrong; 130 interrupted; 143 terminated. An error
is one line on standard error.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from layerprobe import processes
from layerprobe.cli.stopping import INTERRUPTED, TERMINATED, Terminated, terminating
from layerprobe.errors import InputError, LayerprobeError, one_line
from layerprobe.stages.registry import STAGES

STAGE_NAMES = frozenset(stage.name for stage in STAGES)
REPORT = "report"
USERS_FILES = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
"""Errors of the system that come of a file or folder that the user named, not of a mistake in here."""
SHARED = {"demo", "run", "lr", *STAGE_NAMES} - {REPORT}
"""Commands that all processes of a launch run together; the others run in the main process only."""


class OneLineParser(argparse.ArgumentParser):
    """Prints a user's mistake as one line, like every other error here.

    Attributes:
        more_help: returns what the help ends with; called only when the help is printed, since it may load libraries.
    """

    more_help: Callable[[], str] | None = None

    def format_help(self) -> str:
        """Returns the help, with what `more_help` adds."""
        return super().format_help() + ("" if self.more_help is None else f"\n{self.more_help()}")

    def error(self, message: str) -> NoReturn:
        """Prints one line and exits with 2."""
        print(f"layerprobe: error: {one_line(message)}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    parser = OneLineParser(
        prog="layerprobe",
        description="How many layers does your LLM recommender need, and is the small model good enough?",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=OneLineParser)
    demo = commands.add_parser("demo", help="run the whole pipeline on built-in data, in a few minutes")
    demo.add_argument("--out", default="runs/demo", help="folder of the study (default: runs/demo)")
    run = commands.add_parser("run", help="run a whole study; finished stages are skipped, interrupted ones resumed")
    _study_arguments(run)
    _budget_argument(run)
    run.add_argument(
        "--dry-run", action="store_true", help="print time and memory of each model; train and write nothing"
    )
    _executor_argument(run)
    _travel_commands(commands)
    for stage in STAGES:
        needs = " It first runs the stages it needs, unless they are done." if stage.reads else ""
        description = f"{stage.help[:1].upper()}{stage.help[1:]}.{needs}"
        command = commands.add_parser(stage.name, help=f"run one stage: {stage.help}", description=description)
        _study_arguments(command)
        _budget_argument(command)
        if stage.in_sweep:
            _executor_argument(command)
    _rate_command(commands)
    _plan_command(commands)
    _data_commands(commands)
    inspect = commands.add_parser("inspect", help="show family, layers, parameters and memory of a checkpoint")
    inspect.add_argument("checkpoint", help="local folder or hub id; weights are not read")
    inspect.add_argument("--revision", help="branch, tag or commit of a hub checkpoint")
    inspect.add_argument(
        "--selection", action="append", default=[], help="selection of layers to measure, such as first:4 (repeatable)"
    )
    recommend = commands.add_parser("recommend", help="recommend items with an exported student")
    recommend.add_argument("student", help="folder written by export")
    recommend.add_argument("--history", required=True, help="item ids, newest last, separated by commas")
    recommend.add_argument("--k", type=int, default=10, help="number of items (default: 10)")
    commands.add_parser("doctor", help="show versions and devices, and what is missing")
    return parser


def _study_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "study", help="YAML file of the study; every key can also be set by a flag, such as --training.epochs 3"
    )
    parser.epilog = "`layerprobe run STUDY.yaml --print_config` prints every key of the study with its value."
    parser.add_argument("--out", help="folder of the study (default: runs/<name>)")
    parser.add_argument("--path", help="file or folder of the log; sets the key data.path")


def _budget_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--budget",
        action="append",
        default=[],
        metavar="LIMITS",
        help="limits on the cost of a model, one or both: latency_ms=5,parameters=200000 (p95 latency of one user)",
    )


def _executor_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--executor",
        choices=("local", "ray"),
        default="local",
        help="where variants are trained: on this machine one by one, or on a running Ray cluster (default: local)",
    )


def _rate_command(commands: argparse._SubParsersAction[OneLineParser]) -> None:
    rates = commands.add_parser("lr", help="learning-rate test: record the loss while the rate rises")
    _study_arguments(rates)
    rates.add_argument(
        "--model",
        default="teacher",
        help="model to test: teacher, sasrec, or a selection such as first:2 (default: teacher)",
    )
    rates.add_argument("--low", type=float, default=1e-6, help="smallest learning rate (default: 1e-6)")
    rates.add_argument("--high", type=float, default=1.0, help="largest learning rate (default: 1)")
    rates.add_argument("--steps", type=int, default=200, help="number of optimiser steps (default: 200)")


def _travel_commands(commands: argparse._SubParsersAction[OneLineParser]) -> None:
    publish = commands.add_parser(
        "publish", help="write a finished study's results, report and packed ranks to a folder to commit or mail"
    )
    publish.add_argument("study", help="folder that `layerprobe run` wrote")
    publish.add_argument("out", help="new or empty folder, or an earlier publication of this study, which is replaced")
    verify = commands.add_parser("verify", help="compute every number of a report again from the ranks beside it")
    verify.add_argument("report", help="folder that `layerprobe publish` or `layerprobe run` wrote")


def _plan_command(commands: argparse._SubParsersAction[OneLineParser]) -> None:
    plan = commands.add_parser(
        "plan",
        help="how many seeds and users a margin needs, from a pilot or from stated noise",
        description="Prints the smallest margin by seeds and users, and what a margin needs; nothing is trained.",
    )
    plan.add_argument("--pilot", metavar="DIR", help="folder of a decided study with two or more seeds")
    plan.add_argument("--users", type=int, help="number of test users (default: those of the pilot)")
    plan.add_argument(
        "--user_noise", type=float, help="standard deviation over users of a difference, as a multiple of the metric"
    )
    plan.add_argument(
        "--training_noise", type=float, help="standard deviation of a training's mean metric, as a share of the metric"
    )
    plan.add_argument("--margin", type=float, help="share of the metric to lose at most (default: the pilot's, or .02)")
    plan.add_argument("--alpha", type=float, help="error level (default: the pilot's, or .05)")
    plan.add_argument("--power", type=float, default=0.8, help="probability to show it (default: .8)")
    plan.add_argument(
        "--difference",
        type=float,
        default=0.0,
        help="true difference from the full model, as a share of its metric (default: 0)",
    )


def _data_commands(commands: argparse._SubParsersAction[OneLineParser]) -> None:
    prepare = commands.add_parser("prepare", help="convert a log into a data folder and print its order audit")
    prepare.add_argument("--source", required=True, help="format of the log; see `layerprobe datasets`")
    prepare.add_argument("--path", help="file or folder of the log")
    prepare.add_argument("--out", required=True, help="new or empty folder to write")
    prepare.more_help = _data_keys_help
    commands.add_parser("datasets", help="list the log formats and where each comes from")


def _data_keys_help() -> str:
    from layerprobe.cli.data_commands import data_keys_help

    return data_keys_help()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    parser = build_parser()
    known, rest = parser.parse_known_args(arguments)
    if known.version:
        from layerprobe import __version__

        print(__version__)
        return 0
    if known.command is None:
        parser.print_help()
        return 2
    if rest and known.command not in {"run", "lr", "prepare", *STAGE_NAMES}:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if known.command not in SHARED and not processes.is_main():
        return 0
    try:
        with terminating():
            return _command(known.command)(known, rest)
    except LayerprobeError as error:
        where = "" if processes.is_main() else f" (process {processes.index()})"
        print(f"layerprobe: error{where}: {one_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _told(error)
    except KeyboardInterrupt:
        print("layerprobe: interrupted; run the same command to resume", file=sys.stderr)
        return INTERRUPTED
    except Terminated:
        print("layerprobe: terminated; run the same command to resume", file=sys.stderr)
        return TERMINATED


def _told(error: OSError) -> int:
    """Prints what is wrong with a file that the user named, and returns the exit code; raises any other error again."""
    if error.errno not in USERS_FILES:
        raise error
    print(f"layerprobe: error: {one_line(f'{error.filename}: {error.strerror}')}", file=sys.stderr)
    return 2


def _command(name: str) -> Callable[[argparse.Namespace, list[str]], int]:
    if name in {"demo", "run", *STAGE_NAMES}:
        from layerprobe.cli import study_commands

        return study_commands.run_command
    if name == "lr":
        from layerprobe.cli.rate_command import rate_command

        return rate_command
    if name == "plan":
        from layerprobe.cli.plan_command import plan_command

        return plan_command
    if name in {"prepare", "datasets"}:
        from layerprobe.cli import data_commands

        return {"prepare": data_commands.prepare_command, "datasets": data_commands.datasets_command}[name]
    if name in {"publish", "verify"}:
        from layerprobe.cli import travel_commands

        return {"publish": travel_commands.publish_command, "verify": travel_commands.verify_command}[name]
    if name == "inspect":
        from layerprobe.cli.inspect import inspect_command

        return inspect_command
    from layerprobe.cli import model_commands

    return {
        "recommend": model_commands.recommend_command,
        "doctor": model_commands.doctor_command,
    }[name]
