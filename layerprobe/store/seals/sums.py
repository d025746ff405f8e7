"""Checksums inside a file of tensors, for files whose folder has no record yet: every changed bit is found.

CRC-32 of each tensor, several at a time: a checkpoint is written once a minute, and a slower hash would be felt.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from layerprobe.errors import LayerprobeError
from layerprobe.store.atomic import read_tensors

if TYPE_CHECKING:
    import torch

SUMS = "sums"
THREADS = 4


class DamagedFile(LayerprobeError):
    """A file of tensors is not what was written."""


def with_sums(tensors: Mapping[str, torch.Tensor], told: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the metadata of a file: what it tells besides, and the checksums of tensors and metadata."""
    told = dict(told or {})
    return {**told, SUMS: json.dumps(_sums(tensors, told))}


def read_checked(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Reads the tensors and metadata of a file; one of a version without checksums is taken as it is.

    Raises:
        DamagedFile: it cannot be read, or its checksums are others.
    """
    try:
        tensors, told = read_tensors(path)
        stored = json.loads(told.pop(SUMS)) if SUMS in told else None
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedFile(f"{path} cannot be read") from error
    if stored is not None and stored != _sums(tensors, told):
        raise DamagedFile(f"{path} was changed after it was written")
    return tensors, told


def _sums(tensors: Mapping[str, torch.Tensor], told: Mapping[str, str]) -> dict[str, int]:
    with ThreadPoolExecutor(THREADS) as pool:  # zlib lets other threads run
        found = dict(zip(tensors, pool.map(_sum, tensors.values()), strict=True))
    return found | {"": zlib.crc32(json.dumps(sorted(told.items())).encode())}


def _sum(tensor: torch.Tensor) -> int:
    import torch

    # A copy: storage that was handed to numpy can never be resized again, which sharded models do with theirs.
    plain = tensor.detach().cpu().contiguous().clone()
    start = zlib.crc32(f"{plain.dtype} {tuple(plain.shape)}".encode())
    return zlib.crc32(plain.reshape(-1).view(torch.uint8).numpy().data, start) if plain.numel() else start
