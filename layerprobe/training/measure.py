"""What training costs, measured on a few real steps: seconds per step, and bytes that are used within a step.

Takes an engine and its batches, hands on a `StepCost`. It also computes the bytes of a model's weights, for which no
memory is needed. Neither time nor memory depends on the values of the weights, so random weights are good enough.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from layerprobe import processes
from layerprobe.data.train_batches import TrainBatches
from layerprobe.training.engine import Engine

TIMED_STEPS = 3
TIMED_SECONDS = 0.5
"""At least this many steps are timed, and for at least this long in total: short steps are noisy."""
MOMENTS = 2
"""Numbers that AdamW keeps per trained parameter."""


@dataclass(frozen=True)
class ModelBytes:
    """Bytes that a model holds through all of its training.

    Attributes:
        weights: parameters and buffers, the item table among them.
        trained: the parameters that training changes; their gradients take the same again, AdamW's moments twice that.
    """

    weights: int
    trained: int

    @property
    def held(self) -> int:
        """Weights and moments; gradients exist only within a step."""
        return self.weights + MOMENTS * self.trained


def model_bytes(model: nn.Module) -> ModelBytes:
    """Returns the bytes of a model's tensors; on the device `meta`, which has no memory, what they would take."""
    values = list(model.parameters())
    weights = sum(value.nbytes for value in values) + sum(value.nbytes for value in model.buffers())
    return ModelBytes(weights, sum(value.nbytes for value in values if value.requires_grad))


class _LiveBytes(TorchDispatchMode):
    """Follows the storages that operations create, from creation to release, on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.counted: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs one operation and notes what it created."""
        inputs = {
            id(value.untyped_storage()) for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)
        }
        outputs = func(*args, **(kwargs or {}))
        for value in tree_leaves(outputs):  # views and changes in place share the storage of an input
            if isinstance(value, torch.Tensor) and id(value.untyped_storage()) not in inputs:
                self._note(value.untyped_storage())
        return outputs

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self.counted:
            return
        self.counted.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, key, size).atexit = False  # when the storage is released, not at exit

    def _forget(self, key: int, size: int) -> None:
        self.counted.discard(key)
        self.live -= size


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Returns the most bytes that `work` holds at once on `device`, beyond what was held before.

    On a GPU the allocator counts. On the CPU the outputs of all operations are counted, backward passes included;
    memory that one operation uses only internally is not seen.

    Why not hooks on what is saved for the backward pass: with gradient checkpointing they see nothing, and gradients
    and short-lived results, such as a chunk of logits, are not saved.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with _LiveBytes() as memory:
        work()
    return memory.peak


@dataclass(frozen=True)
class StepCost:
    """What one optimiser step costs.

    Attributes:
        seconds: of a step of the plan's average size, making its batch included.
        backward: bytes that the widest step's passes take at their peak, their gradients included.
        update: bytes that moving the parameters takes beyond the gradients.
    """

    seconds: float
    backward: float
    update: float


def measure_step(engine: Engine, batches: TrainBatches) -> StepCost:
    """Takes a few real steps, the widest of an epoch among them; the model's weights move.

    Every process of a launch must call it: a step is shared by all of them.
    """
    backward, update = step_bytes(engine, batches)
    plan = batches.plan(0)
    area = np.array([step_positions(batches, examples) for examples in plan])
    # Time grows about with the positions, so steps of any size say what the average one takes.
    return StepCost(_seconds_per_position(engine, batches, plan, area) * float(area.mean()), backward, update)


def step_bytes(engine: Engine, batches: TrainBatches) -> tuple[int, int]:
    """Returns the bytes of `StepCost.backward` and `StepCost.update`; untimed, else as `measure_step`."""
    plan = batches.plan(0)
    area = np.array([step_positions(batches, examples) for examples in plan])
    longest = np.array([batches.examples.lengths[examples].max() for examples in plan])
    engine.model.train()
    _step(engine, batches, plan[int(area.argmax())])  # warm-up; it also creates the moments
    backward = update = 0
    for index in {int(area.argmax()), int((area * longest).argmax())}:  # attention may grow with area x length
        portions = batches.portions(plan[index], processes.index(), processes.count())
        backward = max(backward, peak_bytes(lambda parts=portions: engine.backward(parts, 0), engine.model.device))
        update = max(update, peak_bytes(lambda: engine.update(0.0), engine.model.device))
    return backward, update


def step_positions(batches: TrainBatches, chosen: np.ndarray) -> int:
    """Returns the positions of a step, padding included, as if it were one pass."""
    return len(chosen) * (int(batches.examples.lengths[chosen].max()) + batches.extra)


def _seconds_per_position(engine: Engine, batches: TrainBatches, plan: list[np.ndarray], area: np.ndarray) -> float:
    """Times small, medium and large steps of an epoch; takes the median, so that one slow step does not count."""
    order = np.argsort(area, kind="stable")
    places = [order[int(len(order) * (number + 0.5) / TIMED_STEPS)] for number in range(TIMED_STEPS)]
    seconds: list[float] = []
    started = time.monotonic()
    enough = False
    while not enough:  # agreed on by all processes, since each step needs all of them
        for place in places:
            before = time.monotonic()
            _step(engine, batches, plan[place])
            seconds.append((time.monotonic() - before) / int(area[place]))
        enough = processes.agreed(lambda: time.monotonic() - started >= TIMED_SECONDS)
    return float(np.median(seconds))


def _step(engine: Engine, batches: TrainBatches, chosen: np.ndarray) -> None:
    engine.backward(batches.portions(chosen, processes.index(), processes.count()), 0)
    engine.update(0.0)
    if engine.model.device.type == "cuda":  # a GPU works on after the call returns
        torch.cuda.synchronize(engine.model.device)
