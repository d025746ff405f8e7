"""`Interactions`: which user interacted with which item, and when. Readers make it, preprocessing steps filter it.

Users and items are integer codes into id arrays, so every later step is array arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.errors import InputError


@dataclass(frozen=True, eq=False)
class Interactions:
    """A validated log, one row per interaction, rows in file order.

    Attributes:
        user: int64 codes into `user_ids`, shape (rows,).
        item: int64 codes into `item_ids`, shape (rows,).
        timestamp: int64, any unit, larger is later; None where the source has no times and the file order is declared.
        rating: float64, or None where the source has no ratings.
        user_ids: raw ids as strings, in order of first appearance.
        item_ids: raw ids as strings, in order of first appearance.
        place: row position -> the words a message uses for it, such as "line 7"; None where the rows are not those of
            a file.

    Raises:
        InputError: lengths differ, a code lies outside its id array, or there is no row.
    """

    user: np.ndarray
    item: np.ndarray
    timestamp: np.ndarray | None
    rating: np.ndarray | None
    user_ids: np.ndarray
    item_ids: np.ndarray
    place: Callable[[int], str] | None = None

    def __post_init__(self) -> None:
        n_rows = len(self.user)
        if n_rows == 0:
            raise InputError("interactions must hold at least one row; got none")
        for name in ("item", "timestamp", "rating"):
            values = getattr(self, name)
            if values is not None and len(values) != n_rows:
                raise InputError(f"every column must have {n_rows} rows; {name} has {len(values)}")
        for name, codes, ids in (("user", self.user, self.user_ids), ("item", self.item, self.item_ids)):
            if codes.min() < 0 or codes.max() >= len(ids):
                raise InputError(f"{name} codes must lie in [0, {len(ids)}); got {codes.min()} to {codes.max()}")

    def __len__(self) -> int:
        return len(self.user)

    @property
    def n_users(self) -> int:
        """Number of users that have at least one row."""
        return len(np.unique(self.user))

    @property
    def n_items(self) -> int:
        """Number of items that have at least one row."""
        return len(np.unique(self.item))

    def place_of(self, row: int) -> str:
        """Returns where a row comes from: its line or row in the file, else its number in the log."""
        return f"row {row + 1:,} of the log" if self.place is None else self.place(row)

    def take(self, rows: np.ndarray) -> Interactions:
        """Returns the rows given by a boolean mask or by positions; ids and codes stay, places do not."""
        return Interactions(
            user=self.user[rows],
            item=self.item[rows],
            timestamp=None if self.timestamp is None else self.timestamp[rows],
            rating=None if self.rating is None else self.rating[rows],
            user_ids=self.user_ids,
            item_ids=self.item_ids,
        )

    def to_frame(self) -> pd.DataFrame:
        """Returns the log as a table with raw ids; timestamp and rating only where they exist."""
        table = pd.DataFrame(
            {  # categories: codes and ids are used as they are, without one string per row
                columns.USER: pd.Categorical.from_codes(self.user, pd.Index(self.user_ids)),
                columns.ITEM: pd.Categorical.from_codes(self.item, pd.Index(self.item_ids)),
            }
        )
        if self.timestamp is not None:
            table[columns.TIMESTAMP] = self.timestamp
        if self.rating is not None:
            table[columns.RATING] = self.rating
        return table


def from_columns(
    user: pd.Series | np.ndarray,
    item: pd.Series | np.ndarray,
    timestamp: np.ndarray | None = None,
    rating: np.ndarray | None = None,
) -> Interactions:
    """Builds `Interactions` from columns of raw ids, which are read as strings and coded by first appearance."""
    user_codes, user_ids = pd.factorize(_as_text(user))
    item_codes, item_ids = pd.factorize(_as_text(item))
    return Interactions(
        user=user_codes.astype(np.int64),
        item=item_codes.astype(np.int64),
        timestamp=None if timestamp is None else np.asarray(timestamp, dtype=np.int64),
        rating=None if rating is None else np.asarray(rating, dtype=np.float64),
        user_ids=np.asarray(user_ids, dtype=object),
        item_ids=np.asarray(item_ids, dtype=object),
    )


def _as_text(values: pd.Series | np.ndarray) -> np.ndarray:
    return pd.Series(values).astype(str).to_numpy(dtype=object)
