"""The trained teacher of a study with some of its layers alone, kept in `similarity/`."""

from __future__ import annotations

from layerprobe.probing.removal.cut_store import CutStore
from layerprobe.probing.removal.cuts import CutValues
from layerprobe.similarity.sampling import sampled_users
from layerprobe.study.jobs.recommenders import load_teacher, teacher_key
from layerprobe.study.study import Study


def cut_store(study: Study) -> CutStore:
    """Returns the file of values; its name does not depend on rounding in the teacher's training."""
    spec = study.spec.similarity
    return CutStore(study.layout.cuts(spec.rows, spec.seed), teacher_key(study, rows=spec.rows, seed=spec.seed))


def study_cuts(study: Study) -> CutValues:
    """Returns the values of a study with a trained teacher, on its sample of validation users."""
    spec = study.spec.similarity
    users = sampled_users(study.data.split, spec.rows, spec.seed)
    return CutValues(lambda: load_teacher(study), study.ranking, users, cut_store(study))
