"""From YAML and flags to a `StudySpec`, every mistake refused by name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from layerprobe.arguments import as_path, hints_of, require_kind
from layerprobe.errors import InputError
from layerprobe.store.atomic import read_yaml
from layerprobe.store.layout import StudyLayout
from layerprobe.store.ledger import read_ledger
from layerprobe.store.seals.study_seals import damaged_tables
from layerprobe.study.key_rules import flag_pairs, keys_of, unknown_key, wrong_flag, wrong_value
from layerprobe.study.spec import StudySpec

CHANGED_DEFAULTS = ("probe.seeds", "items.every_seed", "distill.every_seed", "backbone.init_seed")
"""Keys whose default is another one than in older versions: a folder keeps what it was begun with."""


@cache
def spec_parser() -> ArgumentParser:
    """Returns the parser of a study, made once: one flag per key, `--config FILE` for YAML, `--print_config`."""
    parser = ArgumentParser(
        prog="layerprobe run STUDY.yaml", exit_on_error=False, allow_abbrev=False, description="Keys of a study."
    )
    parser.add_argument("--config", action="config", help="the study's YAML")
    parser.add_class_arguments(StudySpec)
    return parser


def load_spec(
    path: str | os.PathLike[str], overrides: Sequence[str] = (), folder: Callable[[str], Path] | None = None
) -> StudySpec:
    """Reads a study's YAML, with command-line overrides such as `--training.epochs 3`.

    Args:
        path: the YAML.
        overrides: keys and values.
        folder: gives the study's folder for its name. Where that folder was begun by an older version, the keys of
            `CHANGED_DEFAULTS` that are not given keep the values the folder was begun with; None keeps none.

    Raises:
        InputError: the file is missing, empty or no YAML mapping; a key is unknown; a value has a wrong type or lies
            outside its range.
    """
    path = as_path("path", path)
    if path.is_dir():
        raise InputError(f"a study is a YAML file; {path} is a folder: open the study in it with Study.load")
    if not path.is_file():
        raise InputError(f"a study is a YAML file; there is none at {path}")
    _require_study(path)
    parser = spec_parser()
    flags = _flags(overrides)
    _check_flags(flags)
    try:
        arguments = ["--config", str(path), *flags]
        namespace = parser.parse_args(arguments)
        spec = _instantiate(parser, namespace)
        if folder is None or not _is_older(folder(spec.name)):
            return spec
        given = parser.parse_args(arguments, defaults=False)
        begun = read_yaml(StudyLayout(folder(spec.name)).spec)
        for key in CHANGED_DEFAULTS:
            value = _value_at(begun, key)
            if key not in given and value is not None:
                namespace[key] = value
        return _instantiate(parser, namespace)
    except (ArgumentError, TypeError, KeyError) as error:
        raise InputError(f"{path}: {_one_line(error)}") from error


def _is_older(folder: Path) -> bool:
    """Tells whether a study was begun in this folder by a version that recorded no plan.

    A damaged `study.yaml` says nothing and is never read.
    """
    layout = StudyLayout(folder)
    is_whole = layout.spec.is_file() and layout.spec.name not in damaged_tables(layout)
    return is_whole and read_ledger(folder).plan is None


def study_folder(out: Path | None, name: str) -> Path:
    """Returns the folder of a study: the one that is asked for, or `runs/<name>`."""
    return Path("runs") / name if out is None else out


def _value_at(plain: dict[str, Any], key: str) -> Any:
    """Returns the value of a dotted key of plain values; None where it is missing."""
    value: Any = plain
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _flags(overrides: Sequence[str]) -> list[str]:
    """Returns keys and values as on the command line; what only prints there has no use here."""
    if isinstance(overrides, str) or not isinstance(overrides, (list, tuple)):
        raise InputError(
            f'overrides must be a list of keys and values, such as ["--training.epochs", "3"]; got {overrides!r}'
        )
    for flag in overrides:
        require_kind("a key or value of overrides", flag, str)
        if flag in ("-h", "--help") or flag.startswith("--print_config"):
            raise InputError(f"overrides must be keys and values of a study; got {flag}")
    return list(overrides)


def _require_study(path: Path) -> None:
    """Refuses what is no study in our own words; a file without any key of a study may be private and is not quoted."""
    value = read_yaml(path)
    if not isinstance(value, dict):
        kind = "nothing" if value is None else _kind(value)
        raise InputError(f"{path} must hold keys and values of a study; got {kind}")
    unknown = unknown_key(value, StudySpec)
    if unknown is not None:
        is_study = any(name in hints_of(StudySpec) for name in value) or "did you mean" in unknown
        told = unknown if is_study else "none of its keys is one of a study"
        raise InputError(f"{path}: {told}; `--print_config` prints every key")
    wrong = wrong_value(value, StudySpec)
    if wrong is not None:
        raise InputError(f"{path}: {wrong}")


def _kind(value: object) -> str:
    kinds = {list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def _check_flags(flags: Sequence[str]) -> None:
    """Checks each `--key value` by the rules of the YAML, and every `--config` among them."""
    for key, value in flag_pairs(flags):
        if key == "config":
            _require_study(as_path("--config", value))
    wrong = wrong_flag(flags, dict(keys_of(StudySpec)))
    if wrong is not None:
        raise InputError(wrong)


def _instantiate(parser: ArgumentParser, namespace: Namespace) -> StudySpec:
    try:
        made = parser.instantiate(namespace)
    except ValueError as error:
        raise _cause(error) from error
    return StudySpec(**{entry.name: made[entry.name] for entry in fields(StudySpec)})


def _cause(error: ValueError) -> BaseException:
    """Returns our own error where the parser has wrapped one, as it does in sections that may be null."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, InputError):
        cause = cause.__cause__ or cause.__context__
    return error if cause is None else InputError(str(cause))


def spec_of(plain: dict[str, Any]) -> StudySpec:
    """Returns the spec that `to_plain` made these plain values of."""
    parser = spec_parser()
    return _instantiate(parser, parser.parse_object(plain))


def _one_line(error: BaseException) -> str:
    """Returns the parser's message in one line; of an unknown flag with the nearest known one."""
    text = " ".join(str(error).split())
    unknown = re.search(r"unrecognized arguments: --([\w.]+)", text)
    near = get_close_matches(unknown[1], dict(keys_of(StudySpec)), n=1) if unknown else []
    return f"{text}; did you mean --{near[0]}" if near else text
