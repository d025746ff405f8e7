"""The trained teacher of a study read after every layer: heads fitted, exits ranked, in `exits/`."""

from __future__ import annotations

import time

from layerprobe import processes
from layerprobe.probing.exits import ExitScorer
from layerprobe.probing.probe_heads import ProbeHeads, fit_probe_heads
from layerprobe.recommender.model import Recommender
from layerprobe.stages.ranks import ranked, write_ranks
from layerprobe.store.layout import HEADS
from layerprobe.store.run_folder import DONE, is_done
from layerprobe.study.defaults import hashed_options
from layerprobe.study.jobs.recommenders import load_teacher, teacher_key
from layerprobe.study.study import Study
from layerprobe.training.log import say
from layerprobe.training.options import train_batches


def exits_key(study: Study) -> str:
    """Returns the hash of everything that the exits depend on; the teacher must be trained."""
    spec = study.spec
    heads = hashed_options("probe.heads", spec.probe.heads)
    training = hashed_options("training", spec.training)
    return teacher_key(study, heads=heads, training=training, seed=spec.probe.seeds[0])


def rank_exits(study: Study) -> None:
    """Ranks the exits of every kind and depth from one forward pass; does nothing where that is done."""
    folder, key = study.layout.exits, exits_key(study)
    if processes.agreed(lambda: is_done(folder, key, derived=True)):
        return
    processes.on_main(lambda: (folder / DONE).unlink(missing_ok=True))
    teacher = load_teacher(study)
    scorer = ExitScorer(teacher, _fitted_heads(study, teacher))
    started = time.monotonic()
    ranks = ranked(scorer, study.ranking)
    say(f"exits: {len(scorer.names)} ranked from one forward pass, {time.monotonic() - started:.0f} s")
    processes.on_main(lambda: write_ranks(folder, key, ranks, [folder / HEADS]))


def _fitted_heads(study: Study, teacher: Recommender) -> ProbeHeads:
    """Fits the heads on the study's training part and writes them."""
    training, seed, started = study.spec.training, study.spec.probe.seeds[0], time.monotonic()
    batches = train_batches(study.data.split, teacher.max_len, training, seed, teacher.extra_positions)
    heads = fit_probe_heads(teacher, batches, study.spec.probe.heads, training.loss)
    say(f"exits: {len(heads.weights)} heads fitted, {time.monotonic() - started:.0f} s")
    processes.on_main(lambda: heads.save(study.layout.exits / HEADS))
    return heads
