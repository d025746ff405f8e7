"""Opens a file by its first bytes, whatever its suffix: plain, gz, bz2, xz, zst, lz4, or a zip of one file.

What cannot be read here is named in one line, and its bytes are never printed. Compressed files are read within a
limit, so that a small file cannot fill the memory.
"""

from __future__ import annotations

import io
import lzma
import os
import zipfile
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from layerprobe.errors import InputError

MOST_TIMES = 200
"""A compressed file may become so many times larger; logs become 3 to 60 times larger."""
ALWAYS_ALLOWED = 2**26
"""Bytes that any compressed file may become: short files of equal rows are harmless."""
MOST_LETTERS = 200  # of a path in a message
HEAD, BUFFER = 4096, 2**16  # bytes that a file is recognised by, and that are read at a time
ARROW_CODECS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}
BZ2, XZ, ZIP, PARQUET = b"1AY&SY", b"\xfd7zXZ\x00", b"PK\x03\x04", b"PAR1"
NAMED = {
    ZIP: "a zip archive", b"PK\x05\x06": "an empty zip archive", XZ: "xz data", b"\x1f\x8b": "gzip data",
    b"7z\xbc\xaf": "a 7z archive", b"Rar!\x1a\x07": "a RAR archive", b"\x1f\x9d": "a compress archive (.Z)",
    b"SQLite format 3\x00": "an SQLite database", b"\x89HDF\r\n": "an HDF5 file", b"%PDF-": "a PDF document",
    b"\xd0\xcf\x11\xe0": "an Excel or Word file", b"ARROW1\x00": "an Arrow file", b"\x93NUMPY": "a numpy array",
    b"Obj\x01": "an Avro file", b"\x89PNG": "an image", b"\x80": "a pickle", b"\x00\x00\xfe\xff": "UTF-32 text",
    b"\xff\xfe\x00\x00": "UTF-32 text",
}  # fmt: skip
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
TEXT_OR_TABLE = "expected text (UTF-8 or UTF-16; plain, gz, bz2, xz, zst or a zip of one file) or Parquet"


def at_home(path: str | os.PathLike[str]) -> Path:
    """Returns a path with `~` as the home folder; a user that is not known is left as it is, a folder called so."""
    return Path(os.path.expanduser(path))


def require_there(path: Path) -> None:
    """Makes sure that a path names a file or folder.

    Raises:
        InputError: it does not, or no path can be called so.
    """
    if not os.path.exists(path):  # unlike `Path.exists`, for any name, however long
        name = str(path) if str(path).isprintable() else repr(str(path))
        name = name if len(name) <= MOST_LETTERS else f"{name[:MOST_LETTERS]}..."
        raise InputError(f"{name} does not exist; give the path of an existing file")


def require_file(path: Path) -> Path:
    """Returns `path` if it is a file with content.

    Raises:
        InputError: it does not exist, is a folder or no regular file, or is empty.
    """
    require_there(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the path of the file in it")
    if not path.is_file():
        raise InputError(f"{path} is no regular file, and is read more than once; write it to a file first")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; expected a file with at least one row")
    return path


def is_parquet(path: Path) -> bool:
    """Tells whether a file is Parquet, by its first and last bytes."""
    with require_file(path).open("rb") as file:
        if file.read(4) != PARQUET:
            return False
        file.seek(-4, io.SEEK_END)
        return file.read(4) == PARQUET


def open_bytes(path: Path) -> IO[bytes]:
    """Opens a file; what is read is no longer compressed.

    Raises:
        InputError: the file is missing or empty, or a zip that does not hold exactly one file; and on reading, where it
            expands beyond the limit.
    """
    start = _start(require_file(path))
    expanded = _expanded(path, start)
    return path.open("rb") if expanded is None else io.BufferedReader(_Limited(path, *expanded), BUFFER)


def byte_stream(path: Path) -> pa.NativeFile:
    """Opens a file for Arrow; what is read is no longer compressed.

    Raises:
        InputError: as `open_bytes`.
    """
    expanded = _expanded(path, _start(require_file(path)))
    return pa.OSFile(str(path)) if expanded is None else pa.PythonFile(_Limited(path, *expanded), mode="r")


def text_encoding(path: Path, stated: str) -> str:
    """Returns the encoding of a text file: UTF-16 by its mark, else the one that is stated.

    Raises:
        InputError: the file holds no text.
    """
    with open_bytes(path) as file:
        head = file.read(HEAD)
    kind = next((name for start, name in NAMED.items() if head.startswith(start)), None)
    if kind is None and head[257:262] == b"ustar":
        kind = "a tar archive"
    if kind is not None:
        inside = " holds" if _is_compressed(path) else " is"
        raise InputError(f"{path}{inside} {kind}, which is not read; {TEXT_OR_TABLE}: unpack or convert it")
    if head.startswith(UTF_16):
        return "utf-16"
    if b"\x00" in head:
        raise InputError(f"{path} holds NUL bytes: it is binary, or UTF-16 without its mark; {TEXT_OR_TABLE}")
    return stated


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def _is_compressed(path: Path) -> bool:
    start = _start(path)
    return start[4:10] == BZ2 or start.startswith((*ARROW_CODECS, XZ, ZIP))


def _expanded(path: Path, start: bytes) -> tuple[Any, ...] | None:
    """Returns what gives the content of a compressed file by `read(n)`, and what to close after it; None if plain."""
    for magic, codec in ARROW_CODECS.items():
        if start.startswith(magic):
            return (pa.CompressedInputStream(pa.OSFile(str(path)), codec),)
    if start.startswith(b"BZh") and start[4:10] == BZ2:
        return (pa.CompressedInputStream(pa.OSFile(str(path)), "bz2"),)
    if start.startswith(XZ):
        return (lzma.open(path),)
    return _only_member(path) if start.startswith(ZIP) else None


def _only_member(path: Path) -> tuple[IO[bytes], zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except NotImplementedError as error:  # a version that this library does not know
        raise InputError(f"{path} is a zip of a kind that is not read; unpack it first") from error
    names = [entry.filename for entry in archive.infolist() if entry.filename and not entry.is_dir()]
    members = [name for name in names if not name.startswith("__MACOSX/") and Path(name).name != ".DS_Store"]
    fault = None
    if "[Content_Types].xml" in names:
        fault = "is an Excel or Word file; save it as CSV"
    elif len(members) != 1:
        few = ", ".join(repr(name[:40]) for name in members[:3]) + ", ..." * (len(members) > 3)
        fault = f"is a zip of {len(members)} files ({few}); expected one: unpack it and give the file or folder"
    elif archive.getinfo(members[0]).flag_bits & 1:
        fault = "is a zip with a password; unpack it first"
    try:
        if fault is None:
            return archive.open(members[0]), archive
    except NotImplementedError:
        fault = "is a zip of a compression that is not read; unpack it first"
    archive.close()
    raise InputError(f"{path} {fault}")


class _Limited(io.RawIOBase):
    """Reads what a compressed file becomes, up to the limit."""

    def __init__(self, path: Path, inner: Any, *others: Any) -> None:
        self._path, self._inner, self._others, self._count = path, inner, others, 0
        self._most = max(ALWAYS_ALLOWED, MOST_TIMES * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return self.readall()
        found = self._inner.read(size)
        self._count += len(found)
        if self._count > self._most:
            raise InputError(
                f"{self._path} becomes more than {self._most:,} bytes, {MOST_TIMES} times its size, which is the limit "
                "for compressed files; if it is no decoy, unpack it and give the plain file"
            )
        return found

    def readinto(self, buffer: Any, /) -> int:
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def close(self) -> None:
        for opened in (self._inner, *self._others):
            opened.close()
        super().close()
