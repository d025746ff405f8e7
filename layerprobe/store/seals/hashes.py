"""Hashes of files; one whose size and times did not change since it was hashed is not read again.

The time of the last change of a file's entry counts too: no program can set it back, so a file that was edited and then
given its old date is read. What no time tells, such as a bit that the disk itself lost, is found where a hash is asked
for `afresh`.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from layerprobe.store.atomic import read_json, write_json

SETTLED_NS = 2_000_000_000
"""A file changed this recently may change again within the same tick of a coarse clock, so its hash is not kept."""
Stamp = tuple[int, int, int, int]
_KNOWN: dict[Path, tuple[Stamp, str]] = {}


def hash_file(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def hash_text(text: str) -> str:
    """Returns the SHA-256 of a text, or of a file that holds it, in UTF-8.

    >>> hash_text("")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(text.encode()).hexdigest()


def known_hash(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, from memory where its size and times are those it was hashed with."""
    place, stamp = path.absolute(), _stamp(path)
    known = _KNOWN.get(place)
    if known is not None and known[0] == stamp:
        return known[1]
    found = hash_file(path)
    if max(stamp[1:3]) < time.time_ns() - SETTLED_NS and _stamp(path) == stamp:
        _KNOWN[place] = (stamp, found)
    return found


def _stamp(path: Path) -> Stamp:
    """Returns size, time of the content, time of the entry and number of a file."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def remember(record: Path) -> None:
    """Writes the hashes known of the files around `record`, for the next process."""
    folder = record.parent.absolute()
    inside = {place: known for place, known in _KNOWN.items() if place.is_relative_to(folder)}
    plain = {place.relative_to(folder).as_posix(): [*stamp, found] for place, (stamp, found) in inside.items()}
    if not record.exists() or plain != _plain(record):
        write_json(record, dict(sorted(plain.items())))


def recall(record: Path) -> None:
    """Reads what `remember` wrote. A damaged record is none: all that follows is that files are hashed again."""
    for name, (*stamp, found) in _plain(record).items():
        size, content, entry, number = stamp
        _KNOWN.setdefault(record.parent.absolute() / name, ((size, content, entry, number), found))


def _plain(record: Path) -> dict[str, list[Any]]:
    if not record.is_file():
        return {}
    try:
        plain = read_json(record)
    except ValueError:
        return {}
    rows = plain.items() if isinstance(plain, dict) else ()
    return {name: row for name, row in rows if isinstance(row, list) and len(row) == 5}
