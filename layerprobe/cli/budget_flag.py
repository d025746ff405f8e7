"""`--budget latency_ms=5,parameters=200000`: the short form of the study's keys `budget.latency_ms` and so on."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from layerprobe.errors import InputError

KINDS = {"latency_ms": (float, "a number"), "parameters": (int, "a whole number")}


def budget_flags(texts: Sequence[str]) -> list[str]:
    """Returns the flags of the study's keys that the short forms stand for.

    Raises:
        InputError: a part is not `name=value`, names no limit or one twice, or its value is no number.

    >>> budget_flags(["latency_ms=5,parameters=200000"])
    ['--budget.latency_ms=5.0', '--budget.parameters=200000']
    """
    flags: dict[str, str] = {}
    for part in ",".join(texts).split(",") if texts else []:
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name not in KINDS:
            raise InputError(
                f"--budget takes latency_ms=NUMBER, parameters=NUMBER or both with a comma; got {part.strip()!r}"
            )
        if name in flags:
            raise InputError(f"--budget must name each limit once; got {name} twice")
        flags[name] = f"--budget.{name}={_number(name, value)}"
    return list(flags.values())


def _number(name: str, value: str) -> float:
    read, called = KINDS[name]
    try:
        number = read(value)
    except ValueError as error:
        raise InputError(f"--budget {name} must be {called}; got {value!r}") from error
    if not isfinite(number):
        raise InputError(f"--budget {name} must be {called}; got {value!r}")
    return number
