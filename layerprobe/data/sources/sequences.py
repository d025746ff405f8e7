"""Sequence text: one line per user, `user item item ...`, in order and without times (the form of S3-Rec's files)."""

# pyright: reportAttributeAccessIssue=false
# Arrow makes its compute functions at import time, so no type checker sees them.

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from layerprobe.data.sources.delimited import UNIT_SEPARATOR, Layout, read_delimited, separator
from layerprobe.data.sources.item_lists import log_of_lists, split_tokens
from layerprobe.data.sources.raw import RawLog, SourceOptions
from layerprobe.data.sources.raw_table import RawTable
from layerprobe.data.sources.table import with_titles_beside
from layerprobe.errors import InputError

LINE = "line"


def read_sequences(path: Path, options: SourceOptions) -> RawLog:
    """Reads sequence text; `items_path` names a table of titles. Tokens are split at white space or at `delimiter`.

    Raises:
        InputError: the file is missing, empty or damaged, a line has no item, an id is empty, or a user has two lines.
    """
    table = read_delimited(path, Layout(UNIT_SEPARATOR, (LINE,)), (LINE,))
    delimiter = None if options.delimiter is None else separator(options.delimiter)
    tokens, n_tokens = split_tokens(table.table[LINE], delimiter)
    users = _user_positions(table, tokens, n_tokens)
    is_item = np.ones(len(tokens), dtype=bool)
    is_item[users] = False
    raw = log_of_lists(tokens.take(pa.array(users)), tokens.filter(pa.array(is_item)), n_tokens - 1, table.place)
    return with_titles_beside(path, raw, replace(options, delimiter=None))  # the delimiter is that of the sequences


def _user_positions(table: RawTable, tokens: pa.Array, n_tokens: np.ndarray) -> np.ndarray:
    ends = np.cumsum(n_tokens)
    starts = ends - n_tokens
    if n_tokens.min() < 2:
        row = int(np.argmax(n_tokens < 2))
        raise InputError(f"{table.path} {table.place(row)}: expected a user and at least one item")
    is_empty = np.asarray(pc.equal(pc.utf8_trim_whitespace(tokens), "").to_numpy(zero_copy_only=False))
    if is_empty.any():
        row = int(np.searchsorted(ends, np.argmax(is_empty), side="right"))
        raise InputError(f"{table.path} {table.place(row)}: an id must not be empty; check the delimiter")
    users = pc.utf8_trim_whitespace(tokens.take(pa.array(starts))).to_numpy(zero_copy_only=False)
    ids, first = np.unique(users.astype(str), return_index=True)
    if len(ids) < len(starts):
        row = int(np.setdiff1d(np.arange(len(starts)), first)[0])
        raise InputError(f"{table.path} {table.place(row)}: one line per user expected; this user has an earlier line")
    return starts
