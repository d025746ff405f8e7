"""Rows of some kinds of events, such as purchases without views."""

# pyright: reportAttributeAccessIssue=false
# Arrow makes its compute functions at import time, so no type checker sees them.

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from layerprobe.data.sources.raw_table import RawTable, shown
from layerprobe.errors import InputError

MOST_SHOWN = 8


def keep_events(table: RawTable, column: str, events: str | None) -> tuple[RawTable, str]:
    """Returns the rows whose event is among the named ones, and a note on what was kept.

    Args:
        table: with the column.
        column: says what a row is.
        events: names, separated by commas; None keeps all rows.

    Raises:
        InputError: no event is named, or one that no row has.
    """
    texts = pc.utf8_trim_whitespace(table.texts(column))
    counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(texts).to_pylist()}
    most = sorted(counts, key=lambda name: -counts[name])[:MOST_SHOWN]
    found = ", ".join(f"{shown(name).strip(chr(39))} {counts[name]:,}" for name in most)
    if events is None:
        return table, f"rows by {column}: {found}; all are kept, read.events keeps some"
    wanted = [name.strip() for name in events.split(",") if name.strip()]
    if not wanted:
        raise InputError(f"events must name at least one event of column {column!r}; got {events!r}; found: {found}")
    missing = [name for name in wanted if name not in counts]
    if missing:
        raise InputError(f"{table.path} has no row whose {column!r} is {shown(missing[0])}; found: {found}")
    kept = sum(counts[name] for name in set(wanted))
    mask = pc.is_in(texts, value_set=pa.array(wanted, pa.string()))
    return table.rows(mask), f"rows by {column}: {found}; kept: {', '.join(wanted)}, {kept:,} of {len(texts):,} rows"
