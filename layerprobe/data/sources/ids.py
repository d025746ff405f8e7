"""Ids as codes: trimmed, numbered by first appearance, and looked over for ids that are written in two ways."""

# pyright: reportAttributeAccessIssue=false
# Arrow makes its compute functions at import time, so no type checker sees them.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

PADDED = r"^0[0-9]|\.0*$"
NUMBER = r"^0*([0-9]+?)(?:\.0*)?$"
"""A whole number in any spelling; its group is the plain one."""


@dataclass(frozen=True, eq=False)
class Coded:
    """A column of ids.

    Attributes:
        codes: int64 [rows], into `ids`.
        ids: texts in the order of their first row, without spaces around them.
        notes: what a reader should know of the ids, one sentence each.
    """

    codes: np.ndarray
    ids: np.ndarray
    notes: tuple[str, ...]


def coded(column: pa.ChunkedArray, kind: str) -> Coded:
    """Codes ids by first appearance; only distinct texts are looked at, so that long columns are fast.

    Args:
        column: strings without nulls.
        kind: what a note calls them: `user` or `item`.
    """
    found = column.dictionary_encode().combine_chunks()
    codes, texts = found.indices, found.dictionary
    cut = pc.utf8_trim_whitespace(texts)
    n_cut = pc.sum(pc.not_equal(cut, texts)).as_py() or 0
    notes = []
    if n_cut:
        again = cut.dictionary_encode()
        codes, texts = again.indices.take(codes), again.dictionary
        notes.append(f"{n_cut:,} {kind} ids had spaces around them, which were cut off")
    notes += _alike(texts, kind)
    ids = texts.to_numpy(zero_copy_only=False).astype(object)
    return Coded(codes.to_numpy(zero_copy_only=False).astype(np.int64), ids, tuple(notes))


def _alike(texts: pa.Array, kind: str) -> list[str]:
    """Returns a note on ids that are the same number but for `.0` or leading zeros, if there are any."""
    if not pc.any(pc.match_substring_regex(texts, PADDED)).as_py():
        return []
    plain = pd.Series(pc.replace_substring_regex(texts, NUMBER, r"\1").to_pylist(), dtype=object)
    shared = plain[plain.duplicated(keep=False)]
    if shared.empty:
        return []
    group = shared.index[shared == shared.iloc[0]][:3]
    such = ", ".join(repr(texts[int(place)].as_py()[:40]) for place in group)
    return [
        f"{len(shared):,} {kind} ids are the same as another but for '.0' or leading zeros, such as {such}; they count "
        f"as different {kind}s: write every id in one way"
    ]
