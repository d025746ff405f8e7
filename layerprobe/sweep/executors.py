"""The executor that a command names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from layerprobe import processes
from layerprobe.errors import InputError
from layerprobe.sweep.ray_executor import RayExecutor
from layerprobe.sweep.sweep import Executor, LocalExecutor


@contextmanager
def executor_named(name: str) -> Iterator[Executor]:
    """Yields the executor `local` or `ray`, connected, and disconnects it afterwards.

    Raises:
        InputError: Ray is not installed, no cluster can be reached, or several processes were launched.
    """
    if name == "local":
        yield LocalExecutor()
        return
    if processes.count() > 1:
        raise InputError(
            f"--executor ray trains each model in one process, and {processes.count()} were launched; leave the "
            "launcher or --executor ray out"
        )
    executor = RayExecutor.connect()
    try:
        yield executor
    finally:
        executor.close()
