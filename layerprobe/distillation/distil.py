"""`distil`: trains a student on next items and on the block states of a frozen teacher. Studies do the same."""

from __future__ import annotations

import os
from dataclasses import asdict

from layerprobe.arguments import as_path, require_kind, require_whole
from layerprobe.data.splits import Split
from layerprobe.data.train_batches import TrainBatches
from layerprobe.distillation.losses import DistillationWeights
from layerprobe.distillation.mapping import BlockMap, block_map
from layerprobe.distillation.run import BlockDistillation, StudentInTraining
from layerprobe.distillation.teacher_cache import cache_teacher
from layerprobe.errors import InputError
from layerprobe.recommender.losses import LossOptions
from layerprobe.recommender.model import Recommender
from layerprobe.training.engine import available_device
from layerprobe.training.fit import fit_by
from layerprobe.training.loop import FitResult
from layerprobe.training.options import TrainingOptions


def distil(
    student: Recommender,
    teacher: Recommender,
    split: Split,
    options: TrainingOptions | None = None,
    weights: DistillationWeights | None = None,
    *,
    blocks: int | None = None,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
) -> FitResult:
    """Trains a student in place; ends with its best parameters by validation NDCG@10, in evaluation mode.

    Args:
        student: untrained, of at most as many layers as its teacher and of the same width.
        teacher: trained; it is frozen and not changed.
        split: the log that the teacher was trained on.
        options: rates, epochs, loss of the student.
        weights: of the cosine, norm and multiple-supervision terms; 0 leaves a term out.
        blocks: blocks aligned between the two; None takes the most that divide both depths.
        seed: seed of the order of examples and of the heads of inner blocks.
        folder: where checkpoints are kept, so that a training that was cut off is resumed; None keeps nothing.

    Raises:
        InputError: an argument is of a wrong kind, the models do not fit together, or the folder holds another
            training.
        DistillationTermError: a term is zero, not finite, or sends no gradient to the student's layers.
        TrainingDiverged: a loss or gradient became NaN or infinite.
    """
    options = TrainingOptions() if options is None else options
    weights = DistillationWeights() if weights is None else weights
    for name, model in (("student", student), ("teacher", teacher)):
        require_kind(name, model, Recommender, instead="build one with build_recommender")
    require_kind("split", split, Split, instead="take the .split of what prepare returns")
    require_kind("options", options, TrainingOptions)
    require_kind("weights", weights, DistillationWeights)
    require_whole("seed", seed, 0)
    require_pair(student, teacher)
    ends = block_map(teacher.n_layers, student.n_layers, blocks)
    in_training = StudentInTraining(student, ends.blocks, seed)
    teacher.to(available_device())
    return fit_by(
        in_training,
        split,
        options,
        seed,
        None if folder is None else as_path("folder", folder),
        remove_history=True,
        make_objective=lambda batches: block_objective(teacher, batches, ends, weights, options.loss),
        spec={"weights": asdict(weights), "blocks": ends.blocks, "teacher_depth": teacher.n_layers},
    )


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
