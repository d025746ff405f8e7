"""Sharding: a model too large for one device lies in slices on all of them (torch's fully_shard, known as FSDP2).

Asked for by the launcher's configuration (`distributed_type: FSDP`). The slices are torch's own; what is ours is which
modules are sliced and that checkpoints hold whole tensors, so a training may go on with another number of processes.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from layerprobe import processes


def shard(root: nn.Module, layers: Iterable[nn.Module]) -> None:
    """Slices each layer, and what lies outside the layers, over all processes; `root` is run as a whole afterwards."""
    for layer in layers:
        fully_shard(layer)
    fully_shard(root)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Returns the whole of a tensor that may be sliced. Every process must ask for the same ones in the same order."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Iterable[tuple[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Returns whole tensors on the CPU in the main process and nothing elsewhere; one at a time is on a device."""
    kept = {}
    for name, tensor in tensors:
        value = whole(tensor)
        if processes.is_main():
            kept[name] = value.cpu()
    return kept


def like(whole_value: torch.Tensor, pattern: torch.Tensor) -> torch.Tensor:
    """Returns this process's form of a whole tensor: sliced where `pattern` is."""
    if not isinstance(pattern, DTensor) or whole_value.ndim == 0:
        return whole_value
    return distribute_tensor(whole_value.to(pattern.device), pattern.device_mesh, pattern.placements)
