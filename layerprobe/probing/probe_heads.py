"""Probe heads: one linear item head per depth, fitted on the states of a frozen teacher; used by `exit-probe`.

A head that was trained for `hidden[L]` reads earlier states badly, even where they contain the answer. Here every k
gets a head of its own. All are fitted in one pass over the training batches; nothing below the heads is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from layerprobe import processes
from layerprobe.arguments import checked
from layerprobe.data.batches import SequenceBatch
from layerprobe.data.train_batches import Portion, TrainBatches
from layerprobe.ranges import Range
from layerprobe.recommender.losses import FULL_SOFTMAX, LossOptions, next_item_loss
from layerprobe.recommender.model import Recommender
from layerprobe.store.atomic import read_tensors, write_tensors
from layerprobe.training.log import shown

BETAS = (0.9, 0.98)


@dataclass(frozen=True)
@checked
class ProbeHeadOptions:
    """How the heads of `exit-probe` are fitted."""

    epochs: Annotated[int, Range(1, 100_000)] = 2
    """Passes over the training users; each runs the frozen teacher once."""
    step_size: Annotated[float, Range(0, 100, above=True)] = 0.5
    """Largest change of the score of an average item at an average state by the first step, in logits; later steps
    fall to 0 along a cosine. Unlike a learning rate it does not depend on width and scale of states and items."""
    least_steps: Annotated[int, Range(1, 1_000_000)] = 64
    """Least number of steps per pass: where `training.batch_size` gives fewer, batches are made smaller."""


@dataclass(frozen=True, eq=False)
class ProbeHeads:
    """A linear map from the final-normed `hidden[k]` to the space of the item table, for every k.

    Attributes:
        weights: float32 [L + 1, dim, width].
    """

    weights: torch.Tensor

    def read(self, states: torch.Tensor, k: int) -> torch.Tensor:
        """Returns the user vectors [..., dim] of normed states [..., width] after k layers."""
        return states.to(self.weights.dtype) @ self.weights[k].T

    def save(self, path: Path) -> None:
        """Writes the heads as safetensors, and nothing else."""
        write_tensors(path, {"weights": self.weights.cpu()})

    @staticmethod
    def load(path: Path) -> ProbeHeads:
        """Reads what `save` wrote."""
        return ProbeHeads(read_tensors(path)[0]["weights"])


def fit_probe_heads(
    model: Recommender,
    batches: TrainBatches,
    options: ProbeHeadOptions | None = None,
    loss: LossOptions = FULL_SOFTMAX,
) -> ProbeHeads:
    """Fits a head for every k = 0..L on the frozen model's states at all supervised training positions.

    The loss is the study's mean next-item loss, which is convex in the head. Every head starts from the model's own
    head and takes the same number of Adam steps. Heads are independent, and no weight of the model changes. The small
    number of steps regularises: a head stays near the model's own unless the data say otherwise. Validation and test
    items are not read.

    Source: a linear classifier on frozen states is a probe in the sense of Alain and Bengio (arXiv 1610.01644). Reading
    every layer with a map of its own is the tuned lens of Belrose et al. (arXiv 2303.08112). How we differ: they fit a
    map between states to match the last layer's output, we fit the head to the true next item. And our step is given in
    logits: for states of mean 1-norm |x| and item vectors of mean 1-norm |v|, a weight moves by up to `step_size` /
    (|x| |v|), which moves a score by up to `step_size`. So the scale of states or vectors changes no score.

    Why: least squares needs no steps, but its squared errors are dominated by popular items.

    Args:
        model: in evaluation mode; all processes of a launch have the same one and share every step.
        batches: training batches, with the sampler that `loss` needs.
        options: number and size of the steps; None for the defaults.
        loss: the loss of the study.

    Returns:
        Heads on the model's device, the same in every process.

    Raises:
        InputError: the model needs supervision `last` and the batches have targets at every position.
    """
    options = options or ProbeHeadOptions()
    examples = -(-len(batches.examples) // options.least_steps)
    batches = replace(batches, batch_size=min(batches.batch_size, examples))
    steps = [chosen for epoch in range(options.epochs) for chosen in batches.plan(epoch)]
    fit = HeadFit(model, options.step_size, len(steps), loss)
    for step, chosen in enumerate(shown(steps, len(steps), "probe heads")):
        fit.step(batches.portions(chosen, processes.index(), processes.count(), step))
    return fit.heads()


def own_heads(model: Recommender) -> ProbeHeads:
    """Returns the model's own head for every k: the start of the fit, where `exit-probe` equals `exit-norm`."""
    own = model.head.weight.detach().float()
    return ProbeHeads(own.expand(model.n_layers + 1, *own.shape))


class HeadFit:
    """Heads while they are fitted: the model's own head plus a change in logits, which Adam optimises.

    Args:
        model: the frozen model.
        step_size: of the first step.
        n_steps: steps after which the step size is 0.
        loss: the loss that is minimised.
    """

    def __init__(self, model: Recommender, step_size: float, n_steps: int, loss: LossOptions = FULL_SOFTMAX) -> None:
        self.model, self.loss = model, loss
        self.own = own_heads(model).weights  # [L + 1, dim, width]
        self.items = model.item_vectors()
        self.change = torch.zeros_like(self.own, memory_format=torch.contiguous_format, requires_grad=True)
        self.unit: torch.Tensor | None = None
        self.adam = torch.optim.Adam([self.change], lr=step_size, betas=BETAS)
        self.schedule = CosineAnnealingLR(self.adam, n_steps)

    def heads(self) -> ProbeHeads:
        """Returns the heads as they are now."""
        return ProbeHeads(self._weights().detach())

    def step(self, portions: Sequence[Portion]) -> None:
        """Takes one step on the passes of this process; all processes must call it together."""
        # A portion of weight 0 only keeps the processes of a sharded model in step.
        passes = [portion for portion in portions if portion.weight]
        if self.unit is None:
            self.unit = self._logit(passes)
        for portion in passes:
            (portion.weight * self._summed_loss(portion.batch)).backward()
        gradient = torch.zeros_like(self.change) if self.change.grad is None else self.change.grad
        self.change.grad = self._over_processes(gradient)
        self.adam.step()
        self.schedule.step()
        self.adam.zero_grad()

    def _weights(self) -> torch.Tensor:
        return self.own if self.unit is None else self.own + self.unit * self.change

    def _states(self, batch: SequenceBatch) -> torch.Tensor:
        """Returns the normed states of the frozen model, float32 [L + 1, read, width]."""
        with torch.no_grad():
            return self.model.normed(self.model.hidden(batch.to(self.model.device))).float()

    def _summed_loss(self, batch: SequenceBatch) -> torch.Tensor:
        """Returns the sum over k of the mean losses of a pass; each term depends on its own head only."""
        states, heads = self._states(batch), ProbeHeads(self._weights())
        batch = batch.to(self.model.device)
        losses = [
            next_item_loss(heads.read(state, k), self.items, batch.targets, self.loss, batch.sampled)
            for k, state in enumerate(states)
        ]
        return torch.stack(losses).sum()

    def _logit(self, passes: list[Portion]) -> torch.Tensor:
        """Returns the change of all weights of a head that moves a score by one logit, [L + 1, 1, 1]."""
        # Sums of the states' 1-norms per depth, and behind them the number of states: one vector for one reduction.
        sums = torch.zeros(len(self.change) + 1, dtype=torch.float64, device=self.model.device)
        for portion in passes:
            norms = self._states(portion.batch).double().abs().sum(dim=2)  # [L + 1, read]
            sums += torch.cat([norms.sum(dim=1), norms.new_tensor([norms.shape[1]])])
        sums = self._over_processes(sums)
        scale = sums[:-1] / sums[-1] * self.items[1:].double().abs().sum(dim=1).mean()  # row 0 of items is padding
        return (1 / scale).float()[:, None, None]

    @staticmethod
    def _over_processes(values: torch.Tensor) -> torch.Tensor:
        if processes.count() == 1:
            return values
        total: np.ndarray = processes.summed(values.cpu().numpy())
        return torch.from_numpy(total).to(values)
