"""`TimeCuts`: the two moments at which a log is cut into training, validation and test.

Takes the times of a log and `SplitOptions`, hands on whole numbers in the log's own unit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import numpy as np

from layerprobe.data.times.options import GLOBAL_TIME, NewUsers, SplitOptions, Target
from layerprobe.errors import InputError

YEAR_1980, YEAR_2100 = 315_532_800, 4_102_444_800
"""In seconds since 1970. Times that all lie between are taken for seconds; a thousand times that, for milliseconds."""
TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Ticks per second of the units that calendar times are written in."""
DATE = re.compile(r"\d{4}-\d\d-\d\d([T ].+)?")
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class TimeCuts:
    """Where a log is cut, and which items behind a cut are targets.

    Attributes:
        valid: rows before this time are for training.
        test: rows from `valid` to before this time are for validation, the others for test.
        target: as `SplitOptions.target`.
        no_history: as `SplitOptions.no_history`.
    """

    valid: int
    test: int
    target: Target = "last"
    no_history: NewUsers = "drop"

    def __post_init__(self) -> None:
        if self.valid >= self.test:
            raise InputError(f"split.valid_cut must lie before split.cut; got the times {self.valid} and {self.test}")


def time_cuts(times: np.ndarray, options: SplitOptions) -> TimeCuts:
    """Returns the moments that the options stand for in a log.

    A share q is the time of row floor(q n) of the n rows by time: at most that share of the rows lies before it.

    Args:
        times: of all rows that are kept, any order, at least one.
        options: of kind `global-time`.

    Raises:
        InputError: a cut lies outside the log or is a date in a log without dates, or the cuts are not in order.
    """
    valid, test = (_moment(name, getattr(options, name), times) for name in ("valid_cut", "cut"))
    if valid >= test:
        unit = calendar_unit(times)
        raise InputError(
            f"split.valid_cut must lie before split.cut; got {in_words(valid, unit)} ({options.valid_cut}) and "
            f"{in_words(test, unit)} ({options.cut})"
        )
    return TimeCuts(valid, test, options.target, options.no_history)


def calendar_unit(times: np.ndarray) -> str:
    """Returns `s`, `ms`, `us` or `ns` where all times lie between the years 1980 and 2100 in that unit, else "".

    >>> calendar_unit(np.array([881250949, 893286638])), calendar_unit(np.array([0, 1, 2]))
    ('s', '')
    """
    for unit, ticks in TICKS.items():  # the ranges do not overlap, so the order does not matter
        if YEAR_1980 * ticks <= times.min() and times.max() <= YEAR_2100 * ticks:
            return unit
    return ""


def in_words(time: int, unit: str) -> str:
    """Returns a time as a date (UTC), or as a number where its unit is not known.

    >>> in_words(1398902400, "s"), in_words(1398902461, "s"), in_words(7, "")
    ('2014-05-01', '2014-05-01 00:01:01 UTC', 'time 7')
    """
    if not unit:
        return f"time {time}"
    seconds, rest = divmod(time, TICKS[unit])
    moment = EPOCH + timedelta(seconds=seconds)
    if rest == 0 and seconds % 86400 == 0:
        return f"{moment:%Y-%m-%d}"
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _moment(name: str, value: int | float | str, times: np.ndarray) -> int:
    if isinstance(value, float):
        ordered = np.partition(times, position := int(value * len(times)))
        return int(ordered[position])
    unit = calendar_unit(times)
    first, last = in_words(int(times.min()), unit), in_words(int(times.max()), unit)
    if isinstance(value, str) and not unit:
        raise InputError(
            f"split.{name} is a date, {value!r}, and the times of this log are none (they go from {times.min()} to "
            f"{times.max()}): give a share such as 0.9, or a whole number in the unit of the times"
        )
    moment = _parsed(name, value) * TICKS[unit] // TICKS["us"] if isinstance(value, str) else value
    if not times.min() < moment <= times.max():
        raise InputError(f"split.{name} must lie inside the log, which goes from {first} to {last}; got {value}")
    return moment


def _parsed(name: str, value: str) -> int:
    """Returns microseconds since 1970."""
    try:
        if DATE.fullmatch(value) is None:
            raise ValueError
        moment = datetime.fromisoformat(re.sub("Z$", "+00:00", value))
    except ValueError as error:
        raise InputError(
            f"split.{name} must be a date such as 2014-05-01 or 2014-05-01T00:00:00Z, a share between 0 and 1, or a "
            f"whole number in the unit of the log's times; got {value!r}"
        ) from error
    aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return (aware - EPOCH) // timedelta(microseconds=1)


def shared_clock(times: np.ndarray | None, offsets: np.ndarray) -> np.ndarray | None:
    """Returns the times where they tell which of two users came first, else None.

    Many public files have no times and number a user's rows instead, from 0 or 1. Such times are of no calendar, and
    most users begin at the earliest of them.

    Args:
        times: of each row, grouped by user; None where the log has none.
        offsets: where each user's rows begin, and the end of the last.

    >>> shared_clock(np.array([1, 2, 3, 1, 2]), np.array([0, 3, 5])) is None
    True
    """
    if times is None or calendar_unit(times):
        return times
    return None if 2 * np.count_nonzero(times[offsets[:-1]] == times.min()) >= len(offsets) - 1 else times


def require_times(times: np.ndarray | None, user: np.ndarray) -> np.ndarray:
    """Returns the times of a log that can be cut by time.

    Args:
        times: of each row; None where the log has none.
        user: codes of each row, grouped.

    Raises:
        InputError: there are no times or only places in each user's order, or a user's rows are not in order of time.
    """
    starts = np.flatnonzero(np.r_[True, user[1:] != user[:-1]])
    known = shared_clock(times, np.r_[starts, len(user)])
    if known is None:
        got = "none" if times is None else "numbers that begin anew with every user, an order only"
        raise InputError(
            f"split.kind {GLOBAL_TIME} needs timestamps that all users share; the log has {got}: name its time column "
            "(read.timestamp_column) or use split.kind leave-one-out"
        )
    if np.any((known[1:] < known[:-1]) & (user[1:] == user[:-1])):
        raise InputError(
            f"split.kind {GLOBAL_TIME} needs every user's rows in the order of time; a row is older than the one "
            "before it: set order.by time"
        )
    return known
