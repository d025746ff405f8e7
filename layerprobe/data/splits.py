"""`Split`: leave-one-out. The last item of a user is the test target, the one before it the validation target.

With this rule a model can see, through other users, interactions that happened after the target. It is the field's
usual rule and the paper's; it does not fully prevent a leak from the future.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from layerprobe.arguments import require_choice
from layerprobe.data.sequences import Sequences
from layerprobe.errors import InputError

Part = Literal["valid", "test"]
PARTS: tuple[Part, ...] = ("valid", "test")
N_HELD_OUT = 2
MIN_EVALUATED = 3


@dataclass(frozen=True, eq=False)
class Queries:
    """One held-out target per evaluated user.

    Attributes:
        users: row of the user in `Sequences`, shape (n_queries,).
        starts, ends: the history is `sequences.items[starts : ends]`; it is never empty.
        targets: catalogue index of the held-out item.
    """

    users: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True, eq=False)
class Split:
    """Leave-one-out over `sequences`.

    Users with fewer than 3 items are not evaluated; all their items are training items.

    Raises:
        InputError: no user has 3 items.
    """

    sequences: Sequences
    asked: np.ndarray | None = None
    """Rows of the evaluated users whose targets are asked for, ascending; None asks for all. Training stays as it is,
    and so do the draws of the sampled protocol, which therefore cannot be ranked for some users alone."""

    def __post_init__(self) -> None:
        if not np.any(self.sequences.lengths >= MIN_EVALUATED):
            raise InputError(
                f"leave-one-out needs a user with at least {MIN_EVALUATED} interactions (train, valid, test); "
                f"the longest of {self.sequences.n_users} users has {self.sequences.lengths.max()}"
            )

    @cached_property
    def evaluated(self) -> np.ndarray:
        """Rows of the users that have a validation and a test target, ascending."""
        return np.flatnonzero(self.sequences.lengths >= MIN_EVALUATED)

    @cached_property
    def train_ends(self) -> np.ndarray:
        """User u trains on `items[offsets[u] : train_ends[u]]`, shape (n_users,)."""
        held_out = np.where(self.sequences.lengths >= MIN_EVALUATED, N_HELD_OUT, 0)  # short users train on everything
        return self.sequences.offsets[1:] - held_out

    def queries(self, part: Part) -> Queries:
        """Returns the validation or test questions; the test history includes the validation item."""
        require_choice("part", part, PARTS)
        users = self.evaluated if self.asked is None else self.asked
        ends = self.sequences.offsets[users + 1] - (1 if part == "test" else 2)
        return Queries(users=users, starts=self.sequences.offsets[users], ends=ends, targets=self.sequences.items[ends])

    def train_mask(self) -> np.ndarray:
        """Boolean over `sequences.items`: True where the row is a training item."""
        positions = np.arange(len(self.sequences.items))  # [rows]
        return positions < np.repeat(self.train_ends, self.sequences.lengths)

    def train_counts(self) -> np.ndarray:
        """Training occurrences of each catalogue index, shape (n_items + 1,); entry 0 (padding) is 0."""
        return self._train_counts

    @cached_property
    def _train_counts(self) -> np.ndarray:
        return np.bincount(self.sequences.items[self.train_mask()], minlength=self.sequences.n_items + 1)
