"""`Split`: which rows are for training, and the validation and test targets with their histories.

Leave-one-out, the default: the last item of a user is the test target, the one before it the validation target. A model
can then see, through other users, interactions that happened after the target (`data.times.leak` measures how many).
With `TimeCuts` two moments part the log for all users: nothing behind the first is seen in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from layerprobe.arguments import require_choice
from layerprobe.data.sequences import Sequences
from layerprobe.data.times.cuts import TimeCuts
from layerprobe.data.times.options import GLOBAL_TIME, LEAVE_ONE_OUT
from layerprobe.errors import InputError

Part = Literal["valid", "test"]
PARTS: tuple[Part, ...] = ("valid", "test")
N_HELD_OUT = 2
MIN_EVALUATED = 3


@dataclass(frozen=True, eq=False)
class Queries:
    """Held-out targets, ascending by user and then by place. Leave-one-out has one per evaluated user.

    Attributes:
        users: row of the user in `Sequences`, shape (n_queries,).
        starts, ends: the history is `sequences.items[starts : ends]`; it is never empty.
        targets: catalogue index of the held-out item, `sequences.items[ends]`.
    """

    users: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.users)

    def newest(self) -> Queries:
        """Returns each user's last query alone."""
        last = np.flatnonzero(np.r_[self.users[1:] != self.users[:-1], True])
        return Queries(self.users[last], self.starts[last], self.ends[last], self.targets[last])


@dataclass(frozen=True, eq=False)
class Split:
    """Leave-one-out over `sequences`, or a split by time where there are `cuts`.

    In leave-one-out, users with fewer than 3 items are not evaluated; all their items are training items. In a split by
    time the users of validation, of test and of training may differ.

    Raises:
        InputError: no user has 3 items; or nothing is left to be a target behind a cut.
    """

    sequences: Sequences
    asked: np.ndarray | None = None
    """Rows of the users whose targets are asked for, ascending; None asks for all. Training stays as it is, and so do
    the draws of the sampled protocol, which therefore cannot be ranked for some users alone."""
    times: np.ndarray | None = None
    """Time of every item of `sequences`, int64; None where the log has none."""
    cuts: TimeCuts | None = None
    """Where time parts the log; None is leave-one-out."""

    def __post_init__(self) -> None:
        if self.times is not None and len(self.times) != len(self.sequences.items):
            raise InputError(f"times must be {len(self.sequences.items)}, one per item; got {len(self.times)}")
        if self.cuts is not None:
            self._require_targets()
        elif not np.any(self.sequences.lengths >= MIN_EVALUATED):
            raise InputError(
                f"leave-one-out needs a user with at least {MIN_EVALUATED} interactions (train, valid, test); "
                f"the longest of {self.sequences.n_users} users has {self.sequences.lengths.max()}"
            )

    @property
    def kind(self) -> str:
        """`leave-one-out` or `global-time`, as in `SplitOptions`."""
        return LEAVE_ONE_OUT if self.cuts is None else GLOBAL_TIME

    @cached_property
    def evaluated(self) -> np.ndarray:
        """Rows of the users that have a test target, ascending, whoever is asked for."""
        if self.cuts is not None:
            return np.unique(self._behind("test").users)
        return np.flatnonzero(self.sequences.lengths >= MIN_EVALUATED)

    @cached_property
    def train_ends(self) -> np.ndarray:
        """User u trains on `items[offsets[u] : train_ends[u]]`, shape (n_users,)."""
        if self.cuts is not None:
            return self._first_at(self.cuts.valid)
        held_out = np.where(self.sequences.lengths >= MIN_EVALUATED, N_HELD_OUT, 0)  # short users train on everything
        return self.sequences.offsets[1:] - held_out

    def queries(self, part: Part) -> Queries:
        """Returns the validation or test questions; the test history includes the validation items."""
        require_choice("part", part, PARTS)
        if part not in self._queries:
            self._queries[part] = self._at_end(part) if self.cuts is None else self._asked(self._behind(part))
        return self._queries[part]

    def users(self, part: Part) -> np.ndarray:
        """Returns the rows of the users that have a target of this part, ascending."""
        return self.queries(part).newest().users

    def train_mask(self) -> np.ndarray:
        """Boolean over `sequences.items`: True where the row is a training item."""
        positions = np.arange(len(self.sequences.items))  # [rows]
        return positions < np.repeat(self.train_ends, self.sequences.lengths)

    def train_counts(self) -> np.ndarray:
        """Training occurrences of each catalogue index, shape (n_items + 1,); entry 0 (padding) is 0."""
        return self._train_counts

    def new_users(self, part: Part) -> np.ndarray:
        """Returns the rows of the users whose first item lies in this part of a split by time, ascending."""
        start, end = self._stretches(part)
        return np.flatnonzero((start == self.sequences.offsets[:-1]) & (end > start))

    @cached_property
    def _train_counts(self) -> np.ndarray:
        return np.bincount(self.sequences.items[self.train_mask()], minlength=self.sequences.n_items + 1)

    @cached_property
    def _queries(self) -> dict[Part, Queries]:
        return {}

    def _at_end(self, part: Part) -> Queries:
        users = self.evaluated if self.asked is None else self.asked
        ends = self.sequences.offsets[users + 1] - (1 if part == "test" else 2)
        return Queries(users=users, starts=self.sequences.offsets[users], ends=ends, targets=self.sequences.items[ends])

    def _behind(self, part: Part) -> Queries:
        """Returns the questions of all users behind a cut."""
        assert self.cuts is not None
        first, end = self._stretches(part)
        is_new = first == self.sequences.offsets[:-1]
        if self.cuts.no_history == "keep":
            first, is_new = first + is_new, np.zeros_like(is_new)  # a first item has no history and is no target
        users = np.flatnonzero((end > first) & ~is_new)
        first, end = first[users], end[users]
        if self.cuts.target == "last":
            ends = end - 1
        elif self.cuts.target == "first":
            ends = first
        else:
            n_targets = end - first
            users = np.repeat(users, n_targets)
            within = np.arange(len(users)) - np.repeat(np.cumsum(n_targets) - n_targets, n_targets)
            ends = np.repeat(first, n_targets) + within
        return Queries(users, self.sequences.offsets[users], ends, self.sequences.items[ends])

    def _asked(self, queries: Queries) -> Queries:
        if self.asked is None:
            return queries
        kept = np.isin(queries.users, self.asked)
        return Queries(queries.users[kept], queries.starts[kept], queries.ends[kept], queries.targets[kept])

    def _stretches(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """Returns where each user's rows of a part begin and end, shape (n_users,) each."""
        assert self.cuts is not None
        test = self._first_at(self.cuts.test)
        return (self.train_ends, test) if part == "valid" else (test, self.sequences.offsets[1:])

    def _first_at(self, moment: int) -> np.ndarray:
        """Returns the place of each user's first row that is not before a moment, shape (n_users,)."""
        assert self.times is not None
        before = np.concatenate([[0], np.cumsum(self.times < moment)])  # a user's rows are in the order of time
        offsets = self.sequences.offsets
        return offsets[:-1] + before[offsets[1:]] - before[offsets[:-1]]

    def _require_targets(self) -> None:
        if self.times is None:
            raise InputError("a split by time needs the time of every item; got none")
        names: dict[Part, str] = {"valid": "validation", "test": "test"}
        for part, name in names.items():
            if not len(self._behind(part)):
                start, end = self._stretches(part)
                raise InputError(
                    f"the split leaves no {name} target: of {np.count_nonzero(end > start)} users with items there "
                    "none has an item before them; move split.cut and split.valid_cut, or set split.no_history keep"
                )
