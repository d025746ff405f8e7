"""Columns of any Arrow type as ids, numbers or times: what each type means, and which mean nothing.

A conversion that fails raises Arrow's error; `RawTable` finds the first value that is at fault and names it.
"""

# pyright: reportAttributeAccessIssue=false
# Arrow makes its compute functions at import time, so no type checker sees them.

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from layerprobe.data.sources.dates import are_dates, ticks

EXACT = 2.0**53
"""Whole numbers up to here are exact as floats."""
FAILS = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError)
WHOLE = pa.decimal128(38, 0)
TEXTS = ("large_string", "string_view", "binary", "large_binary", "binary_view")


def unwrapped(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns a column with the plain type of its values: text of any kind as strings, categories as what they name.

    Raises:
        pa.ArrowInvalid: bytes are no UTF-8.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return unwrapped(column.cast(kind.storage_type))
    if pa.types.is_dictionary(kind):
        return unwrapped(column.cast(kind.value_type))
    return column.cast(pa.string()) if str(kind) in TEXTS else column


def holds_ids(kind: pa.DataType) -> bool:
    """Tells whether values of a type can be ids: text, and numbers as long as they are whole."""
    return pa.types.is_string(kind) or _is_number(kind)


def holds_numbers(kind: pa.DataType) -> bool:
    """Tells whether values of a type are numbers: also true and false, and text that spells numbers."""
    return pa.types.is_string(kind) or pa.types.is_boolean(kind) or _is_number(kind)


def holds_times(kind: pa.DataType) -> bool:
    """Tells whether values of a type are times: numbers, dates, durations since some start; not a time of day."""
    has_ticks = pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_duration(kind)
    return has_ticks or pa.types.is_string(kind) or _is_number(kind)


def id_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns ids as strings; whole numbers have no `.0`.

    Raises:
        pa.ArrowInvalid: a number is not whole, or too large to be exact.
    """
    kind = column.type
    if pa.types.is_floating(kind):
        values = column.cast(pa.float64())
        largest = pc.max(pc.abs(values)).as_py()
        if largest is not None and not largest <= EXACT:
            raise pa.ArrowInvalid("not exact")
        return values.cast(pa.int64()).cast(pa.string())
    if pa.types.is_decimal(kind):
        return column.cast(WHOLE).cast(pa.string())
    return column.cast(pa.string())


def number_values(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns numbers as float64.

    Raises:
        pa.ArrowInvalid: a text spells no number.
    """
    return trimmed(column).cast(pa.float64())


def time_values(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns times as int64 in the unit of their type, as float64 where numbers are not all whole, dates as ticks.

    Raises:
        pa.ArrowInvalid: a text is neither a number nor an ISO date.
    """
    kind = column.type
    if pa.types.is_date(kind):
        column = column.cast(pa.timestamp("s"))
    if pa.types.is_temporal(kind):
        return column.cast(pa.int64())
    texts = trimmed(column)
    try:
        return texts.cast(pa.int64())
    except pa.ArrowInvalid:  # fractions, numbers such as 1.5e9, and dates
        return ticks(texts) if pa.types.is_string(kind) and are_dates(texts) else texts.cast(pa.float64())


def trimmed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns text without the white space around it; other types as they are."""
    return pc.utf8_trim_whitespace(column) if pa.types.is_string(column.type) else column


def first_fault(column: pa.ChunkedArray, convert: Callable[[pa.ChunkedArray], object]) -> int:
    """Returns the row of the first value that cannot be converted; Arrow does not say which it was."""

    def fails(n_rows: int) -> bool:
        try:
            convert(column.slice(0, n_rows))
        except FAILS:
            return True
        return False

    low, high = 0, len(column)  # the shortest beginning that fails, by bisection
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fails(middle) else (middle + 1, high)
    return low - 1


def whole_times(values: np.ndarray) -> np.ndarray:
    """Returns times as whole numbers that are still float64: fractions as microseconds, so that they do not tie."""
    return values if np.array_equal(values, np.rint(values)) else np.rint(values * 1e6)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
