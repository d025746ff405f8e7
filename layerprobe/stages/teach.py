"""Stage teach: the full-depth teacher."""

from __future__ import annotations

from layerprobe.stages.planned import Planned
from layerprobe.study.jobs.recommenders import teacher_job
from layerprobe.study.study import Study
from layerprobe.training.model_folder import train_and_rank


def run(study: Study) -> None:
    """Trains the full-depth teacher."""
    train_and_rank(teacher_job(study), study.ranking, study.tracking)


def plan(study: Study) -> list[Planned]:
    """Returns the teacher."""
    spec, folder = study.spec, study.layout.teacher
    return [
        Planned(f"teacher: {study.full}", "recommender", (folder,), spec.training, spec.recommender.max_len, study.full)
    ]
