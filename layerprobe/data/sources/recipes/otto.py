"""OTTO's sessions: an object per session with a list of events, each with item, time in milliseconds and type."""

# pyright: reportAttributeAccessIssue=false
# Arrow makes its compute functions at import time, so no type checker sees them.

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from layerprobe.data.sources.events import keep_events
from layerprobe.data.sources.json_lines import first_keys, read_json_lines
from layerprobe.data.sources.raw import RawLog, SourceOptions
from layerprobe.data.sources.raw_table import LogColumns, RawTable, to_raw_log
from layerprobe.data.sources.recipes.reader import log_in
from layerprobe.errors import InputError

FILES = ("otto-recsys-train.jsonl", "train.jsonl")
EVENTS = pa.list_(pa.struct([("aid", pa.int64()), ("ts", pa.int64()), ("type", pa.string())]))
COLUMNS = LogColumns("session", "item", "timestamp")


def read_otto(path: Path, options: SourceOptions) -> RawLog:
    """Reads the events of all sessions, one after the other.

    Raises:
        InputError: the file is missing or damaged, or a session has no events.
    """
    log = log_in(path, FILES)
    table = read_json_lines(log, {"session": pa.int64(), "events": EVENTS})
    for name in ("session", "events"):
        if table.table[name].null_count:
            row = pc.index(table.table[name].is_null(), True).as_py()
            keys = ", ".join(first_keys(log)[:5])
            raise InputError(f"{log} {table.place(row)}: no key {name!r}; keys of the first object: {keys}")
    events = table.table["events"].combine_chunks()
    sessions = np.repeat(np.arange(len(events)), pc.list_value_length(events).to_numpy(zero_copy_only=False))
    if not len(sessions):
        raise InputError(f"{log} has no event in any session; expected at least one")
    flat = events.flatten()
    rows = pa.table(
        {
            "session": table.table["session"].combine_chunks().take(pa.array(sessions)),
            "item": flat.field("aid"),
            "timestamp": flat.field("ts"),
            "type": flat.field("type"),
        }
    )
    place = table.place  # not the table: a log would keep its columns in memory
    kept, note = keep_events(RawTable(log, rows, lambda row: place(int(sessions[row]))), "type", options.events)
    raw = to_raw_log(kept, COLUMNS)
    return replace(raw, notes=(note, *raw.notes))
