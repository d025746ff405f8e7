"""Which values an option takes, declared beside its field: `epochs: Annotated[int, Range(1, 100_000)]`.

One declaration serves the check of Python calls (`arguments.checked`), of YAML and flags (`study.parser`), the help and
the tests, which make bad values from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Any, get_args, get_origin

MOST_ENTRIES = 1000
"""Entries of a list that an option takes."""
MOST_LETTERS = 4096
"""Letters of a text: as many as a path may have."""
LONGEST_NAME = 255
"""Bytes of a file name on every usual file system."""


@dataclass(frozen=True)
class Range:
    """Finite numbers between two bounds; of a list, every number in it.

    Attributes:
        low: the lower bound.
        high: the upper bound.
        above: whether `low` itself is left out.
        below: whether `high` itself is left out.

    >>> Range(0, 1, below=True).problem(1.0), Range(1, 100_000).problem(0), Range(1, 5).problem(3)
    ('must lie in [0, 1)', 'must be at least 1', None)
    """

    low: float
    high: float
    above: bool = False
    below: bool = False

    def holds(self, number: float) -> bool:
        """Tells whether a number lies within; NaN never does."""
        over = number > self.low if self.above else number >= self.low
        return over and (number < self.high if self.below else number <= self.high)

    def problem(self, number: float) -> str | None:
        """Returns what is wrong with a number, such as `must be at least 1`; None where nothing is."""
        if self.holds(number):
            return None
        if self._is_share and self.above and self.below:
            return f"must lie between {_number(self.low)} and {_number(self.high)}"
        if self._is_share or number != number:  # noqa: PLR0124 - NaN alone differs from itself
            return f"must lie in {self}"
        if number > self.low:
            return f"must be {'below' if self.below else 'at most'} {_number(self.high)}"
        return f"must be {'above' if self.above else 'at least'} {_number(self.low)}"

    @property
    def _is_share(self) -> bool:
        return self.low >= 0 and self.high <= 1

    def __str__(self) -> str:
        ends = f"{'(' if self.above else '['}%s, %s{')' if self.below else ']'}"
        return ends % (_number(self.low), _number(self.high))


@dataclass(frozen=True)
class Text:
    """Texts of a length, without the character NUL, which no file name and no YAML takes.

    Attributes:
        least: fewest letters.
        most: most letters.
        is_path: whether it names a file, so that no name in it may be longer than file systems allow.
    """

    least: int = 0
    most: int = MOST_LETTERS
    is_path: bool = False

    def problem(self, text: str) -> str | None:
        """Returns what is wrong with a text; None where nothing is."""
        if len(text) < self.least:
            return "must not be empty" if self.least == 1 else f"must have at least {self.least} letters"
        if len(text) > self.most:
            return f"must have at most {self.most:,} letters"
        if "\0" in text:
            return "must not hold the character NUL"
        # What was not UTF-8 on the command line comes as lone surrogates, which no file can hold.
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            return "must be UTF-8"
        if self.is_path and any(len(name.encode()) > LONGEST_NAME for name in text.replace("\\", "/").split("/")):
            return f"must have names of at most {LONGEST_NAME} bytes between its slashes"
        return None

    def __str__(self) -> str:
        return f"{self.least} to {self.most:,} letters"


SEED = Range(0, 10**12)
"""Seeds; a training multiplies its own by a million and adds the step, and torch takes 63 bits."""
SHARE = Range(0, 1, above=True, below=True)
"""Shares of which neither none nor all makes sense, such as an error level."""
LEVEL = Range(1e-12, 1, below=True)
"""Error levels; below the lowest, the quantiles of Student's t overflow."""
DROPOUT = Range(0, 1, below=True)
"""Dropout."""
ANY_TEXT = Text()
"""What holds for a text whose field says nothing."""
SET_TEXT = Text(least=1)
"""A text that says something."""
PATH = Text(least=1, is_path=True)
"""A path."""


def parted(hint: Any) -> tuple[Any, Range | Text | None]:
    """Returns a field's bare type and its declared limit.

    >>> parted(Annotated[int, Range(1, 5)])
    (<class 'int'>, Range(low=1, high=5, above=False, below=False))
    """
    if get_origin(hint) is not Annotated:
        return hint, None
    bare, *notes = get_args(hint)
    return bare, next((note for note in notes if isinstance(note, (Range, Text))), None)


def limit_problem(value: Any, limit: Range | Text | None) -> tuple[str, Any] | None:
    """Returns what is wrong with the first number, text or list in a value, and that value; None where all are right.

    Args:
        value: of the right type already.
        limit: the field's own; every number must be finite and every text possible in any case.
    """
    for leaf in _leaves(value):
        if isinstance(leaf, str):
            problem = (limit if isinstance(limit, Text) else ANY_TEXT).problem(leaf)
        elif isinstance(leaf, (int, float)):
            problem = limit.problem(leaf) if isinstance(limit, Range) else _not_finite(leaf)
        else:
            problem = None if len(leaf) <= MOST_ENTRIES else f"must have at most {MOST_ENTRIES:,} entries"
        if problem is not None:
            return problem, leaf
    return None


def _leaves(value: Any) -> Iterator[Any]:
    """Yields every number, text and list in a value; of lists themselves before what they hold."""
    if isinstance(value, (list, tuple)):
        yield value
        for one in value:
            yield from _leaves(one)
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from (*_leaves(name), *_leaves(one))
    elif isinstance(value, (int, float, str)) and not isinstance(value, bool):
        yield value


def _not_finite(number: float) -> str | None:
    return None if isinstance(number, int) or isfinite(number) else "must be finite"


def _number(value: float) -> str:
    """Returns a bound as people write it: digits in groups, powers from 10^12."""
    if abs(value) == 2**63 or value == 2**63 - 1:
        return ("-" if value < 0 else "") + "2^63" + (" - 1" if value == 2**63 - 1 else "")
    if isinstance(value, int) and abs(value) >= 10**12 and set(str(abs(value))[1:]) == {"0"}:
        return f"10^{len(str(abs(value))) - 1}" if value > 0 else f"-10^{len(str(-value)) - 1}"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
