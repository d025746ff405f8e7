"""JSON files with a fixed content, read and written as frozen dataclasses, so that no key is spelled twice.

A record's fields are the keys of its file, in order. A field with a default may be absent, since files of an older
version do not have it. A key that is absent without a default, or unknown, is an error of one line.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from layerprobe.errors import InputError
from layerprobe.store.atomic import read_json, write_json

Record = TypeVar("Record")


def read_record(path: Path, record: type[Record], again: str) -> Record:
    """Reads a record.

    Args:
        path: its JSON file.
        record: a dataclass.
        again: what to do about a damaged file, such as "run the decide stage again".

    Raises:
        InputError: the file is missing, is not JSON, or its keys are not those of the record.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing; {again}")
    try:
        plain = read_json(path)
    except ValueError as error:
        # Errors have one line; a JSON error's text may have several.
        raise InputError(f"{path} cannot be read ({' '.join(str(error).split())}); {again}") from error
    try:
        return from_plain(plain, record)
    except InputError as error:
        raise InputError(f"{path} is damaged or of another version: {error}; {again}") from error


def write_record(path: Path, record: Any) -> None:
    """Writes a record as JSON, keys in the order of its fields."""
    write_json(path, plain_of(record))


def plain_of(value: Any) -> Any:
    """Returns records as plain dicts, and tuples as lists."""
    if is_dataclass(value):
        return {entry.name: plain_of(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, dict):
        return {name: plain_of(entry) for name, entry in value.items()}
    return [plain_of(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def from_plain(plain: Any, record: type[Record]) -> Record:
    """Returns the record of plain values.

    Raises:
        InputError: they are not a mapping, lack a key without a default, or have a key that is not a field.
    """
    if not isinstance(plain, dict):
        raise InputError(f"{record.__name__} must be a mapping; got {plain!r}")
    entries: Any = fields(record)  # pyright: ignore[reportArgumentType] - a dataclass by contract
    types = get_type_hints(record)  # resolves annotations, which are text in these modules
    names = {entry.name for entry in entries}
    unknown = [name for name in plain if name not in names]
    if unknown:
        raise InputError(f"the key {unknown[0]} is not known")
    missing = [
        entry.name
        for entry in entries
        if entry.name not in plain and entry.default is MISSING and entry.default_factory is MISSING
    ]
    if missing:
        raise InputError(f"the key {missing[0]} is missing")
    return record(**{name: _as(types[name], value) for name, value in plain.items()})


def _as(annotation: Any, value: Any) -> Any:
    """Returns plain values as the records or tuples of records that a field is annotated with."""
    if get_origin(annotation) in (Union, UnionType):
        if value is None and NoneType in get_args(annotation):
            return None
        # Unions of records are `X | None`, so the first type that is not None is the record.
        (annotation,) = [option for option in get_args(annotation) if option is not NoneType][:1]
    if is_dataclass(annotation):
        return from_plain(value, annotation)  # pyright: ignore[reportArgumentType] - a type here, not an instance
    if get_origin(annotation) is tuple and isinstance(value, list):
        return tuple(_as(get_args(annotation)[0], entry) for entry in value)
    return value
