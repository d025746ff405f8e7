"""What a trained model costs on this machine: time and memory of answering requests, memory of a training step.

Takes functions that load models, hands on milliseconds and bytes. Models are timed in turn, in several rounds, so that
a slow minute of the machine affects all of them; each is loaded again in every round, so that only one is in memory at
a time. A model that needs more memory than this machine has gets no costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

import torch

from layerprobe import processes
from layerprobe.data.splits import Split
from layerprobe.evaluation.serving import Request, answer, make_requests, time_requests
from layerprobe.recommender.losses import next_item_objective_with
from layerprobe.recommender.model import Recommender
from layerprobe.recommender.sequence_model import SequenceModel
from layerprobe.training.adapters import merged
from layerprobe.training.engine import Engine, release_memory
from layerprobe.training.log import say
from layerprobe.training.measure import model_bytes, peak_bytes, step_bytes
from layerprobe.training.model_folder import ModelJob
from layerprobe.training.options import train_batches

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

ROUNDS = 3
ONE, MANY = 1, 64
"""Users per timed call."""
SHARE_OF_MANY = 0.3
OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)

T = TypeVar("T")


@dataclass(frozen=True)
class ServedModel:
    """A model to be timed: its name in progress lines, and what loads it, trained and in evaluation mode."""

    label: str
    load: Callable[[], SequenceModel]


@dataclass
class Served:
    """Costs of answering requests with a model: milliseconds of calls by batch size, and bytes."""

    calls: dict[int, list[float]] = field(default_factory=lambda: {ONE: [], MANY: []})
    weights: int = 0
    scoring: int = 0


def calls_by_size(calls: int) -> dict[int, int]:
    """Returns how many calls are timed per number of users."""
    return {ONE: calls, MANY: round(SHARE_OF_MANY * calls)}


def serve(models: Sequence[ServedModel], split: Split, calls: int, remove_history: bool) -> list[Served | None]:
    """Times all models, a part of the calls in each round; the same requests for each model.

    Args:
        models: what is timed.
        split: its test users make the requests.
        calls: calls of one user per model.
        remove_history: whether items that a user has met are left out of the answer.

    Returns:
        One entry per model; None where memory was too small for it.
    """
    requests = {size: make_requests(split, n_calls, size) for size, n_calls in calls_by_size(calls).items()}
    served: list[Served | None] = [Served() for _ in models]
    for turn in range(ROUNDS):
        for place, model in enumerate(models):
            measured = served[place]
            if measured is not None:  # None: it was out of memory in an earlier round
                once = partial(_serve_once, model, requests, remove_history, turn, measured)
                served[place] = _with_memory(model.label, once)
    return served


def _serve_once(
    served: ServedModel, requests: Mapping[int, list[Request]], removes: bool, turn: int, measured: Served
) -> Served:
    """Adds one round to the measurements of a model; it leaves memory before the next one is loaded."""
    model = as_served(served.load())
    for size, of_size in requests.items():
        measured.calls[size] += time_requests(model, of_size[turn::ROUNDS], removes).tolist()
    if turn == 0:  # bytes do not vary between rounds as times do
        longest = max(requests[MANY], key=_longest)
        measured.weights = model_bytes(model).weights
        measured.scoring = peak_bytes(lambda: answer(model, longest, removes), model.device)
    return measured


def _with_memory(label: str, measure: Callable[[], T]) -> T | None:
    """Returns what is measured; None, with a progress line, if memory is too small for it."""
    try:
        return measure()
    except OUT_OF_MEMORY as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
    # Outside the handler: the error's traceback refers to the model, and would keep it in memory.
    release_memory()
    say(f"cost: {label} is left out, out of memory ({reason})")
    return None


def as_served(model: SequenceModel) -> SequenceModel:
    """Merges LoRA, as export does. A quantized backbone keeps it separate: merging would round it once more."""
    if isinstance(model, Recommender) and not getattr(model.backbone, "is_quantized", False):
        model.network = merged(cast("PreTrainedModel | PeftModel", model.network))
    return model


def _longest(request: Request) -> int:
    return max(len(history) for history in request)


def trained_bytes(job: ModelJob, split: Split) -> int | None:
    """Returns `training_bytes`, or None if memory is too small; in a launch that ends the run, since others wait."""
    measure = partial(training_bytes, job, split)
    return _with_memory(job.point.label, measure) if processes.count() == 1 else measure()


def training_bytes(job: ModelJob, split: Split) -> int | None:
    """Returns the bytes a process holds at the peak of a training step: weights, moments, and those of the step itself.

    All processes of a launch take the step together. None where they hold slices of the model: what one of them holds
    then depends on the launch. Layers are not compiled: that takes minutes and changes speed only.
    """
    model = job.build()
    size = model_bytes(model)
    training = replace(job.training, compile=False)
    if processes.slice_models() and model.shards:
        return None
    batches = train_batches(split, job.max_len, training, job.point.seed, model.extra_positions)
    backward, update = step_bytes(Engine(model, next_item_objective_with(training.loss), training), batches)
    # Activations are gone when the update starts, but the gradients are still there.
    return size.held + max(backward, size.trained + update)
