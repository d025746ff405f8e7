"""ISO dates and times as whole numbers: seconds since 1970 (UTC), or microseconds where some have fractions.

A date without a zone is UTC. Only `year-month-day` is read, since 01/02/2020 is January or February by the country.
"""

# pyright: reportAttributeAccessIssue=false
# Arrow makes its compute functions at import time, so no type checker sees them.

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

ISO_START = r"^\d{4}-\d{2}-\d{2}"
ZONE = r":\d{2}(\.\d+)? ?(Z|UTC|GMT|[+-]\d{2}(:?\d{2})?)$"
SPELT_ZONE, SPACED_ZONE = r" ?(UTC|GMT)$", r" ([+-]\d{2}(:?\d{2})?)$"  # Arrow reads Z, and +01:00 without a space
PER_SECOND = {"us": 10**6, "ns": 10**9}
ACCEPTED = "a finite number, or a date such as 2020-02-01, 2020-02-01 10:00:00 or 2020-02-01T10:00:00+01:00"


def are_dates(texts: pa.ChunkedArray) -> bool:
    """Tells whether a column of text holds dates, by its first value."""
    return len(texts) > 0 and bool(pc.match_substring_regex(texts.slice(0, 1), ISO_START)[0].as_py())


def ticks(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns ISO dates as int64: seconds since 1970, or micro- or nanoseconds where a date has fractions of a second.

    Raises:
        pa.ArrowInvalid: a value is no such date.
    """
    for unit in PER_SECOND:
        try:
            found = _parsed(texts, unit)
        except pa.ArrowInvalid:
            if unit == "ns":  # as fine as it gets
                raise
            continue
        seconds = pc.divide(found, PER_SECOND[unit])
        is_whole = pc.all(pc.equal(pc.multiply(seconds, PER_SECOND[unit]), found)).as_py()
        return seconds if is_whole else found
    raise AssertionError


def _parsed(texts: pa.ChunkedArray, unit: str) -> pa.ChunkedArray:
    zoned = pc.match_substring_regex(texts, ZONE)
    if not pc.any(zoned).as_py():
        return texts.cast(pa.timestamp(unit)).cast(pa.int64())
    none = pa.scalar(None, pa.string())
    spelt = pc.replace_substring_regex(pc.replace_substring_regex(texts, SPELT_ZONE, "Z"), SPACED_ZONE, r"\1")
    aware = pc.if_else(zoned, spelt, none).cast(pa.timestamp(unit, "UTC"))
    naive = pc.if_else(zoned, none, texts).cast(pa.timestamp(unit))
    return pc.coalesce(aware.cast(pa.int64()), naive.cast(pa.int64()))
