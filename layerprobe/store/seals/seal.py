"""`Seal`: the record of a folder's files, by which a damaged one is found before it is read.

`done.json` is the last file of every folder that a stage, `prepare` or `export` writes; `files.json` in a study's own
folder is that of its tables. Both hold the hash and size of each file and a hash of themselves. A folder of a version
without them has nothing to compare with and is read as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerprobe.errors import InputError
from layerprobe.store.atomic import read_json, write_json
from layerprobe.store.seals.hashes import hash_file, known_hash

DONE = "done.json"
OWN = "sha256"
MISSING, CHANGED, UNREADABLE = "is missing", "was changed after it was written", "is damaged"


@dataclass(frozen=True)
class Seal:
    """What a record says.

    Attributes:
        key: hash of everything the result depends on; empty where it is the result of no stage.
        files: SHA-256 by path beside the record.
        sizes: bytes by path; empty in records of older versions.
        replaced: SHA-256 of files that stood here before and were made again since they were damaged.
    """

    key: str
    files: dict[str, str]
    sizes: dict[str, int]
    replaced: tuple[str, ...] = ()


class DamagedSeal(InputError):
    """A record cannot be read, or is not the one that was written."""


def hash_value(value: Any) -> str:
    """Returns the SHA-256 of `value` as canonical JSON: equal values give equal hashes on every machine."""
    text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write_seal(record: Path, key: str, files: Iterable[Path], replaced: Iterable[str] = ()) -> None:
    """Writes a record of files that lie beside it or below."""
    folder, paths = record.parent, sorted(files)
    names = [path.relative_to(folder).as_posix() for path in paths]
    hashes = dict(zip(names, map(known_hash, paths), strict=True))
    sizes = {name: path.stat().st_size for name, path in zip(names, paths, strict=True)}
    write_plain(record, Seal(key, hashes, sizes, tuple(replaced)))


def write_plain(record: Path, seal: Seal) -> None:
    """Writes a record as it is."""
    plain: dict[str, Any] = {"key": seal.key, "files": seal.files, "sizes": seal.sizes}
    plain |= {"replaced": list(seal.replaced)} if seal.replaced else {}
    write_json(record, plain | {OWN: hash_value(plain)})


def read_seal(record: Path) -> Seal:
    """Reads a record.

    Raises:
        DamagedSeal: it is no such record, or it was changed after it was written.
    """
    try:
        plain = read_json(record)
    except (OSError, ValueError) as error:
        raise DamagedSeal(f"{record} {UNREADABLE}") from error
    if not _is_record(plain):
        raise DamagedSeal(f"{record} {UNREADABLE}")
    own = plain.pop(OWN, None)  # absent in older versions; keys of newer ones are hashed with the rest
    if own is not None and own != hash_value(plain):
        raise DamagedSeal(f"{record} {CHANGED}")
    return Seal(plain["key"], plain["files"], plain.get("sizes", {}), tuple(plain.get("replaced", ())))


def _is_record(plain: Any) -> bool:
    if not isinstance(plain, dict) or not isinstance(plain.get("key"), str):
        return False
    files, sizes, replaced = plain.get("files"), plain.get("sizes", {}), plain.get("replaced", [])
    return (
        isinstance(files, dict)
        and all(isinstance(value, str) for value in files.values())
        and isinstance(sizes, dict)
        and isinstance(replaced, list)
    )


def damage(record: Path, only: Callable[[str], bool] | None = None, afresh: bool = False) -> dict[str, str]:
    """Returns what is wrong with recorded files, by path beside the record; the record itself may be among them.

    Args:
        record: the record; where there is none, nothing is known to be wrong.
        only: tells of a path whether it is looked at; None looks at all.
        afresh: whether every byte is read, also of files that have not changed by their times.
    """
    if not record.exists():
        return {}
    try:
        seal = read_seal(record)
    except DamagedSeal:
        return {record.name: UNREADABLE}
    names = [name for name in seal.files if only is None or only(name)]
    found = {name: _wrong(record.parent / name, seal, name, afresh) for name in names}
    return {name: what for name, what in found.items() if what is not None}


def _wrong(path: Path, seal: Seal, name: str, afresh: bool) -> str | None:
    if not path.is_file():
        return MISSING
    if seal.sizes.get(name, path.stat().st_size) != path.stat().st_size:
        return CHANGED
    return None if (hash_file if afresh else known_hash)(path) == seal.files[name] else CHANGED


def require_whole(record: Path, again: str, only: Callable[[str], bool] | None = None, afresh: bool = False) -> None:
    """Makes sure that recorded files are those that were written.

    Raises:
        InputError: one is missing or changed, or the record is; the message ends with `again`.
    """
    for name, what in damage(record, only, afresh).items():
        raise InputError(f"{record.parent / name} {what}: {again}")
