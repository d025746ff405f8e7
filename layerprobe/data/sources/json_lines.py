"""Reads files with one JSON object per line (plain or compressed) into a `RawTable`, only the fields that are wanted.

Arrow's reader gets an explicit schema, so other keys may be absent or change their type from row to row.
Amazon's 2014 metadata and Steam hold Python literals instead of JSON; those lines go through `ast.literal_eval`.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Generator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as arrow_json

from layerprobe.data.sources.delimited import UNREADABLE, open_text, unreadable
from layerprobe.data.sources.opening import byte_stream, require_file, text_encoding
from layerprobe.data.sources.raw_table import RawTable, shown
from layerprobe.errors import InputError

BLOCK_BYTES = 1 << 25  # a line must fit; metadata lines with long descriptions pass one MiB
Fields = Mapping[str, pa.DataType]
MARK = b"\xef\xbb\xbf"
SAMPLE = 1000  # objects that keys and types are looked for in
NOT_A_LITERAL = (ValueError, SyntaxError, MemoryError, RecursionError)


def read_json_lines(path: Path, fields: Fields) -> RawTable:
    """Reads the given fields; a field that a line lacks is null.

    Raises:
        InputError: the file is missing, empty or damaged, a line is not an object, or a field has another type.
    """
    require_file(path)
    try:
        with closing(_lines(path)) as lines:
            _, first = next(lines, (0, ""))
        if not first:
            raise InputError(f"{path} holds blank lines only; expected one object per line")
        table = _read_literals(path, fields) if _is_literal(first) else _read_json(path, fields)
    except UNREADABLE as error:
        raise _diagnosis(path, fields, error) from error
    return RawTable(path, table, lambda row: _place(path, row))


def first_keys(path: Path) -> list[str]:
    """Returns the keys of the first object as a message shows them.

    Raises:
        InputError: the first line is no object.
    """
    with closing(_lines(path)) as lines:
        number, line = next(lines)
    fault = _fault(line, {})
    if fault is not None:
        raise InputError(f"{path} line {number}: {fault}")
    return [(key if key.isprintable() else repr(key))[:30] for key in _record(line)]


def sampled_values(path: Path) -> dict[str, Any]:
    """Returns the keys of the first objects, in order, each with its first value that is not null.

    Raises:
        InputError: the file is missing, empty or damaged, or one of these lines is no object.
    """
    found: dict[str, Any] = {}
    try:
        with closing(_lines(path)) as lines:
            for number, line in islice(lines, SAMPLE):
                fault = _fault(line, {})
                if fault is not None:
                    raise InputError(f"{path} line {number}: {fault}")
                for name, value in _record(line).items():
                    found[name] = value if found.get(name) is None else found[name]
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    return found


def _record(line: str) -> dict[str, Any]:
    return ast.literal_eval(line) if _is_literal(line) else json.loads(line)


def _read_json(path: Path, fields: Fields) -> pa.Table:
    schema = pa.schema(list(fields.items()))
    with _utf8_stream(path) as stream:
        table = arrow_json.read_json(
            stream,
            arrow_json.ReadOptions(block_size=BLOCK_BYTES),
            arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    table.validate(full=True)  # the reader lets bytes through that are no UTF-8
    return table


def _utf8_stream(path: Path) -> pa.NativeFile:
    encoding = text_encoding(path, "utf-8")
    if encoding != "utf-8":
        return pa.transcoding_input_stream(byte_stream(path), encoding, "utf-8")
    with byte_stream(path) as start:
        has_mark = start.read(len(MARK)) == MARK
    stream = byte_stream(path)
    if has_mark:  # Arrow takes it for a part of the first object
        stream.read(len(MARK))
    return stream


def _read_literals(path: Path, fields: Fields) -> pa.Table:
    records: dict[str, list] = {name: [] for name in fields}
    for number, line in _lines(path):
        try:
            record = ast.literal_eval(line)
        except NOT_A_LITERAL as error:
            raise InputError(f"{path} line {number}: expected a dict literal; got {shown(line, 60)}") from error
        fault = _wrong_field(record, fields) if isinstance(record, dict) else f"expected a dict; got {shown(line, 60)}"
        if fault is not None:
            raise InputError(f"{path} line {number}: {fault}")
        for name, values in records.items():
            values.append(record.get(name))
    return pa.table({name: pa.array(records[name], kind) for name, kind in fields.items()})


def _is_literal(line: str) -> bool:
    return line.startswith(("{'", "{u'"))


def _place(path: Path, row: int) -> str:
    with closing(_lines(path)) as lines:
        found = next(islice(lines, row, None), None)
    return f"object {row + 1}" if found is None else f"line {found[0]}"  # a line may hold several objects


def _lines(path: Path) -> Generator[tuple[int, str]]:
    with open_text(path, "utf-8") as lines:
        numbered = ((number, line.strip()) for number, line in enumerate(lines, start=1))
        yield from ((number, line) for number, line in numbered if line)


def _diagnosis(path: Path, fields: Fields, error: BaseException) -> InputError:
    """Names the first line that is not an object or has a field of another type."""
    try:
        for number, line in _lines(path):
            fault = _fault(line, fields)
            if fault is not None:
                return InputError(f"{path} line {number}: {fault}")
    except UNREADABLE as damage:
        return unreadable(path, damage)
    return unreadable(path, error)


def _fault(line: str, fields: Fields) -> str | None:
    try:
        record = _record(line)
    except (json.JSONDecodeError, *NOT_A_LITERAL):
        return f"expected one JSON object per line; got {shown(line, 60)}"
    if not isinstance(record, dict):
        return f"expected one JSON object per line; got {shown(line, 60)}"
    return _wrong_field(record, fields)


def _wrong_field(record: dict, fields: Fields) -> str | None:
    for name, kind in fields.items():
        value = record.get(name)
        if value is not None and not _fits(value, kind):
            return f"{name!r} must be {_named(kind)}; got {shown(value)}"
    return None


def _fits(value: Any, kind: pa.DataType) -> bool:
    if value is None:
        return True
    if pa.types.is_list(kind):
        return isinstance(value, list) and all(_fits(one, kind.value_type) for one in value)
    if pa.types.is_struct(kind):
        return isinstance(value, dict) and all(_fits(value.get(entry.name), entry.type) for entry in kind)
    if pa.types.is_string(kind):
        return isinstance(value, str)
    # True and False are ints in Python, but not numbers in JSON.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and (pa.types.is_floating(kind) or isinstance(value, int))


def _named(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"a list of objects with {', '.join(entry.name for entry in kind.value_type)}"
    if pa.types.is_string(kind):
        return "text"
    return "a number" if pa.types.is_floating(kind) else "a whole number"
