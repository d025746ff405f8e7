"""The rules of a study's keys on plain values, before any option is made: names, types, ranges, by dotted keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from difflib import get_close_matches
from typing import Any, get_args

import yaml

from layerprobe.arguments import fits, hints_of, shown, value_problem
from layerprobe.ranges import parted


def section_of(hint: Any) -> type | None:
    """Returns the options class of a section, which may be null; None for a value."""
    bare, _ = parted(hint)
    return next((kind for kind in (bare, *get_args(bare)) if isinstance(kind, type) and is_dataclass(kind)), None)


def keys_of(spec: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every key below an options class that is no section, dotted, with its type and limit."""
    for name, hint in hints_of(spec).items():
        section = section_of(hint)
        if section is None:
            yield f"{prefix}{name}", hint
        else:
            yield from keys_of(section, f"{prefix}{name}.")


def unknown_key(value: Mapping[Any, Any], spec: type, prefix: str = "") -> str | None:
    """Names the first key that is no field, with the nearest one; None where all are known."""
    types = hints_of(spec)
    for name, entry in value.items():
        if name not in types:
            if isinstance(name, int):
                return f'unknown key {prefix}{name}; a list of layers in a line needs quotes: "keep:0,3"'
            near = get_close_matches(str(name)[:100], types, n=1)
            called = str(name) if str(name).isidentifier() and len(str(name)) < 60 else shown(name)
            return f"unknown key {prefix}{called}" + (f", did you mean {prefix}{near[0]}" if near else "")
        section = section_of(types[name])
        if section is not None and isinstance(entry, Mapping):
            unknown = unknown_key(entry, section, f"{prefix}{name}.")
            if unknown is not None:
                return unknown
    return None


def wrong_value(value: Mapping[str, Any], spec: type, prefix: str = "") -> str | None:
    """Names the first key with a value of a wrong type or outside its range; None where all are right.

    Args:
        value: known keys and their values, as YAML gives them.
        spec: the options class.
        prefix: dotted keys above it.
    """
    for name, entry in value.items():
        hint = hints_of(spec)[name]
        section = section_of(hint)
        if section is not None and isinstance(entry, Mapping):
            problem = wrong_value(entry, section, f"{prefix}{name}.")
        else:
            problem = key_problem(f"{prefix}{name}", entry, hint)
        if problem is not None:
            return problem
    return None


def key_problem(key: str, value: Any, hint: Any) -> str | None:
    """Returns what is wrong with the value of one key; None where nothing is."""
    problem = value_problem(value, hint)
    if isinstance(value, str):  # flags and quoted numbers are text, which the parser reads where the type allows it
        read = _read(value)
        if not isinstance(read, str) and (problem is not None or fits(read, parted(hint)[0])):
            problem = value_problem(read, hint)
    section = section_of(hint)
    if problem is None or section is None:
        return None if problem is None else f"{key} {problem}"
    first = next(keys_of(section))[0]
    return f"{key} must hold keys, such as {key}.{first}; got {'nothing' if value is None else shown(value)}"


def wrong_flag(flags: Sequence[str], hints: Mapping[str, Any]) -> str | None:
    """Names the first `--key value` with a wrong value, or that sets a section at once; None where all are right.

    Args:
        flags: as on the command line; unknown keys are the parser's to refuse.
        hints: every key that is no section, with its type and limit.
    """
    for key, value in flag_pairs(flags):
        if key in hints:
            problem = key_problem(f"--{key}", value, hints[key])
            if problem is not None:
                return problem
        first = next((known for known in hints if known.startswith(f"{key}.")), None)
        if first is not None and value != "null":
            return f"--{key} is a section: set its keys one by one, such as --{first}; got {shown(value)}"
    return None


def flag_pairs(flags: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yields keys and values of `--key value` and `--key=value`; what is neither is the parser's to refuse."""
    for at, flag in enumerate(flags):
        if flag.startswith("--"):
            key, equals, value = flag[2:].partition("=")
            if equals or at + 1 < len(flags):
                yield key, value if equals else flags[at + 1]


def _read(text: str) -> Any:
    """Returns what a text stands for where it is no text: a number, a list, true or false."""
    try:
        value = yaml.safe_load(text) if text.strip() and len(text) < 1000 and "*" not in text else text
        return float(value) if isinstance(value, str) else value
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
