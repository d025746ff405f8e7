"""The processes of one launch: which one this is, and what they have to agree on.

`accelerate launch` (or torchrun) starts several processes of the same command. All of them train and rank together;
only the first, the main process, reads logs and writes files. Without a launcher there is one process and every
function here costs nothing. torch is imported only where there are several.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from layerprobe.errors import InputError

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
ON = ("1", "true", "yes")
_JOINED = _SLICED = False
REFUSED = (
    ("ACCELERATE_MIXED_PRECISION", ("fp16", "fp8"), "use no or bf16: in fp16 gradients overflow at this task's rates"),
    ("ACCELERATE_USE_DEEPSPEED", ON, "use distributed_type MULTI_GPU or FSDP"),
    ("ACCELERATE_USE_MEGATRON_LM", ON, "use distributed_type MULTI_GPU or FSDP"),
    ("FSDP_VERSION", ("1",), "use fsdp_version 2"),
    ("FSDP_OFFLOAD_PARAMS", ON, "leave fsdp_offload_params out"),
    ("FSDP_ACTIVATION_CHECKPOINTING", ON, "use backbone.gradient_checkpointing"),
    ("ACCELERATE_DYNAMO_BACKEND", ("inductor", "eager", "aot_eager", "cudagraphs"), "use training.compile"),
)
"""Environment variables of a launcher, the values that are refused, and what to do instead."""
PR_SET_PDEATHSIG = 1  # linux/prctl.h
PATIENCE = timedelta(days=7)
"""How long a process waits for the others: preparing a large log on the main process may take long."""


def count() -> int:
    """Returns how many processes were launched, 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def index() -> int:
    """Returns which of them this is, from 0."""
    return int(os.environ["RANK"]) if count() > 1 else 0


def local_index() -> int:
    """Returns which of this machine's processes this is, from 0: the number of its GPU."""
    return int(os.environ["LOCAL_RANK"]) if count() > 1 else 0


def is_main() -> bool:
    """Tells whether this is the process that reads logs and writes files."""
    return index() == 0


def slice_models() -> bool:
    """Tells whether the launcher is set to keep models in slices (FSDP); with one process there is nothing to slice."""
    return count() > 1 and (_SLICED or _is_on("ACCELERATE_USE_FSDP"))


def join() -> None:
    """Connects the processes of a launch; does nothing where there is one, or a second time.

    Raises:
        InputError: more processes were launched on this machine than it has devices, or the launcher's configuration
            has an option that would be ignored.
    """
    global _SLICED, _JOINED
    for name, wanted, instead in REFUSED:
        if os.environ.get(name, "").lower() in wanted:
            raise InputError(f"the launcher sets {name}={os.environ[name]}, which is not supported; {instead}")
    if count() == 1 or _JOINED:
        return
    import torch
    from accelerate import PartialState

    on_machine = int(os.environ.get("LOCAL_WORLD_SIZE", count()))
    use_cpu = not torch.cuda.is_available() or _is_on("ACCELERATE_USE_CPU")
    devices, kind = (os.cpu_count() or 1, "processor cores") if use_cpu else (torch.cuda.device_count(), "GPUs")
    if on_machine > devices:
        raise InputError(
            f"a launch needs a device per process; {on_machine} processes were launched on a machine with {devices} "
            f"{kind}: launch at most {devices}"
        )
    if use_cpu:
        os.environ["ACCELERATE_USE_CPU"] = "true"  # else Accelerate treats each process as a separate launch
    # training.sharding makes the slices. With these variables set, Accelerate would slice SASRec as well, and
    # transformers would read weights only in the first process.
    _SLICED = slice_models()
    os.environ.pop("ACCELERATE_USE_FSDP", None)
    os.environ.pop("FSDP_CPU_RAM_EFFICIENT_LOADING", None)
    PartialState(cpu=use_cpu, timeout=PATIENCE)
    _JOINED = True
    _end_with_launcher()


def leave() -> None:
    """Disconnects the processes of a launch at its end: threads of an open connection may abort the exit."""
    if not _JOINED:
        return
    import torch.distributed as connected

    if connected.is_initialized():
        connected.destroy_process_group()


def _is_on(name: str) -> bool:
    return os.environ.get(name, "").lower() in ON


def _end_with_launcher() -> None:
    """Lets this process end when its launcher is killed: if the command is started again, there must be one writer.

    The launcher stops its processes when it can; a launcher that is killed cannot. Only Linux offers this.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait() -> None:
    """Waits until every process has called this function."""
    if count() > 1:
        _state().wait_for_everyone()


def agreed(decide: Callable[[], T]) -> T:
    """Returns what the main process decides, in every process; the others do not call `decide`."""
    if count() == 1:
        return decide()
    from accelerate.utils import broadcast_object_list

    _state()  # raises if join() was not called
    answer: list[Any] = [decide() if is_main() else None]
    return broadcast_object_list(answer)[0]


def on_main(work: Callable[[], object]) -> None:
    """Lets the main process do `work` while the others wait for it."""
    if is_main():
        work()
    wait()


def summed(values: np.ndarray) -> np.ndarray:
    """Returns the sum of every process's `values`, which have one shape and type in all of them."""
    if count() == 1:
        return values
    import torch
    from accelerate.utils import reduce

    # On the process's device: GPUs exchange data only from their own memory.
    total: Any = reduce(torch.from_numpy(values).to(_state().device), "sum")
    return total.cpu().numpy()


def _state():  # noqa: ANN202 - the type would import torch
    from accelerate import PartialState

    state = PartialState()
    if state.num_processes != count():
        raise RuntimeError(f"{count()} processes were launched and {state.num_processes} are connected: call join()")
    return state
