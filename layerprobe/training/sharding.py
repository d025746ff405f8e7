"""Sharding: a model too large for one device is kept in slices on all of them (torch's fully_shard, known as FSDP2).

Switched on by the launcher's configuration (`distributed_type: FSDP`). The slices are torch's own; this module decides
which modules are sliced. Checkpoints hold whole tensors, so a training can be resumed with another number of processes.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from layerprobe import processes


def shard(root: nn.Module, layers: Iterable[nn.Module]) -> None:
    """Slices each layer, and what is outside the layers, over all processes; `root` must then be run as a whole."""
    for layer in layers:  # before the root, which takes what is not sliced yet
        fully_shard(layer)
    fully_shard(root)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Returns the whole of a tensor that may be sliced. All processes must call it for the same ones in one order."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Iterable[tuple[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Returns whole tensors on the CPU in the main process and nothing elsewhere; one at a time is on a device."""
    kept = {}
    for name, tensor in tensors:
        value = whole(tensor)  # in every process: the slices come from all of them
        if processes.is_main():
            kept[name] = value.cpu()
    return kept


def like(whole_value: torch.Tensor, pattern: torch.Tensor) -> torch.Tensor:
    """Returns this process's form of a whole tensor: sliced where `pattern` is."""
    if not isinstance(pattern, DTensor) or whole_value.ndim == 0:  # AdamW's step counts have no axis to slice
        return whole_value
    return distribute_tensor(whole_value.to(pattern.device), pattern.device_mesh, pattern.placements)
