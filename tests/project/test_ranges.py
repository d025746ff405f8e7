"""The ranges that options declare: what they hold, what they say, and that Python calls are checked by them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import pytest

from layerprobe.arguments import checked
from layerprobe.errors import InputError
from layerprobe.ranges import DROPOUT, SHARE, Range, Text


@dataclass(frozen=True)
@checked
class Options:
    count: Annotated[int, Range(1, 100_000)] = 1
    rates: Annotated[tuple[float, ...], Range(0, 1, below=True)] = (0.5,)
    limit: Annotated[float | None, Range(0, 10**12, above=True)] = None
    name: Annotated[str, Text(1, 5)] = "a"
    free: float = 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "Options.count must be at least 1; got 0"),
        ({"count": 100_001}, "Options.count must be at most 100,000; got 100001"),
        ({"count": 10**60}, "Options.count must be at most 100,000; got a number of more than 50 digits"),
        ({"count": 10**5000}, "Options.count must be at most 100,000; got a number of more than 50 digits"),
        ({"count": True}, "Options.count must be a whole number; got True"),
        ({"count": 1.0}, "Options.count must be a whole number; got 1.0"),
        ({"rates": (0.5, 1.0)}, "Options.rates must lie in [0, 1); got 1.0"),
        ({"rates": (math.nan,)}, "Options.rates must lie in [0, 1); got nan"),
        ({"rates": (0.5,) * 1001}, "Options.rates must have at most 1,000 entries; got a tuple"),
        ({"limit": 0.0}, "Options.limit must be above 0, or null; got 0.0"),
        ({"limit": math.inf}, "Options.limit must be at most 10^12, or null; got inf"),
        ({"limit": math.nan}, "Options.limit must lie in (0, 10^12], or null; got nan"),
        ({"name": ""}, "Options.name must not be empty; got ''"),
        ({"name": "abcdef"}, "Options.name must have at most 5 letters; got 'abcdef'"),
        ({"name": "a\0"}, "Options.name must not hold the character NUL; got 'a\\x00'"),
        ({"free": math.nan}, "Options.free must be finite; got nan"),
    ],
)
def test_a_value_outside_its_range_is_one_line(options: dict, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Options(**options)
    assert str(caught.value) == message


def test_the_ends_belong_to_a_range_unless_they_are_left_out() -> None:
    assert [Range(1, 5).holds(number) for number in (0, 1, 5, 6)] == [False, True, True, False]
    assert [SHARE.holds(number) for number in (0, 1e-300, 1 - 1e-9, 1)] == [False, True, True, False]
    assert [DROPOUT.holds(number) for number in (0, 1, math.nan)] == [True, False, False]


def test_a_path_has_no_name_longer_than_a_file_system_takes() -> None:
    path = Text(1, is_path=True)
    assert path.problem("x" * 255 + "/" + "y" * 255) is None
    assert path.problem("x" * 256) == "must have names of at most 255 bytes between its slashes"
    assert path.problem("é" * 128) == "must have names of at most 255 bytes between its slashes"  # 2 bytes each
    assert path.problem("a\udcff") == "must be UTF-8"
