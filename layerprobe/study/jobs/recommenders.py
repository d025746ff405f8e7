"""The recommenders of a study as model folders: teacher, variants and their control twins.

Takes a study whose data and items exist, hands on `ModelJob`s: what a result depends on and how the model is built.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from layerprobe.backbone.selection import LayerSelection, measured_form
from layerprobe.probing.variant import RecipeOptions, build_recommender, parameter_counts
from layerprobe.recommender.model import Recommender
from layerprobe.recommender.sequence_model import SequenceModel
from layerprobe.store.atomic import read_tensors
from layerprobe.store.layout import WEIGHTS
from layerprobe.store.run_folder import file_hash_of, hash_value, replaced_of
from layerprobe.study.defaults import model_defaults
from layerprobe.study.spec import to_plain
from layerprobe.study.study import Study
from layerprobe.training.model_folder import ModelJob, Point, load_trained


def teacher_job(study: Study) -> ModelJob:
    """Describes the full model trained from the backbone's own weights: the teacher, whose layers are compared."""
    return _job(study, study.full, study.spec.probe.seeds[0], study.layout.teacher, from_teacher=False)


def variant_job(study: Study, selection: LayerSelection, seed: int) -> ModelJob:
    """Describes one variant; where variants start from the backbone, the full model's first one is the teacher."""
    folder = study.variant_folder(selection, seed)
    return _job(study, selection, seed, folder, from_teacher=study.spec.probe.start == "teacher")


def _job(study: Study, selection: LayerSelection, seed: int, folder: Path, from_teacher: bool) -> ModelJob:
    depends = _depends(study, drawn_with(study.recipe, seed), selection, seed)
    if from_teacher:
        depends["start"] = file_hash_of(study.layout.teacher, WEIGHTS)
    return ModelJob(
        point=Point.of("variant", selection, seed),
        folder=folder,
        spec=depends,
        build=lambda: build_variant(study, selection, seed, from_teacher),
        training=study.spec.training,
        max_len=study.spec.recommender.max_len,
        parameters=_recommender_parameters,
        defaults=model_defaults(study.spec),
        earlier=earlier_weights(study, seed),
    )


def control_job(study: Study, control: str, selection: LayerSelection, seed: int) -> ModelJob:
    """Describes a variant's twin in a control arm, `random-init`: the same layers and training, random weights.

    It starts from its own random weights whatever `probe.start` says: a start from the trained teacher would bring back
    the pretrained weights. Each training seed draws its own weights, so several seeds average over the draw.
    """
    backbone = replace(study.recipe.backbone, init="random", init_seed=seed)
    recipe = replace(study.recipe, backbone=backbone)
    return ModelJob(
        point=Point.of(control, selection, seed),
        folder=study.control_folder(control, selection, seed),
        spec=_depends(study, recipe, selection, seed),
        build=lambda: build_recommender(recipe, study.item_table_of(seed), selection, seed),
        training=study.spec.training,
        max_len=study.spec.recommender.max_len,
        parameters=_recommender_parameters,
        defaults=model_defaults(study.spec),
        earlier=earlier_weights(study, seed),
    )


def build_variant(
    study: Study, selection: LayerSelection, seed: int, from_teacher: bool, recipe: RecipeOptions | None = None
) -> Recommender:
    """Builds an untrained variant, or one that starts from the trained teacher's weights.

    Args:
        study: where teacher and item table are.
        selection: layers to keep.
        seed: training seed.
        from_teacher: whether to start from the trained teacher.
        recipe: what it is built from; None is the study's own recipe.
    """
    start = None
    if from_teacher:
        start, _ = read_tensors(study.layout.teacher / WEIGHTS)
    return build_recommender(recipe or study.recipe, study.item_table_of(seed), selection, seed, start)


def drawn_with(recipe: RecipeOptions, seed: int) -> RecipeOptions:
    """Returns the recipe of one training, with the seed that draws its random initial weights."""
    return replace(recipe, backbone=recipe.backbone.drawn_with(seed))


def load_teacher(study: Study) -> Recommender:
    """Returns the trained teacher in evaluation mode, gradients off."""
    seed = study.spec.probe.seeds[0]
    teacher = load_trained(study.layout.teacher, lambda: build_variant(study, study.full, seed, False))
    assert isinstance(teacher, Recommender)
    return teacher.requires_grad_(False)


def shared_dependencies(study: Study) -> dict[str, object]:
    """Returns what every model's result depends on besides its own options.

    It is hashed as it is (`teacher_key`, baselines), so a rule of a later version belongs in only where it is not at
    its default.
    """
    spec = study.spec.evaluation
    rules = {"sampled": spec.sampled, "seed": spec.seed, "remove_history": spec.remove_history, "ks": spec.ks}
    return {"evaluation": rules, "data": study.data_hash}


def teacher_key(study: Study, **more: object) -> str:
    """Returns the hash of what is computed from the trained teacher, and of what it depends on besides."""
    teacher = file_hash_of(study.layout.teacher, WEIGHTS)
    return hash_value({"teacher": teacher, **shared_dependencies(study), **more})


def _depends(study: Study, recipe: RecipeOptions, selection: LayerSelection, seed: int) -> dict[str, object]:
    table = _table(study, file_hash_of(study.table_folder(seed), WEIGHTS))
    return {
        "selection": selection.text,
        **({} if measured_form(selection.text, study.n_layers) is None else {"layers": list(selection.layers)}),
        "seed": seed,
        **to_plain(recipe),
        "training": to_plain(study.spec.training),
        **shared_dependencies(study),
        "items": hash_value(table),
    }


def earlier_weights(study: Study, seed: int) -> dict[str, list[str]]:
    """Returns what the keys of a model's inputs were before these were damaged and trained again."""
    teacher = list(replaced_of(study.layout.teacher))
    tables = [hash_value(_table(study, weights)) for weights in replaced_of(study.table_folder(seed))]
    return {"items": tables, "start": teacher, "teacher": teacher}


def _table(study: Study, sasrec: str) -> dict[str, str]:
    return {"kind": study.spec.items.kind, "sasrec": sasrec}


def _recommender_parameters(model: SequenceModel) -> dict[str, int]:
    assert isinstance(model, Recommender)
    return parameter_counts(model)
