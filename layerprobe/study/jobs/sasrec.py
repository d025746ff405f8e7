"""SASRec as a model folder: a floor in every figure; the one of the first seed gives the item table."""

from __future__ import annotations

from layerprobe.recommender.sasrec import SASRec
from layerprobe.recommender.sequence_model import SequenceModel
from layerprobe.study.defaults import model_defaults
from layerprobe.study.jobs.recommenders import shared_dependencies
from layerprobe.study.spec import to_plain
from layerprobe.study.study import Study
from layerprobe.training.model_folder import ModelJob, Point


def sasrec_job(study: Study, seed: int) -> ModelJob:
    """Describes SASRec of one seed."""
    spec = study.spec.items
    n_items = study.data.catalogue.n_items
    return ModelJob(
        point=Point("sasrec", "", None, seed),
        folder=study.sasrec_folders[seed],
        spec={
            "sasrec": to_plain(spec.sasrec),
            "training": to_plain(spec.training),
            "seed": seed,
            **shared_dependencies(study),
        },
        build=lambda: SASRec(n_items, spec.sasrec, seed),
        training=spec.training,
        max_len=spec.sasrec.max_len,
        parameters=_parameters,
        defaults=model_defaults(study.spec),
    )


def _parameters(model: SequenceModel) -> dict[str, int]:
    total = sum(value.numel() for value in model.parameters())
    table = model.item_vectors().numel()
    return {"total": total, "item_table": table, "layers": total - table, "trainable": total}
