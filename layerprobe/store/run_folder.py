"""Done markers: `done.json` is a stage's last file and tells whether it may be skipped.

It holds the hash of everything the stage's result depends on and the hash of every file the stage wrote.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from layerprobe.errors import InputError
from layerprobe.store.atomic import read_json, write_json

DONE = "done.json"
ABSENT = object()
"""The value of a missing key: equal to no value, not even null."""


def hash_value(value: Any) -> str:
    """Returns the SHA-256 of `value` as canonical JSON: equal values give equal hashes on every machine."""
    text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def mark_done(folder: Path, key: str, files: Iterable[Path]) -> None:
    """Writes `done.json` into `folder`: the stage's `key` and the hash of each of its `files`."""
    hashes = {str(path.relative_to(folder)): hash_file(path) for path in sorted(files)}
    write_json(folder / DONE, {"key": key, "files": hashes})


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
    done = read_json(marker)
    if done["key"] != key:
        if derived:
            return False
        raise InputError(
            f"{folder} holds a finished result of another specification (key {done['key'][:12]}, now {key[:12]}); "
            "nothing is overwritten: choose another --out or delete that folder"
        )
    require_unchanged(folder)
    return True


def require_unchanged(folder: Path) -> None:
    """Makes sure that the files of a finished folder are those that were written.

    Raises:
        InputError: a file that `done.json` lists is missing or changed.
    """
    for name, expected in read_json(folder / DONE)["files"].items():
        path = folder / name
        if not path.exists() or hash_file(path) != expected:
            raise InputError(f"{path} is missing or was changed after it was written; delete {folder} to make it again")


def file_hash_of(folder: Path, name: str) -> str:
    """Returns the stored hash of one file of a finished stage, for stages that depend on it."""
    return read_json(folder / DONE)["files"][name]


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
