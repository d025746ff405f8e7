"""The paper's three distillation terms over aligned block states, in the paper's reduction or its released code's.

Symbols: s_k, t_k are the student's and teacher's states where block k ends, before the final norm, at the supervised
positions. Both models are compared in the same space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch.nn.functional import cosine_similarity

from layerprobe.arguments import checked
from layerprobe.ranges import Range

Reduction = Literal["paper", "code"]
TERMS = ("cosine", "norm", "multiple")


@dataclass(frozen=True)
@checked
class DistillationWeights:
    """Weights of the terms that are added to cross-entropy; 0 leaves a term out. Defaults: the paper's."""

    cosine: Annotated[float, Range(0, 1_000_000)] = 1.0
    """Weight of 1 - cosine of aligned states (lambda 1)."""
    norm: Annotated[float, Range(0, 1_000_000)] = 0.1
    """Weight of the distance of aligned states (lambda 2)."""
    multiple: Annotated[float, Range(0, 1_000_000)] = 1.0
    """Weight of cross-entropy at the inner blocks' own heads (lambda 3)."""
    reduction: Literal["paper", "code"] = "paper"
    """`paper`: mean over blocks, squared distance. `code`: sum over blocks, plain distance, as released."""

    def asked(self) -> tuple[str, ...]:
        """Names of the terms with a weight above 0."""
        return tuple(name for name in TERMS if getattr(self, name) > 0)


def _over_blocks(values: torch.Tensor, reduction: Reduction) -> torch.Tensor:
    return values.mean() if reduction == "paper" else values.sum()


def cosine_term(student: torch.Tensor, teacher: torch.Tensor, reduction: Reduction) -> torch.Tensor:
    """Returns 1 - cos(s_k, t_k), mean over positions, then mean (paper) or sum (code) over blocks.

    Range: 0 (same direction) to 2 per block. Source: arXiv 2405.17890, D_cos.

    Args:
        student: float32 [blocks, read, width].
        teacher: the same shape.
        reduction: over blocks.
    """
    # Positions first, so that the two reductions differ by the number of blocks only: [blocks, read] to [blocks].
    return _over_blocks((1 - cosine_similarity(student, teacher, dim=-1)).mean(dim=1), reduction)


def norm_term(student: torch.Tensor, teacher: torch.Tensor, reduction: Reduction) -> torch.Tensor:
    """Returns the squared L2 distance of s_k and t_k (paper) or the plain one (code), reduced like `cosine_term`.

    Called "feature norm regularisation" in the paper: a distance of vectors, not a difference of norms.
    """
    squared = (student - teacher).pow(2).sum(dim=-1)  # [blocks, read]
    # The root has an infinite slope at 0: equal states would get a gradient of NaN.
    distance = squared if reduction == "paper" else squared.clamp_min(1e-12).sqrt()
    return _over_blocks(distance.mean(dim=1), reduction)
