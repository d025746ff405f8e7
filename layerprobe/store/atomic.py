"""Atomic writes: a reader sees the old file or the new one, never half of either.

Every writer of the project goes through here. Formats: JSON, YAML, CSV, Parquet, safetensors.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml
from safetensors import SafetensorError

from layerprobe.errors import InputError, NoSpace
from layerprobe.safe_yaml import read_limited

if TYPE_CHECKING:
    import torch

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_RIGHTS = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` and renames it onto `path` when the block ends without an error.

    The temporary file is removed if the block raises, so an earlier version of `path` survives.

    Raises:
        NoSpace: the disk is full, or a quota or size limit is reached.
        InputError: nothing can be written there.
    """
    with disk_full_said(path):
        make_folder(path.parent)
        # In the same folder: a rename is atomic only within one file system.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            os.chmod(temporary, 0o644)  # temporary files are readable by their owner only
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, where they are missing.

    Raises:
        NoSpace: the disk is full, or a quota or size limit is reached.
        InputError: a part of the path is a file or a link to nothing, or it cannot be made for another reason.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise _not_written(path, os.strerror(error.errno)) from error
        blocking = next((part for part in (path, *path.parents) if os.path.lexists(part)), path)
        why = os.strerror(error.errno or 0)
        if blocking.is_symlink() and not blocking.exists():
            why = f"{blocking} is a link to {os.readlink(blocking)}, which is not there"
        elif not blocking.is_dir():
            why = f"{blocking} is a file"
        raise InputError(f"the folder {path} cannot be made: {why}; give another place") from error


@contextmanager
def disk_full_said(path: Path) -> Iterator[None]:
    """Turns the errors of a full or read-only disk while writing `path` into one line; other errors pass through.

    Raises:
        NoSpace: the disk is full, or a quota or size limit is reached.
        InputError: the file system or its rights allow no writing there.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_RIGHTS:
            raise InputError(
                f"could not write {path}: {os.strerror(error.errno)}; an earlier version of it is unchanged: allow "
                "writing there, or give another place"
            ) from error
        if error.errno not in NO_SPACE:
            raise
        raise _not_written(path, os.strerror(error.errno)) from error
    except SafetensorError as error:  # the library gives the system's error number only as a part of its text
        match = re.search(r"\(os error (\d+)\)", str(error))
        if match is None or int(match[1]) not in NO_SPACE:
            raise
        raise _not_written(path, os.strerror(int(match[1]))) from error


def _not_written(path: Path, reason: str) -> NoSpace:
    return NoSpace(
        f"could not write {path}: {reason}; an earlier version of it is unchanged: free space and run the same command "
        "again"
    )


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder beside `path` and puts it in the place of `path` when the block ends without an error.

    Old and new files are never mixed. If the process is killed between the two renames, neither folder is there, so use
    this only for what can be made again.
    """
    with disk_full_said(path):
        make_folder(path.parent)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
        old = temporary.with_name(f"{temporary.name}.old.tmp")
        try:
            yield temporary
            os.chmod(temporary, 0o755)
            if path.exists():  # a folder cannot be renamed onto one that is not empty
                os.replace(path, old)
            os.replace(temporary, path)
        finally:
            if old.exists() and not path.exists():  # the new one could not be put in its place
                os.replace(old, path)
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def is_rest(path: Path) -> bool:
    """Tells whether a file or folder is one of ours that was only partly written."""
    return path.name.startswith(".") and (path.name.endswith(".tmp") or path.name.startswith(".student."))


def remove_rests(folder: Path) -> None:
    """Removes what killed writers left in `folder` and below; no other process may be writing there."""
    for path in list(folder.rglob(".*")):
        if is_rest(path) and path.exists():  # it may have been removed with the folder around it
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON. NaN and infinity are refused: they are not JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads one JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_yaml(path: Path, value: Any) -> None:
    """Writes `value` as YAML, keys in the order given."""
    write_text(path, yaml_text(value))


def yaml_text(value: Any) -> str:
    """Returns what `write_yaml` writes."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def read_yaml(path: Path) -> Any:
    """Reads one YAML file with a safe loader, within the limits of `layerprobe.safe_yaml`.

    Raises:
        InputError: it cannot be read, is no YAML, or is larger, deeper or more repetitive than any study.
    """
    return read_limited(path)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Writes `table` as CSV without its index. Floats keep the digits that round-trip exactly."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Writes `table` as Parquet without its index."""
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes named tensors as safetensors, with string metadata in the header."""
    from safetensors.torch import save_file

    # Contiguous: safetensors refuses views with gaps.
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(plain, temporary, metadata=dict(metadata or {}))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Writes named arrays as safetensors: the bytes `write_tensors` would write, without loading torch."""
    from safetensors.numpy import save_file

    plain = {name: np.ascontiguousarray(values) for name, values in arrays.items()}  # memory is written as it is
    with replacing(path) as temporary:
        save_file(plain, temporary, metadata=dict(metadata or {}))


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Reads all tensors of a safetensors file, on the CPU, and its metadata."""
    from safetensors import safe_open

    with safe_open(path, framework="pt", device="cpu") as opened:
        keys = opened.keys()
        return {name: opened.get_tensor(name) for name in keys}, dict(opened.metadata() or {})


def read_metadata(path: Path) -> dict[str, str]:
    """Reads the string metadata of a safetensors file, and none of its tensors."""
    from safetensors import safe_open

    with safe_open(path, framework="pt", device="cpu") as opened:
        return dict(opened.metadata() or {})
