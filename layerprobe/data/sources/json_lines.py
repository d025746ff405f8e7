"""Reads files with one JSON object per line (plain or gz) into a `RawTable`, only the fields that are wanted.

Arrow's reader gets an explicit schema, so other keys may be absent or change their type from row to row.
Amazon's 2014 metadata holds Python literals instead of JSON; those lines go through `ast.literal_eval`.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.json as arrow_json

from layerprobe.data.sources.delimited import UNREADABLE, open_text, require_file, unreadable
from layerprobe.data.sources.raw_table import RawTable
from layerprobe.errors import InputError

BLOCK_BYTES = 1 << 25  # a line must fit; metadata lines with long descriptions pass one MiB
Fields = Mapping[str, pa.DataType]
NOT_A_LITERAL = (ValueError, SyntaxError, MemoryError, RecursionError)


def read_json_lines(path: Path, fields: Fields) -> RawTable:
    """Reads the given fields; a field that a line lacks is null.

    Raises:
        InputError: the file is missing, empty or damaged, a line is not an object, or a field has another type.
    """
    require_file(path)
    try:
        _, first = next(_lines(path), (0, ""))
        if not first:
            raise InputError(f"{path} holds blank lines only; expected one object per line")
        table = _read_literals(path, fields) if _is_literal(first) else _read_json(path, fields)
    except UNREADABLE as error:
        raise _diagnosis(path, fields, error) from error
    return RawTable(path, table, lambda row: f"line {next(islice(_lines(path), row, None))[0]}")


def first_keys(path: Path) -> list[str]:
    """Returns the keys of the first object, for messages."""
    _, first = next(_lines(path))
    return list(ast.literal_eval(first) if _is_literal(first) else json.loads(first))


def _read_json(path: Path, fields: Fields) -> pa.Table:
    return arrow_json.read_json(
        pa.input_stream(str(path), compression="detect"),
        arrow_json.ReadOptions(block_size=BLOCK_BYTES),
        arrow_json.ParseOptions(explicit_schema=pa.schema(list(fields.items())), unexpected_field_behavior="ignore"),
    )


def _read_literals(path: Path, fields: Fields) -> pa.Table:
    records: dict[str, list] = {name: [] for name in fields}
    for number, line in _lines(path):
        try:
            record = ast.literal_eval(line)
        except NOT_A_LITERAL as error:
            raise InputError(f"{path} line {number}: expected a dict literal; got {line[:60]!r}") from error
        fault = _wrong_field(record, fields) if isinstance(record, dict) else f"expected a dict; got {line[:60]!r}"
        if fault is not None:
            raise InputError(f"{path} line {number}: {fault}")
        for name, values in records.items():
            values.append(record.get(name))
    return pa.table({name: pa.array(records[name], kind) for name, kind in fields.items()})


def _is_literal(line: str) -> bool:
    return line.startswith("{'")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
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
        record = json.loads(line)
    except json.JSONDecodeError:
        return f"expected one JSON object per line; got {line[:60]!r}"
    if not isinstance(record, dict):
        return f"expected one JSON object per line; got {line[:60]!r}"
    return _wrong_field(record, fields)


def _wrong_field(record: dict, fields: Fields) -> str | None:
    for name, kind in fields.items():
        value, is_text = record.get(name), pa.types.is_string(kind)
        # True and False are ints in Python, but not numbers in JSON.
        right = isinstance(value, str) if is_text else isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not right:
            return f"{name!r} must be {'text' if is_text else 'a number'}; got {value!r}"
    return None
