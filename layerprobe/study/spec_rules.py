"""Rules that several parts of a spec share."""

from __future__ import annotations

import re

from layerprobe.arguments import shown
from layerprobe.errors import InputError
from layerprobe.ranges import Text

NAME = Text(least=1, most=200)
"""A file name has at most 255 bytes, and what is half written has a longer one."""


def require_name(key: str, value: str) -> None:
    """A name becomes a folder, so it is letters, digits, dots, dashes and underscores, not starting with a dot."""
    problem = NAME.problem(value)
    if problem is not None:
        raise InputError(f"{key} {problem}; got {shown(value)}")
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", value):
        raise InputError(f"{key} must be letters, digits, '.', '-' and '_', not starting with '.'; got {shown(value)}")
