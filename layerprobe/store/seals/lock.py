"""One writer per folder: a second run in the same folder is refused before it touches anything."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from layerprobe.errors import InputError
from layerprobe.store.atomic import make_folder

if sys.platform != "win32":
    import fcntl

BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
UNKNOWN = (errno.ENOLCK, errno.ENOTSUP, errno.EBADF, errno.EINVAL, errno.ENOSYS)
"""What file systems without locks answer, some network drives among them."""


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Holds a folder for this process until the block ends; makes it where it is missing, and leaves no empty one.

    The lock is on the folder itself and ends with the process, however it ends, so none is ever left behind. On Windows
    and on file systems without locks nothing is held.

    Raises:
        InputError: another run holds it, or it cannot be made.
    """
    made = [part for part in (folder, *folder.parents) if not part.exists()]
    make_folder(folder)
    try:
        if sys.platform == "win32":
            yield
            return
        handle = os.open(folder, os.O_RDONLY)
        try:
            _lock(handle, folder)
            yield
        finally:
            os.close(handle)
    finally:
        for part in made:
            if not part.is_dir() or any(part.iterdir()):
                break
            part.rmdir()


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in BUSY:
            raise InputError(
                f"another run is writing to {folder}: wait until it has ended, or choose another --out; nothing was "
                "changed"
            ) from error
        if error.errno not in UNKNOWN:
            raise
