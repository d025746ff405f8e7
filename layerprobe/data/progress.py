"""Progress of a long job as plain lines. The caller decides where they go; by default they are dropped."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[str], None]
"""Takes one line without its line end."""


def silent(_line: str) -> None:
    """Drops the line: the default of library functions."""


class Steps:
    """Reports one line per finished step: what it left and the seconds it took."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._since = time.monotonic()  # unlike time.time, it never jumps when the clock is set

    def done(self, text: str) -> None:
        """Reports that a step has ended; the next one begins now."""
        now = time.monotonic()
        self._progress(f"{text}, {now - self._since:.1f} s")
        self._since = now
