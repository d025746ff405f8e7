"""From one list of items per user to a `RawLog` without times: the rows are ordered by nature."""

# pyright: reportAttributeAccessIssue=false
# Arrow makes its compute functions at import time, so no type checker sees them.

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from layerprobe.data.interactions import Interactions
from layerprobe.data.sources.ids import coded
from layerprobe.data.sources.raw import RawLog


def split_tokens(column: pa.ChunkedArray, delimiter: str | None = None) -> tuple[pa.Array, np.ndarray]:
    """Splits lines at a delimiter, or at runs of white space.

    Returns:
        All tokens one line after the other, and the number of tokens per line, int64 (0 for a blank line).
    """
    trimmed = pc.utf8_trim_whitespace(column).combine_chunks()
    is_blank = pc.equal(trimmed, "")
    # Null, not "": splitting an empty text gives one empty token.
    lines = pc.if_else(is_blank, pa.scalar(None, pa.string()), trimmed)
    lists = pc.utf8_split_whitespace(lines) if delimiter is None else pc.split_pattern(lines, delimiter)
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return lists.flatten(), lengths


def log_of_lists(users: pa.Array, items: pa.Array, lengths: np.ndarray, place: Callable[[int], str]) -> RawLog:
    """Gives user u the next `lengths[u]` of the items, in that order.

    Args:
        users: one id per list.
        items: the items of all lists, one list after the other.
        lengths: items per list.
        place: number of a list -> the words a message uses for it.
    """
    user, item = coded(pa.chunked_array([users]), "user"), coded(pa.chunked_array([items]), "item")
    ends = np.cumsum(lengths)
    log = Interactions(
        user=np.repeat(user.codes, lengths),
        item=item.codes,
        timestamp=None,
        rating=None,
        user_ids=user.ids,
        item_ids=item.ids,
        place=lambda row: place(int(np.searchsorted(ends, row, side="right"))),
    )
    return RawLog(log, None, ordered=True, notes=(*user.notes, *item.notes))
