"""Checks of a study that need no model: whether spec, backbone and data fit together, before anything is trained."""

from __future__ import annotations

import copy

from layerprobe import processes
from layerprobe.backbone.load import backbone_config, composed
from layerprobe.backbone.selection import LayerSelection
from layerprobe.backbone.truncate import cut_config
from layerprobe.data.splits import Split
from layerprobe.distillation.mapping import block_map
from layerprobe.errors import InputError
from layerprobe.probing.looks import check_looks
from layerprobe.probing.variant import check_recipe, repeated_positions
from layerprobe.similarity.measures import require_rows
from layerprobe.study.spec_rules import NAME
from layerprobe.study.study import Study
from layerprobe.training.log import say
from layerprobe.training.options import train_batches


def check_study(study: Study) -> None:
    """Checks what can be checked before anything is computed or written.

    Raises:
        InputError: selections, controls, seeds, blocks, lengths or prompts do not fit together.
    """
    spec = study.spec
    if study.n_layers < 1:
        raise InputError(f"the teacher must keep at least one layer; backbone.keep {spec.backbone.keep} keeps none")
    waiting = [text for text, depth in study.family.pending if depth < study.n_layers]
    if len(study.selections) + len(waiting) < 2:
        got = spec.probe.selections if spec.probe.depths is None else spec.probe.depths
        raise InputError(
            f"probe.depths or probe.selections must hold a depth below the teacher's {study.n_layers}; got {got}"
        )
    study.tracking.check()
    check_inputs(study)
    check_similarity(study)
    check_controls(study)
    check_cover(study)
    check_looks(spec.decision, spec.probe.seeds)
    check_halving(study)
    check_student(study)


def check_inputs(study: Study) -> None:
    """Checks backbone, prompt, adapter and selections, and warns where the prompt is repeated and costs time.

    Raises:
        InputError: they do not fit together.
    """
    if study.spec.backbone.quantize is not None and processes.slice_models():
        raise InputError(
            "backbone.quantize cannot be used with FSDP: packed weights cannot be sharded; use "
            "configs/accelerate/gpus.yaml or leave quantize out"
        )
    trainings = {"training": study.spec.training, "distill.training": study.spec.distill.training}
    supervisions = {
        f"{name}.supervision": training.supervision for name, training in trainings.items() if training is not None
    }
    for note in check_recipe(study.recipe, supervisions):
        say(note)
    config = backbone_config(study.spec.backbone)
    for selection in study.selections:
        _check_folder_name(selection)
        cut_config(copy.deepcopy(config), composed(study.spec.backbone, config.num_hidden_layers, selection))


def _check_folder_name(selection: LayerSelection) -> None:
    problem = NAME.problem(selection.folder)
    if problem is not None:
        raise InputError(
            f"a selection becomes the name of a folder and {problem}; got {selection.folder[:20]}... with "
            f"{len(selection.folder):,}: write runs of layers, such as keep:0-7"
        )


def check_steps(study: Study, split: Split) -> None:
    """Checks, once the data exist, that the training batches can be built with the options set.

    Raises:
        InputError: a pass cannot hold the longest sequence, a window slides further than it reads, or the catalogue
            has fewer items than a loss samples; the message names the training.
    """
    spec = study.spec
    extra = repeated_positions(study.recipe)
    reads = spec.recommender.max_len
    trainings = [("items.training", spec.items.training, spec.items.sasrec.max_len, 0)]
    trainings += [("training", spec.training, reads, extra)]
    if spec.distill.training is not None:
        trainings += [("distill.training", spec.distill.training, reads, extra)]
    for name, training, max_len, carried in trainings:
        try:
            train_batches(split, max_len, training, seed=0, extra=carried)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error


def check_similarity(study: Study, n_users: int | None = None) -> None:
    """Checks that there are enough users for the similarity measures.

    Args:
        study: what is asked for.
        n_users: users with a validation target; None where the data do not exist yet.

    Raises:
        InputError: a measure needs more rows.
    """
    spec = study.spec.similarity
    n_rows = spec.rows if n_users is None else min(spec.rows, n_users)
    require_rows(spec.measures, n_rows, backbone_config(study.spec.backbone).hidden_size)


def check_controls(study: Study) -> None:
    """Checks that the control arms have pretrained weights to compare with.

    Raises:
        InputError: they have none.
    """
    backbone = study.spec.backbone
    if not study.spec.probe.controls:
        return
    if backbone.checkpoint is None or backbone.init == "random":
        why = "has random weights" if backbone.checkpoint else "is built from a shape, so its weights are random"
        raise InputError(
            f"probe.controls random-init needs pretrained weights to compare with; the backbone {why}: leave "
            "probe.controls out"
        )
    if backbone.quantize is not None:
        raise InputError(
            "probe.controls random-init draws weights in full precision and cannot be used with backbone.quantize: "
            "leave out one of them"
        )


def check_cover(study: Study) -> None:
    """Checks that training noise can be estimated where intervals must cover it.

    Raises:
        InputError: there is one seed only.
    """
    seeds = study.spec.probe.seeds
    if study.spec.decision.cover == "training" and len(seeds) < 2:
        raise InputError(
            f"decision.cover training needs at least 2 training seeds of every model; probe.seeds has {len(seeds)}: "
            "give two or more, or set decision.cover users"
        )


def check_halving(study: Study) -> None:
    """Checks that halving chooses before the last epoch.

    Raises:
        InputError: it would choose after it.
    """
    halving, epochs = study.spec.probe.halving, study.spec.training.epochs
    if halving is not None and halving.after >= epochs:
        raise InputError(
            f"probe.halving.after must be smaller than training.epochs, which is {epochs}; got {halving.after}: a "
            "variant that is trained to the end cannot be stopped"
        )


def check_student(study: Study) -> None:
    """Checks that the student has the blocks that its loss terms need.

    Raises:
        InputError: it does not, or student and teacher would be the same model.
    """
    spec, deepest = study.spec.distill, study.n_layers
    if spec.depth is None and spec.selection is None:
        if not study.can_distil(deepest):  # the decision may keep every layer
            raise InputError(
                f"distill.depth is not set, but a student of {deepest} layers lacks the blocks its loss terms need; "
                "set distill.weights.multiple to 0, or choose distill.depth or selection, blocks and start"
            )
        return
    depth = study.student_depth
    assert depth is not None
    blocks = block_map(deepest, depth, spec.blocks)
    if blocks.blocks == 1 and spec.weights.multiple > 0:
        raise InputError(
            f"a student of {depth} layers has no inner block in common with a teacher of {deepest}, which "
            "distill.weights.multiple needs: choose depths with a common divisor above 1, or set it to 0"
        )
    if spec.start == "teacher" and depth == deepest:
        raise InputError(
            "distill.start teacher at the teacher's own depth leaves nothing to distil; choose a smaller depth"
        )
