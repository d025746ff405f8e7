"""Rules that several parts of a spec share."""

from __future__ import annotations

import re

from layerprobe.errors import InputError


def require_seeds(name: str, *seeds: int) -> None:
    """A seed is a whole number from 0."""
    if any(seed < 0 for seed in seeds):
        raise InputError(f"{name} must not be negative; got {min(seeds)}")


def require_name(key: str, value: str) -> None:
    """A name becomes a folder, so it is letters, digits, dots, dashes and underscores, not starting with a dot."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", value):
        raise InputError(f"{key} must be letters, digits, '.', '-' and '_', not starting with '.'; got {value!r}")
