"""What the machine can do and what a step asks of it: the matrix peak and the operations of a training step."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from layerprobe.data.batches import SequenceBatch
from layerprobe.recommender.sequence_model import SequenceModel


def matrix_peak(
    size: int,
    clock: Callable[[], float],
    rounds: int = 7,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> float:
    """Returns the floating-point operations per second of a product of two square matrices: a median.

    Args:
        size: rows of the matrices, large enough that the product fills the machine.
        clock: returns seconds; on a GPU it must wait until the GPU has finished.
        rounds: products timed, after one that is not.
        device: where the matrices lie.
        dtype: their type.
    """
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = left @ right
    seconds = []
    for _ in range(rounds):
        started = clock()
        torch.mm(left, right, out=out)
        seconds.append(clock() - started)
    return 2 * size**3 / statistics.median(seconds)


def step_operations(model: SequenceModel, batch: SequenceBatch) -> int:
    """Returns the floating-point operations of matrix products in one training step, forward and backward.

    The counter knows neither the chunked loss nor the fused attention of processors (it finds 0 for both), so the same
    step is run with both in their plain forms. A product counts in full, also where a mask hides half of it.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        scores = model.read(batch) @ model.item_vectors()[1:].T.float()
        cross_entropy(scores, batch.targets - 1).backward()
    model.zero_grad(set_to_none=True)
    return counter.get_total_flops()


def read_operations(model: SequenceModel, batch: SequenceBatch) -> int:
    """Returns the floating-point operations of matrix products in scoring the catalogue for a batch."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        _ = model.read(batch) @ model.item_vectors().T
    return counter.get_total_flops()
