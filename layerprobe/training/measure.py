"""What training costs, measured on a few real steps: seconds per step, and bytes that come and go within a step.

Takes an engine and its batches, hands on a `StepCost`; and tells from a model's parameters, without memory for them,
what its weights take. Neither time nor memory depends on the values of the weights, so random ones do.
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
"""At least so many steps are timed, for at least so long in all: short steps are the noisy ones."""
MOMENTS = 2
"""Numbers that AdamW keeps per trained one."""


@dataclass(frozen=True)
class ModelBytes:
    """Bytes that a model holds through all of its training.

    Attributes:
        weights: parameters and buffers, the item table among them.
        trained: the parameters that training changes; a gradient takes as much again, AdamW's moments twice as much.
    """

    weights: int
    trained: int

    @property
    def held(self) -> int:
        """Weights and moments; gradients come and go with every step."""
        return self.weights + MOMENTS * self.trained


def model_bytes(model: nn.Module) -> ModelBytes:
    """Returns what a model's tensors take, or would take where it was built without memory, on the device `meta`."""
    values = list(model.parameters())
    weights = sum(value.nbytes for value in values) + sum(value.nbytes for value in model.buffers())
    return ModelBytes(weights, sum(value.nbytes for value in values if value.requires_grad))


class _LiveBytes(TorchDispatchMode):
    """Follows the storages that operations make, from their birth to their death, on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs one operation and notes what it made."""
        given = {
            id(value.untyped_storage()) for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)
        }
        made = func(*args, **(kwargs or {}))
        for value in tree_leaves(made):
            if isinstance(value, torch.Tensor) and id(value.untyped_storage()) not in given:
                self._note(value.untyped_storage())
        return made

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, key, size).atexit = False

    def _forget(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Returns the most bytes that `work` holds at once on `device`, beyond what was there before.

    On a GPU the allocator counts. On the CPU the outputs of all operations are counted, backward passes included; what
    one operation takes and gives back inside itself is not seen.

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
    with _LiveBytes() as found:
        work()
    return found.peak


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
    area = np.array([step_positions(batches, chosen) for chosen in plan])
    return StepCost(_seconds_per_position(engine, batches, plan, area) * float(area.mean()), backward, update)


def step_bytes(engine: Engine, batches: TrainBatches) -> tuple[int, int]:
    """Returns the bytes of `StepCost.backward` and `StepCost.update`; untimed, else as `measure_step`."""
    plan = batches.plan(0)
    area = np.array([step_positions(batches, chosen) for chosen in plan])
    longest = np.array([batches.examples.lengths[chosen].max() for chosen in plan])
    engine.model.train()
    _step(engine, batches, plan[int(area.argmax())])  # warm-up; it makes the moments, too
    backward = update = 0
    for index in {int(area.argmax()), int((area * longest).argmax())}:  # attention may grow with area x length
        portions = batches.portions(plan[index], processes.index(), processes.count())
        backward = max(backward, peak_bytes(lambda given=portions: engine.backward(given, 0), engine.model.device))
        update = max(update, peak_bytes(lambda: engine.update(0.0), engine.model.device))
    return backward, update


def step_positions(batches: TrainBatches, chosen: np.ndarray) -> int:
    """Returns the positions of a step, padding included, as if it were one pass."""
    return len(chosen) * (int(batches.examples.lengths[chosen].max()) + batches.extra)


def _seconds_per_position(engine: Engine, batches: TrainBatches, plan: list[np.ndarray], area: np.ndarray) -> float:
    """Times steps from the small to the large ones of an epoch; the median, so that a hiccup does not count."""
    order = np.argsort(area, kind="stable")
    places = [order[int(len(order) * (number + 0.5) / TIMED_STEPS)] for number in range(TIMED_STEPS)]
    found: list[float] = []
    started = time.monotonic()
    enough = False
    while not enough:
        for place in places:
            before = time.monotonic()
            _step(engine, batches, plan[place])
            found.append((time.monotonic() - before) / int(area[place]))
        enough = processes.agreed(lambda: time.monotonic() - started >= TIMED_SECONDS)
    return float(np.median(found))


def _step(engine: Engine, batches: TrainBatches, chosen: np.ndarray) -> None:
    engine.backward(batches.portions(chosen, processes.index(), processes.count()), 0)
    engine.update(0.0)
    if engine.model.device.type == "cuda":
        torch.cuda.synchronize(engine.model.device)
