"""SIGTERM, as schedulers and containers send it: the command ends like one that Ctrl-C ends, in one line."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
"""Exit codes of a process that a signal ended, as shells report them: 130 and 143."""


class Terminated(BaseException):
    """SIGTERM came; like KeyboardInterrupt it is no error, and nothing but the command line catches it."""


@contextmanager
def terminating() -> Iterator[None]:
    """Raises `Terminated` in the main thread when SIGTERM comes; a second one ends the process at once.

    Unlike the end the system gives, this lets files in writing be removed and the folder be let go.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set what a signal does
        yield
        return
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise Terminated
