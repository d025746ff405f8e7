"""`distil`: trains a student on next items and on the block states of a frozen teacher. Studies do the same."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import Annotated

from layerprobe.arguments import checked, require_kind, writable_folder
from layerprobe.data.splits import Split
from layerprobe.data.train_batches import TrainBatches
from layerprobe.distillation.losses import DistillationWeights
from layerprobe.distillation.mapping import BlockMap, block_map
from layerprobe.distillation.run import BlockDistillation, StudentInTraining
from layerprobe.distillation.teacher_cache import cache_teacher
from layerprobe.errors import InputError
from layerprobe.evaluation.ranking import require_same_items
from layerprobe.ranges import SEED, Range
from layerprobe.recommender.losses import LossOptions
from layerprobe.recommender.model import Recommender
from layerprobe.training.engine import available_device
from layerprobe.training.fit import FitPlan, fit_by
from layerprobe.training.loop import FitResult
from layerprobe.training.options import TrainingOptions


@dataclass(frozen=True)
@checked
class DistilOptions:
    """How a student is trained on its teacher's states.

    Raises:
        InputError: a field is of a wrong type.
    """

    training: TrainingOptions = field(default_factory=TrainingOptions)
    """Rates, epochs and loss of the student."""
    weights: DistillationWeights = field(default_factory=DistillationWeights)
    """Weights of the cosine, norm and multiple-supervision terms; 0 leaves a term out."""
    blocks: Annotated[int | None, Range(1, 1000)] = None
    """Blocks aligned between the two; None takes the most that divide both depths."""
    seed: Annotated[int, SEED] = 0
    """Seed of the order of examples and of the heads of inner blocks."""


def distil(
    student: Recommender,
    teacher: Recommender,
    split: Split,
    options: DistilOptions | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> FitResult:
    """Trains a student in place; ends with its best parameters by validation NDCG@10, in evaluation mode.

    Args:
        student: untrained, of at most as many layers as its teacher and of the same width.
        teacher: trained; it is frozen and not changed.
        split: the log that the teacher was trained on.
        options: training, weights of the terms, blocks.
        folder: where checkpoints are kept, so that a training that was cut off is resumed; None keeps nothing.

    Raises:
        InputError: an argument is of a wrong kind, the models do not fit together, or the folder holds another
            training.
        DistillationTermError: a term is zero, not finite, or sends no gradient to the student's layers.
        TrainingDiverged: a loss or gradient became NaN or infinite.
    """
    options = DistilOptions() if options is None else options
    for name, model in (("student", student), ("teacher", teacher)):
        require_kind(name, model, Recommender, instead="build one with build_recommender")
    require_kind("split", split, Split, instead="take the .split of what prepare returns")
    require_kind("options", options, DistilOptions)
    require_pair(student, teacher)
    ends = block_map(teacher.n_layers, student.n_layers, options.blocks)
    require_same_items(student, split)
    require_same_items(teacher, split)
    teacher.to(available_device())
    loss = options.training.loss
    plan = FitPlan(
        seed=options.seed,
        folder=None if folder is None else writable_folder("folder", folder),
        make_objective=lambda batches: block_objective(teacher, batches, ends, options.weights, loss),
        spec={"weights": asdict(options.weights), "blocks": ends.blocks, "teacher_depth": teacher.n_layers},
        label=f"student, {student.n_layers} of its teacher's {teacher.n_layers} layers",
    )
    return fit_by(StudentInTraining(student, ends.blocks, options.seed), split, options.training, plan)


def block_objective(
    teacher: Recommender, batches: TrainBatches, ends: BlockMap, weights: DistillationWeights, loss: LossOptions
) -> BlockDistillation:
    """Runs the frozen teacher once over all training examples and returns the student's objective."""
    return BlockDistillation(weights, ends, cache_teacher(teacher, batches, ends.teacher), loss)


def require_pair(student: Recommender, teacher: Recommender) -> None:
    """Makes sure that the states of two models can be compared.

    Raises:
        InputError: they are one model, or their widths differ.
    """
    if student is teacher:
        raise InputError("student and teacher must be two models; got one: build the student anew")
    widths = student.head.in_features, teacher.head.in_features
    if widths[0] != widths[1]:
        raise InputError(f"student and teacher must have the same width; got {widths[0]} and {widths[1]}")
