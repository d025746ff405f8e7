"""The heads of `exit-probe` in a study: what they depend on, and how they are fitted to its teacher."""

from __future__ import annotations

import time

from layerprobe import processes
from layerprobe.pipeline.recommender_jobs import teacher_key
from layerprobe.pipeline.spec import to_plain
from layerprobe.pipeline.study import Study
from layerprobe.probing.probe_heads import HEADS, ProbeHeads, fit_probe_heads
from layerprobe.recommender.model import Recommender
from layerprobe.training.log import say
from layerprobe.training.options import train_batches


def exits_key(study: Study) -> str:
    """Returns the hash of everything that the exits depend on; the teacher must be trained."""
    spec = study.spec
    heads = {"heads": to_plain(spec.probe.heads), "training": to_plain(spec.training), "seed": spec.probe.seeds[0]}
    return teacher_key(study, **heads)


def fitted_heads(study: Study, teacher: Recommender) -> ProbeHeads:
    """Fits the heads on the study's training part and writes them to `exits/`."""
    training, started = study.spec.training, time.monotonic()
    batches = train_batches(
        study.data.split, teacher.max_len, training, study.spec.probe.seeds[0], teacher.extra_positions
    )
    heads = fit_probe_heads(teacher, batches, study.spec.probe.heads, training.loss)
    say(f"exits: {len(heads.weights)} heads fitted, {time.monotonic() - started:.0f} s")
    processes.on_main(lambda: heads.save(study.folder / "exits" / HEADS))
    return heads
