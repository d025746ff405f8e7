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
        derived: whether a result of another key may be made anew, as tables may that take little time.

    Raises:
        InputError: the folder holds the finished result of another key and is not derived, or a file it lists is
            missing or changed.
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
    for name, expected in done["files"].items():
        path = folder / name
        if not path.exists() or hash_file(path) != expected:
            raise InputError(f"{path} is missing or was changed after it was written; delete {folder} to make it again")
    return True


def file_hash_of(folder: Path, name: str) -> str:
    """Returns the stored hash of one file of a finished stage, for stages that depend on it."""
    return read_json(folder / DONE)["files"][name]


def with_defaults(old: Any, defaults: Any) -> Any:
    """Returns plain values with the keys that they lack taken from `defaults`, at every level.

    >>> with_defaults({"a": {"b": 1}}, {"a": {"b": 2, "c": 3}, "d": 4})
    {'a': {'b': 1, 'c': 3}, 'd': 4}
    """
    if not (isinstance(old, dict) and isinstance(defaults, dict)):
        return old
    found = {name: with_defaults(value, defaults.get(name)) for name, value in old.items()}
    return found | {name: value for name, value in defaults.items() if name not in found}


def differing_keys(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Returns the dotted names of the keys whose plain values differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [prefix]
    names = [*old, *(name for name in new if name not in old)]
    found = [differing_keys(old.get(name), new.get(name), f"{prefix}.{name}" if prefix else name) for name in names]
    return [name for part in found for name in part]
