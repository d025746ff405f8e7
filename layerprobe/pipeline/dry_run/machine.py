"""What this machine has: memory for one process of the launch, and disk space.

In a container its limit counts, not the machine's memory. Memory that other programs hold is not available.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from layerprobe import processes

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Machine:
    """Bytes that a process of this launch can count on.

    Attributes:
        device: where models are trained, `cpu` or the GPU's name.
        shared: whether models are in the host's memory, as on the CPU.
        memory: most that models may take on the device; on the CPU without what the process holds already.
        host: most that may be held in the host's memory beside the models; on the CPU it is the same memory.
        base: what the process holds already in the host's memory: libraries and data.
        disk: free bytes where the study is written.
    """

    device: str
    shared: bool
    memory: int
    host: int
    base: int
    disk: int


def this_machine(out: Path, device: torch.device) -> Machine:
    """Looks at the machine; all processes of a launch use what the main process sees."""
    return processes.agreed(lambda: _look(out, device))


def _look(out: Path, device: torch.device) -> Machine:
    beside = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", processes.count())))
    host = available_memory() // beside
    base = psutil.Process().memory_info().rss
    disk = shutil.disk_usage(next(place for place in (out, *out.absolute().parents) if place.exists())).free
    if device.type != "cuda":
        return Machine("cpu", True, host, host, base, disk)
    free, _ = torch.cuda.mem_get_info(device)
    return Machine(torch.cuda.get_device_name(device), False, free, host, base, disk)


def available_memory(cgroups: Path = CGROUPS, own: Path = OWN_CGROUPS) -> int:
    """Returns the bytes that are still free, also within the tightest cgroup limit of this process."""
    return min([psutil.virtual_memory().available, *_cgroup_rooms(cgroups, own)])


def _cgroup_rooms(cgroups: Path, own: Path) -> list[int]:
    """Returns the free bytes under each limit; cgroup version 2 has `memory.max`, version 1 a folder `memory/`."""
    rooms: list[int] = []
    lines = own.read_text(encoding="utf-8").splitlines() if own.exists() else []
    for line in lines:
        _, names, inside = line.split(":", 2)
        if names == "":
            root, limit, used, cache = cgroups, "memory.max", "memory.current", ("inactive_file", "active_file")
        elif names == "memory":
            root, limit = cgroups / "memory", "memory.limit_in_bytes"
            used, cache = "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")
        else:
            continue
        place = root / inside.lstrip("/")
        for folder in (place, *place.parents):
            if folder != root and root not in folder.parents:
                break
            rooms += _room(folder, limit, used, cache)
    return rooms


def _room(folder: Path, limit: str, used: str, cache: tuple[str, str]) -> list[int]:
    """Returns limit minus use, or nothing without a limit. File pages do not count: the kernel drops them first."""
    if not (folder / limit).exists() or not (folder / used).exists():
        return []
    most = (folder / limit).read_text(encoding="utf-8").strip()
    if most == "max":
        return []
    stat = folder / "memory.stat"
    lines = stat.read_text(encoding="utf-8").splitlines() if stat.exists() else []
    droppable = sum(int(line.split()[1]) for line in lines if line.split()[0] in cache)
    return [int(most) - int((folder / used).read_text(encoding="utf-8")) + droppable]
