"""From YAML and flags to a `StudySpec`, every mistake refused by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from layerprobe.arguments import as_path, require_kind
from layerprobe.errors import InputError
from layerprobe.store.atomic import read_yaml
from layerprobe.store.layout import StudyLayout
from layerprobe.store.ledger import read_ledger
from layerprobe.study.spec import StudySpec

CHANGED_DEFAULTS = ("probe.seeds", "items.every_seed", "distill.every_seed", "backbone.init_seed")
"""Keys whose default is another one than in older versions: a folder keeps what it was begun with."""


def spec_parser() -> ArgumentParser:
    """Returns the parser of a study: one flag per key, `--config FILE` for YAML, `--print_config`."""
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
    _require_mapping(path)
    parser = spec_parser()
    flags = _flags(overrides)
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
    """Tells whether a study was begun in this folder by a version that recorded no plan."""
    return StudyLayout(folder).spec.is_file() and read_ledger(folder).plan is None


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


def _require_mapping(path: Path) -> None:
    import yaml

    try:
        value = read_yaml(path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} must be YAML: {_one_line(error)}") from error
    if not isinstance(value, dict):
        got = "nothing" if value is None else repr(value)[:60]
        raise InputError(f"{path} must hold keys and values of a study; got {got}")
    unknown = _unknown_key(value, StudySpec)
    if unknown is not None:
        raise InputError(f"{path}: {unknown}; `--print_config` prints every key")


def _unknown_key(value: dict[str, Any], spec: type, prefix: str = "") -> str | None:
    """Names the first key that is no field, with the nearest one; jsonargparse alone lets empty sections pass."""
    types = get_type_hints(spec)
    for name, entry in value.items():
        if name not in types:
            if isinstance(name, int):
                return f'unknown key {prefix}{name}; a list of layers in a line needs quotes: "keep:0,3"'
            near = get_close_matches(str(name), types, n=1)
            return f"unknown key {prefix}{name}" + (f", did you mean {prefix}{near[0]}" if near else "")
        inner = [kind for kind in (types[name], *get_args(types[name])) if hasattr(kind, "__dataclass_fields__")]
        if inner and isinstance(entry, dict):
            unknown = _unknown_key(entry, inner[0], f"{prefix}{name}.")
            if unknown is not None:
                return unknown
    return None


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
    return " ".join(str(error).split())
