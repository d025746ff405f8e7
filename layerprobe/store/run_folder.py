"""Done markers: `done.json` is a stage's last file and tells whether it may be skipped.

It holds the hash of everything the stage's result depends on and the hash of every file the stage wrote.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from layerprobe.errors import InputError
from layerprobe.store.seals.hashes import hash_file, known_hash
from layerprobe.store.seals.seal import DONE, hash_value, read_seal, require_whole, write_plain, write_seal

__all__ = [
    "ABSENT",
    "DONE",
    "add_file",
    "differing_keys",
    "drop_file",
    "file_hash_of",
    "hash_file",
    "hash_value",
    "is_done",
    "mark_done",
    "replaced_of",
    "require_unchanged",
]

ABSENT = object()
"""The value of a missing key: equal to no value, not even null."""


def mark_done(folder: Path, key: str, files: Iterable[Path], replaced: Iterable[str] = ()) -> None:
    """Writes `done.json` into `folder`: the stage's `key`, and hash and size of each of its `files`."""
    write_seal(folder / DONE, key, files, replaced)


def add_file(folder: Path, name: str) -> None:
    """Adds a file that was written later to the record of a finished folder; does nothing where it is there."""
    seal, path = read_seal(folder / DONE), folder / name
    if name not in seal.files:
        files, sizes = seal.files | {name: known_hash(path)}, seal.sizes | {name: path.stat().st_size}
        write_plain(folder / DONE, replace(seal, files=dict(sorted(files.items())), sizes=sizes))


def drop_file(folder: Path, name: str) -> None:
    """Drops a file from the record of a finished folder, since it is to be made again."""
    seal = read_seal(folder / DONE)
    kept = {other: value for other, value in seal.files.items() if other != name}
    write_plain(folder / DONE, replace(seal, files=kept))


def replaced_of(folder: Path) -> tuple[str, ...]:
    """Returns the hashes of weights that a folder held before they were damaged and trained again."""
    return read_seal(folder / DONE).replaced if (folder / DONE).exists() else ()


def is_done(folder: Path, key: str, derived: bool = False) -> bool:
    """Tells whether `folder` holds the finished result for `key`.

    Args:
        folder: where the stage writes.
        key: hash of everything its result depends on.
        derived: whether a result of another key may be computed again: True for tables, which take little time.

    Raises:
        InputError: the folder holds the finished result of another key and is not derived, or a file that
            `done.json` lists is missing or changed.
    """
    marker = folder / DONE
    if not marker.exists():
        return False
    found = read_seal(marker).key
    if found != key:
        if derived or not found:  # without a key it is no stage's result: `prepare` was cut off before the stage ended
            return False
        raise InputError(
            f"{folder} holds a finished result of another specification (key {found[:12]}, now {key[:12]}); "
            "nothing is overwritten: choose another --out or delete that folder"
        )
    require_unchanged(folder)
    return True


def require_unchanged(folder: Path) -> None:
    """Makes sure that the files of a finished folder are those that were written.

    Raises:
        InputError: a file that `done.json` lists is missing or changed.
    """
    require_whole(folder / DONE, f"run the study, which makes it again, or delete {folder}")


def file_hash_of(folder: Path, name: str) -> str:
    """Returns the stored hash of one file of a finished stage, for stages that depend on it.

    Raises:
        InputError: the folder is not finished, or its record is damaged or lacks the file.
    """
    files = read_seal(folder / DONE).files
    if name not in files:
        raise InputError(f"{folder / DONE} must record {name}; it does not: delete {folder} to make it again")
    return files[name]


def differing_keys(old: Any, new: Any, defaults: Any = None, prefix: str = "") -> list[str]:
    """Returns the dotted names of the keys whose plain values differ.

    Options are added from version to version, and an older version behaved as a newer one does with the new option at
    its default. So a key that only `new` has differs only where its value is not the default. A key that only `old`
    has always differs.

    Args:
        old: values stored in a folder, perhaps by an older version.
        new: values of this run.
        defaults: defaults of the options as plain values; it may hold keys that neither side has.
        prefix: dotted name of what is compared.

    >>> differing_keys({"a": {"b": 1}}, {"a": {"b": 1, "c": 3}, "d": 4}, {"a": {"b": 2, "c": 3}, "d": 5})
    ['d']
    """
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [prefix]
    defaults = defaults if isinstance(defaults, dict) else {}
    differing = []
    for name in [*old, *(name for name in new if name not in old)]:
        before = old[name] if name in old else defaults.get(name, ABSENT)
        dotted = f"{prefix}.{name}" if prefix else name
        differing += differing_keys(before, new.get(name, ABSENT), defaults.get(name), dotted)
    return differing
