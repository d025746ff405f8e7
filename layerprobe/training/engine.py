"""`Engine`: one optimiser step, cut into passes that fit in memory and shared by all processes of a launch.

The gradient is that of the mean loss over the step's targets, however the step is cut: each pass is weighted by its
share of the targets. Devices, data parallelism and mixed precision are Accelerate's.
"""

from __future__ import annotations

import gc
import os
import shutil
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs
from torch import nn

from layerprobe import processes
from layerprobe.data.batches import SequenceBatch
from layerprobe.data.train_batches import Portion
from layerprobe.errors import InputError
from layerprobe.recommender.sequence_model import SequenceModel
from layerprobe.training import sharding
from layerprobe.training.options import TrainingOptions

Objective = Callable[[SequenceModel, SequenceBatch], dict[str, torch.Tensor]]
GRAD_NORM = "grad_norm"


class _Pass(nn.Module):
    """The objective as a module: data parallelism works on forward passes of a module."""

    def __init__(self, model: SequenceModel, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: SequenceBatch, read: bool = False) -> dict[str, torch.Tensor]:
        return {"read": self.model.read(batch)} if read else self.objective(self.model, batch)


class _Gathered(SequenceModel):
    """A sharded model as ranking sees it: each read is a forward pass of the whole."""

    is_sharded = True
    model: SequenceModel

    def __init__(self, model: SequenceModel, passes: nn.Module) -> None:
        super().__init__()
        self.passes = passes
        self.max_len = model.max_len
        object.__setattr__(self, "model", model)  # not registered twice: it is already a part of `passes`

    def read(self, batch: SequenceBatch) -> torch.Tensor:
        return self.passes(batch, read=True)["read"]

    def item_vectors(self) -> torch.Tensor:
        return self.model.item_vectors()


class Engine:
    """Holds model and optimiser on their devices and does one step after another.

    Args:
        model: what is trained; only parameters that require gradients change.
        objective: returns the loss terms of a batch, each a mean over its targets, `loss` among them.
        options: optimiser and gradient bound.
    """

    def __init__(self, model: SequenceModel, objective: Objective, options: TrainingOptions) -> None:
        processes.join()
        self.model, self.options = model, options
        # Buffers, the item table among them, never change, so they need not be sent at every pass.
        parallel = DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=model.may_idle)
        self.accelerator = Accelerator(mixed_precision=mixed_precision(), kwargs_handlers=[parallel])
        self.sharded = processes.slice_models() and model.shards
        self.compiled = model.stacked_layers() if options.compile else []
        for layer in self.compiled:
            compile_layer(layer, self.accelerator.device)
        self.passes = self._parallel(_Pass(model, objective))
        self.optimizer = torch.optim.AdamW(
            _decay_groups(model, options.weight_decay), lr=options.learning_rate, betas=options.betas
        )

    def backward(self, portions: list[Portion], seed: int) -> dict[str, float]:
        """Computes the gradient of the step's mean loss, scaled down to `max_grad_norm`.

        Args:
            portions: this process's passes.
            seed: of the dropout masks; each process draws its own masks.

        Returns:
            The loss terms of the whole step and the norm of its gradient before it is scaled down.
        """
        # Far above the seeds of steps, so that processes never share masks; process 0 draws as if it were alone.
        torch.manual_seed(seed + (processes.index() << 40))
        totals: dict[str, float] = {}
        for number, portion in enumerate(portions, 1):
            with self._synchronised(number == len(portions)):
                with self.accelerator.autocast():
                    terms = self.passes(portion.batch.to(self.accelerator.device))
                # Data parallelism averages over the processes, but the weights already add up to 1 over all of them.
                (terms["loss"] * (portion.weight * processes.count())).backward()
            for name, term in terms.items():
                totals[name] = totals.get(name, 0.0) + term.item() * portion.weight
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.max_grad_norm)
        # Gradients are exchanged by now; the loss terms are still those of this process's own passes.
        shared = processes.summed(np.array(list(totals.values())))
        return dict(zip(totals, shared.tolist(), strict=True)) | {GRAD_NORM: sharding.whole(norm).item()}

    def update(self, rate: float) -> None:
        """Moves the parameters along the gradient at learning rate `rate` and clears the gradient."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def readable(self) -> SequenceModel:
        """Returns the model as it can be read between steps: itself, or one that gathers its slices."""
        return _Gathered(self.model, self.passes) if self.sharded else self.model

    def close(self) -> None:
        """Gives compiled layers their own code back."""
        for layer in self.compiled:
            del layer.forward  # set on the instance, so deleting it uncovers the method of the class

    def _parallel(self, passes: _Pass) -> nn.Module:
        """Returns the module that exchanges gradients with the other processes; the same one where there are none."""
        if self.sharded:  # before the move: the whole model need not fit on one device
            sharding.shard(passes, self.model.stacked_layers())
        passes.to(self.accelerator.device)
        if self.sharded or processes.count() == 1:
            return passes
        with warnings.catch_warnings():  # torch renames the argument by which Accelerate keeps buffers from being sent
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
            return self.accelerator.prepare(passes)

    def _synchronised(self, last: bool) -> AbstractContextManager[object]:
        """Lets processes exchange gradients only in the last pass of a step."""
        return nullcontext() if last or self.sharded else self.accelerator.no_sync(self.passes)


def compile_layer(layer: nn.Module, device: torch.device) -> None:
    """Puts torch.compile on one layer's own code; hooks on the layer stay outside, so hidden states can be captured.

    Raises:
        InputError: torch.compile has no compiler.
    """
    compiler = find_spec("triton") if device.type == "cuda" else shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        needed = "the package triton" if device.type == "cuda" else "a C++ compiler (g++, or the one named by CXX)"
        raise InputError(f"training.compile needs {needed}, and there is none: install it or leave compile out")
    layer.forward = torch.compile(layer.forward, dynamic=True)  # dynamic: batches differ in their longest history


def _decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Splits the trained parameters: matrices of linear maps decay; norms, biases and embeddings do not."""
    # By id: `in` would compare the values of tensors.
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    trained = [value for value in model.parameters() if value.requires_grad]
    decayed = [value for value in trained if value.ndim >= 2 and id(value) not in embeddings]
    kept = [value for value in trained if value.ndim < 2 or id(value) in embeddings]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


def mixed_precision() -> str:
    """Returns `bf16` or `no`: what the launcher says, else bf16 on a GPU that has it.

    Raises:
        InputError: the launcher says something else.
    """
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION")
    if launched not in (None, "no", "bf16"):
        raise InputError(f"mixed precision must be no or bf16; the launcher says {launched}: change its configuration")
    if launched:
        return launched
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"


def release_memory() -> None:
    """Frees the memory of a model that an error has just dropped: the next model needs it."""
    gc.collect()  # reference cycles keep a model alive until the collector runs
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def available_device() -> torch.device:
    """Returns the device that trained models are used on: Accelerate's choice, the GPU where there is one."""
    return torch.device(str(PartialState().device))
