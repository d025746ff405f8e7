"""Progress of a long job as plain lines. Who calls decides where they go; nobody listening means silence."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[str], None]
"""Takes one line without its line end."""


def silent(_line: str) -> None:
    """Drops the line: the default of library functions."""


class Steps:
    """Says one line per finished step: what it left and the seconds it took."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._since = time.monotonic()

    def done(self, text: str) -> None:
        """Says that a step has ended; the next one begins now."""
        now = time.monotonic()
        self._progress(f"{text}, {now - self._since:.1f} s")
        self._since = now
