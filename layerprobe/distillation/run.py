"""Block-wise distillation: a student is trained on next items and on its frozen teacher's block states.

Every requested term is logged, checked to be finite and non-zero at every step, and at the first step checked to have a
gradient in the student's layers. A missing term stops the run: it never falls back to plain training.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from layerprobe.data.batches import SequenceBatch
from layerprobe.distillation.losses import DistillationWeights, cosine_term, norm_term
from layerprobe.distillation.mapping import BlockMap
from layerprobe.distillation.teacher_cache import TeacherCache
from layerprobe.errors import DistillationTermError, InputError
from layerprobe.recommender.losses import FULL_SOFTMAX, LossOptions, next_item_loss
from layerprobe.recommender.model import Recommender
from layerprobe.recommender.sequence_model import SequenceModel


class StudentInTraining(SequenceModel):
    """A student with the extra heads that multiple supervision needs; the heads are dropped on export."""

    shards = True
    may_idle = True  # the heads, where multiple supervision has weight 0

    def __init__(self, student: Recommender, blocks: int, seed: int) -> None:
        super().__init__()
        self.student = student
        self.max_len = student.max_len
        with torch.random.fork_rng(devices=[]):  # drawing the heads must not change the random numbers of the caller
            torch.manual_seed(seed)
            self.block_heads = nn.ModuleList(
                nn.Linear(student.head.in_features, student.head.out_features, bias=False) for _ in range(blocks - 1)
            )

    def read(self, batch: SequenceBatch) -> torch.Tensor:
        """Returns the student's user vectors."""
        return self.student.read(batch)

    def stacked_layers(self) -> list[nn.Module]:
        """Returns the student's layers."""
        return self.student.stacked_layers()

    @property
    def extra_positions(self) -> int:
        """The student's own."""
        return self.student.extra_positions

    def item_vectors(self) -> torch.Tensor:
        """Returns the item table."""
        return self.student.item_vectors()


class BlockDistillation:
    """The objective L = CE + cosine, norm and multiple-supervision terms (arXiv 2405.17890, section on distillation).

    Raises:
        InputError: multiple supervision has a weight and there is one block, so no inner block to supervise.
        DistillationTermError: a requested term is zero, not finite, or has no gradient in the student's layers.
    """

    def __init__(
        self,
        weights: DistillationWeights,
        blocks: BlockMap,
        cache: TeacherCache,
        loss: LossOptions = FULL_SOFTMAX,
    ) -> None:
        if weights.multiple > 0 and blocks.blocks < 2:
            raise InputError(
                "distill.weights.multiple supervises the inner blocks, and there is only one block; "
                "set it to 0 or choose more blocks"
            )
        self.weights, self.blocks, self.cache, self.loss = weights, blocks, cache, loss
        self.proven = False

    def __call__(self, model: SequenceModel, batch: SequenceBatch) -> dict[str, torch.Tensor]:
        """Returns `loss`, `cross_entropy` and each requested term, unweighted but for `loss`."""
        assert isinstance(model, StudentInTraining)
        if not self.proven:
            self._prove_gradients(model, batch)
            self.proven = True
        terms, _ = self._terms(model, batch)
        for name in self.weights.asked():
            value = terms[name].item()
            if not math.isfinite(value) or value == 0:
                raise DistillationTermError(f"distillation term {name} must be finite and above 0; it is {value}")
        weighted = [getattr(self.weights, name) * terms[name] for name in self.weights.asked()]
        return {"loss": sum(weighted, start=terms["cross_entropy"]), **terms}

    def _terms(self, model: StudentInTraining, batch: SequenceBatch) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Returns the terms and the student's block states they were made of."""
        vectors, hidden = model.student.read_with_hidden(batch)  # [read, dim], [depth + 1, read, width]
        states = hidden[list(self.blocks.student)]  # [blocks, read, width]
        items, drawn = model.item_vectors(), batch.sampled
        terms = {"cross_entropy": next_item_loss(vectors, items, batch.targets, self.loss, drawn)}
        if self.weights.cosine > 0 or self.weights.norm > 0:
            teacher = self.cache.at(batch.flat)  # [blocks, read, width]
            if self.weights.cosine > 0:
                terms["cosine"] = cosine_term(states, teacher, self.weights.reduction)
            if self.weights.norm > 0:
                terms["norm"] = norm_term(states, teacher, self.weights.reduction)
        if self.weights.multiple > 0:
            inner = [  # all blocks but the last, whose head is the model's own
                next_item_loss(head(state), items, batch.targets, self.loss, drawn)
                for head, state in zip(model.block_heads, states[:-1], strict=True)
            ]
            total = torch.stack(inner).sum()
            terms["multiple"] = total / len(inner) if self.weights.reduction == "paper" else total
        return terms, states

    def _prove_gradients(self, model: StudentInTraining, batch: SequenceBatch) -> None:
        """Stops the run unless each requested term has a gradient in the student's layers.

        With a frozen backbone it is the input map that learns through the layers. A sharded student's parameters are
        gathered only for a moment, so there the gradient is checked in the output of its layers.
        """
        inside = [value for value in model.student.network.parameters() if value.requires_grad]
        trained = inside or list(model.student.input_adapter.parameters())
        sharded = isinstance(trained[0], DTensor)
        for name in self.weights.asked():
            with torch.random.fork_rng():  # the check must not change the dropout masks of the step itself
                terms, states = self._terms(model, batch)
            # autograd.grad, not backward: the gradients of the step itself must stay empty.
            gradients = torch.autograd.grad(terms[name], [states] if sharded else trained, allow_unused=True)
            if not any(gradient is not None and gradient.abs().max() > 0 for gradient in gradients):
                raise DistillationTermError(f"distillation term {name} has no gradient in the student's layers")
