"""The frozen teacher runs once per training example: its block states are kept in memory by sequence position."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from layerprobe.data.train_batches import TrainBatches
from layerprobe.recommender.model import Recommender
from layerprobe.training.log import shown


@dataclass(frozen=True, eq=False)
class TeacherCache:
    """Block states of the teacher at every supervised position.

    Attributes:
        states: float32 [cached, blocks, width].
        slot: int64, entry of each position of `Sequences.items`, -1 where nothing is supervised.
    """

    states: torch.Tensor
    slot: torch.Tensor

    def at(self, flat: torch.Tensor) -> torch.Tensor:
        """Returns the teacher's states at sequence positions `flat`, [blocks, read, width]."""
        # Only the batch's states are moved to the device: the cache itself stays in the CPU's memory.
        return self.states[self.slot[flat.cpu()]].transpose(0, 1).to(flat.device)  # [blocks, read, width]


def cache_teacher(teacher: Recommender, batches: TrainBatches, ends: tuple[int, ...]) -> TeacherCache:
    """Runs the teacher over every training step once, in its passes, in evaluation mode and without gradients."""
    slot = torch.full((len(batches.split.sequences.items),), -1)
    kept: list[torch.Tensor] = []
    filled = 0
    batches = replace(batches, sampler=None)  # states do not depend on the items of the loss
    plan = batches.plan(0)  # every epoch has the same examples, in another order
    teacher.eval()
    with torch.inference_mode():
        for chosen in shown(plan, len(plan), "teacher states"):
            for batch in (portion.batch for portion in batches.portions(chosen)):
                states = teacher.hidden(batch.to(teacher.device))[list(ends)].cpu()  # [blocks, read, width]
                slot[batch.flat] = torch.arange(filled, filled + len(batch.flat))
                filled += len(batch.flat)
                kept.append(states.transpose(0, 1).contiguous())  # [read, blocks, width]: one position, one stretch
    return TeacherCache(torch.cat(kept), slot)
