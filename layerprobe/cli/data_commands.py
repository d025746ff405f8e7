"""`prepare` and `datasets`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from layerprobe.arguments import as_path, writable_folder
from layerprobe.data.audit import OrderAudit
from layerprobe.data.preprocess import StepCount
from layerprobe.data.times.facts import split_lines
from layerprobe.errors import InputError
from layerprobe.ranges import Range, parted
from layerprobe.study.key_rules import keys_of, wrong_flag

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser as JsonParser


def prepare_command(known: argparse.Namespace, rest: list[str]) -> int:
    """Writes a data folder and prints its counts and the audit of the order."""
    from jsonargparse import ArgumentError

    from layerprobe.data.prepare import FILES, DataOptions, prepare, prepare_log
    from layerprobe.data.progress import Steps
    from layerprobe.data.sources.raw import SourceOptions
    from layerprobe.data.synthetic import SyntheticOptions, generate
    from layerprobe.training.log import say

    parser = _keys_parser()
    wrong = wrong_flag(rest, data_keys())
    if wrong is not None:
        raise InputError(wrong)
    try:
        made = parser.instantiate(parser.parse_args(rest))
    except (ArgumentError, TypeError) as error:
        raise InputError(f"prepare: {' '.join(str(error).split())}") from error
    folder = writable_folder("--out", known.out)
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"--out must be a new or empty folder; {folder} holds files")
    if known.path is not None:
        as_path("--path", known.path)
    if known.source == "synthetic" and (known.path is not None or made["read"] != SourceOptions()):
        raise InputError("source synthetic reads no file: leave out --path and --read")
    if known.source != "synthetic" and made["synthetic"] != SyntheticOptions():
        raise InputError(f"--synthetic needs --source synthetic; the source is {known.source}")
    keys = ("read", "preprocess", "order", "seed", "split")
    options = DataOptions(known.source, known.path or "", **{key: made[key] for key in keys})
    if known.source == "synthetic":
        steps, raw = Steps(say), generate(made["synthetic"])
        steps.done(f"generated: {len(raw.interactions):,} interactions")
        data = prepare_log(raw, options, folder, say)
    elif known.path is None:
        raise InputError(f"source {known.source} needs --path FILE_OR_FOLDER")
    else:
        data = prepare(options, folder, say)
    print("\n".join(fact_lines(data.facts)))
    print(f"data folder: {folder} ({', '.join(FILES)})")
    return 0


def data_keys() -> dict[str, Any]:
    """Returns every key of `prepare` with its type and limit."""
    from layerprobe.data.prepare import DataOptions
    from layerprobe.data.synthetic import SyntheticOptions

    own = {key: hint for key, hint in keys_of(DataOptions) if key not in ("source", "path")}
    return own | dict(keys_of(SyntheticOptions, "synthetic."))


def _keys_parser() -> JsonParser:
    """Returns the parser of the data keys; usage and `--help` are the command's own."""
    from jsonargparse import ArgumentParser

    from layerprobe.data.prepare import DataOptions
    from layerprobe.data.synthetic import SyntheticOptions

    parser = ArgumentParser(prog="layerprobe prepare", exit_on_error=False, usage=argparse.SUPPRESS, add_help=False)
    parser.add_class_arguments(DataOptions, skip={"source", "path"})
    parser.add_class_arguments(SyntheticOptions, "synthetic")
    return parser


def data_keys_help() -> str:
    """Returns every data key with its meaning and default, as the end of `prepare --help`."""
    from jsonargparse import set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)  # the meaning stands below each field
    try:
        return _with_ranges(_keys_parser()).format_help()
    finally:
        set_parsing_settings(docstring_parse_attribute_docstrings=False)


def _with_ranges(parser: JsonParser) -> JsonParser:
    """Adds to the help of each key the range that its field declares."""
    limits = {key: parted(hint)[1] for key, hint in data_keys().items()}
    for action in parser._actions:  # argparse has no other way to its arguments
        limit = limits.get(action.dest)
        if isinstance(limit, Range):
            action.help = f"{action.help or ''} In {limit}."
    return parser


def fact_lines(facts: dict) -> list[str]:
    """Returns the counts after every step the audit of the order and what the split sees, as lines."""
    lines = [StepCount(**step).line() for step in facts["steps"]]
    titled, n_items = facts["items_with_title"], facts["counts"]["items"]
    if titled is not None:
        lines.append(f"titles: {titled:,} of {n_items:,} items")
    return [*lines, f"order: {facts['order']}", *OrderAudit(**facts["audit"]).lines(), *split_lines(facts.get("split"))]


def datasets_command(_known: argparse.Namespace, _rest: list[str]) -> int:
    """Prints the formats and data sets that can be read, and whose they are."""
    from layerprobe.data.sources.registry import SOURCES

    for source in SOURCES.values():
        print(f"{source.name}\n    {source.description}\n    from {source.where}")
        if source.licence is not None:
            print(f"    licence: {source.licence}")
    print("synthetic\n    built-in logs for which the needed depth is known\n    from layerprobe itself")
    return 0
