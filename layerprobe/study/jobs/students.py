"""The distilled student as a model folder: which layers it keeps, and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass

from layerprobe.backbone.selection import LayerSelection, parse_selection
from layerprobe.data.train_batches import TrainBatches
from layerprobe.distillation.distil import block_objective
from layerprobe.distillation.mapping import BlockMap, block_map
from layerprobe.distillation.run import BlockDistillation, StudentInTraining
from layerprobe.kinds import STUDENT
from layerprobe.recommender.model import Recommender
from layerprobe.recommender.sequence_model import SequenceModel
from layerprobe.store.decision import DecisionRecord, read_decision
from layerprobe.store.layout import WEIGHTS
from layerprobe.store.run_folder import file_hash_of
from layerprobe.study.jobs.recommenders import build_variant, drawn_with, load_teacher, variant_job
from layerprobe.study.spec import to_plain
from layerprobe.study.study import Study
from layerprobe.training.model_folder import ModelJob, Point


@dataclass(frozen=True)
class KeptLayers:
    """The selection that a study keeps: the pick within its budget, or else the decided one.

    Attributes:
        selection, depth, layers: None where nothing below the full model is kept.
        is_pick: whether it was picked within the budget.
    """

    selection: str | None
    depth: int | None
    layers: tuple[int, ...] | None
    is_pick: bool


def kept_by(decision: DecisionRecord) -> KeptLayers:
    """Returns what a decision keeps."""
    pick = decision.budget
    if pick is None or pick.selection is None:
        return KeptLayers(decision.selection, decision.depth, decision.layers, is_pick=False)
    return KeptLayers(pick.selection, pick.depth, pick.layers, is_pick=True)


def student_selection(study: Study) -> LayerSelection:
    """Returns the student's layers: those of the spec, of the budget's pick, of the decision, or deeper ones.

    The number of blocks must divide both depths, multiple supervision needs two blocks, and depth 0 has none. Where the
    decided depth does not fit, the next larger one that fits is used, with its best studied selection (one that is not
    worse first, then by the metric), or `first:k` where none was studied.
    """
    named = study.student_selection
    if named is not None:
        return named
    decision = read_decision(study.folder)
    kept = kept_by(decision)
    if kept.selection is not None and kept.depth is not None and study.can_distil(kept.depth):
        return parse_selection(kept.selection, study.n_layers, study.measured)
    decided = study.n_layers if kept.depth is None else max(kept.depth, 1)
    depth = next(k for k in range(decided, study.n_layers + 1) if study.can_distil(k))
    studied = [row for row in decision.depths if row.depth == depth]
    best = max(studied, key=lambda row: (row.not_worse, row.value), default=None)
    return parse_selection(f"first:{depth}" if best is None else best.text, study.n_layers, study.measured)


def distill_job(study: Study, selection: LayerSelection, seed: int) -> ModelJob:
    """Describes the distilled student that keeps `selection`; all seeds have the same teacher."""
    spec = study.spec.distill
    blocks = block_map(study.n_layers, selection.depth, spec.blocks)
    plain = variant_job(study, selection, seed)
    depends = {
        **plain.spec,
        **to_plain(drawn_with(study.student_recipe, seed)),
        # Without its selection and seed, which stand above with every other model's.
        "distill": {name: value for name, value in to_plain(spec).items() if name not in ("selection", "every_seed")},
        "teacher": file_hash_of(study.layout.teacher, WEIGHTS),
    }

    def build() -> SequenceModel:
        student = build_variant(study, selection, seed, spec.start == "teacher", study.student_recipe)
        return StudentInTraining(student, blocks.blocks, seed)

    return ModelJob(
        point=Point.of(STUDENT, selection, seed),
        folder=study.student_folders[seed],
        spec=depends,
        build=build,
        training=spec.training or study.spec.training,
        max_len=plain.max_len,
        parameters=plain.parameters,
        objective=lambda batches: _objective(study, blocks, batches),
        ranked=student_of,
        defaults=plain.defaults,
        earlier=plain.earlier,
    )


def _objective(study: Study, blocks: BlockMap, batches: TrainBatches) -> BlockDistillation:
    training = study.spec.distill.training or study.spec.training
    return block_objective(load_teacher(study), batches, blocks, study.spec.distill.weights, training.loss)


def student_of(model: SequenceModel) -> Recommender:
    """Returns the student without the extra heads that its training needs."""
    assert isinstance(model, StudentInTraining)
    return model.student
