"""The door of a data folder: its files are those that were written, or the folder is refused in one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from layerprobe.errors import InputError
from layerprobe.store.seals.seal import DONE, require_whole, write_seal

AGAIN = "prepare the folder again, or run the study it belongs to"


def seal_data(folder: Path, names: Iterable[str]) -> None:
    """Writes the hashes of a data folder's files. They belong to no stage: a stage writes its own when it has ended."""
    write_seal(folder / DONE, "", [folder / name for name in names])


def require_unchanged(folder: Path) -> None:
    """Makes sure that the files of a data folder are those that were written; one without hashes passes.

    Raises:
        InputError: one is missing or changed; the message names it.
    """
    require_whole(folder / DONE, AGAIN)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turns what libraries raise on a damaged file of a folder without hashes into one line.

    Raises:
        InputError: a file cannot be read.
    """
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, IndexError, SafetensorError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise InputError(f"a file of the data folder {folder} is damaged ({reason}); {AGAIN}") from error
