"""Where the models lie that may be trained with several seeds without being variants: SASRec and the student.

The first seed's model stays where it lies in a study of one seed; another seed's lies in a folder `seed-s` in it.
"""

from __future__ import annotations

from pathlib import Path

from layerprobe.pipeline.study import Study


def sasrec_folders(study: Study) -> dict[int, Path]:
    """Returns SASRec's folder per seed; the first one's table is the item table of every model."""
    return _folders(study, study.folder / "items", study.spec.items.every_seed)


def student_folders(study: Study) -> dict[int, Path]:
    """Returns the student's folder per seed; the first one's model is exported."""
    spec = study.spec.distill
    return _folders(study, study.folder / "distillation" / spec.name, spec.every_seed)


def _folders(study: Study, folder: Path, every_seed: bool) -> dict[int, Path]:
    first, *others = study.spec.probe.seeds
    return {first: folder, **{seed: folder / f"seed-{seed}" for seed in (others if every_seed else [])}}
