"""Which states of teacher and student belong together: one function for alignment and multiple supervision.

The paper cuts both models into B blocks of equal length; block k ends at `hidden[k L / B]`. Its released code divides
L + 1 by B in one of the two uses, so there the two disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from layerprobe.errors import InputError


@dataclass(frozen=True)
class BlockMap:
    """Ends of the blocks, as indices into `hidden[0..L]`.

    Attributes:
        teacher: end of each block in the teacher, ascending; the last is the teacher's depth.
        student: end of each block in the student; the last is the student's depth.
    """

    teacher: tuple[int, ...]
    student: tuple[int, ...]

    @property
    def blocks(self) -> int:
        """Number of blocks, B."""
        return len(self.teacher)


def block_map(teacher_depth: int, student_depth: int, blocks: int | None = None) -> BlockMap:
    """Maps B equal blocks of the teacher onto B equal blocks of the student.

    Args:
        teacher_depth: layers of the teacher, at least the student's.
        student_depth: layers of the student, at least 1.
        blocks: B; None takes the largest number that divides both depths.

    Raises:
        InputError: a depth is not a multiple of B, the student is deeper than its teacher or has no layer.
    """
    if not 1 <= student_depth <= teacher_depth:
        raise InputError(f"the student's depth must lie in 1..{teacher_depth}, the teacher's; got {student_depth}")
    n_blocks = gcd(teacher_depth, student_depth) if blocks is None else blocks
    if n_blocks < 1 or teacher_depth % n_blocks or student_depth % n_blocks:
        raise InputError(
            f"distill.blocks must divide both depths, {teacher_depth} and {student_depth}; got {n_blocks}; "
            f"{gcd(teacher_depth, student_depth)} and its divisors do"
        )
    return BlockMap(
        teacher=tuple(k * teacher_depth // n_blocks for k in range(1, n_blocks + 1)),
        student=tuple(k * student_depth // n_blocks for k in range(1, n_blocks + 1)),
    )
