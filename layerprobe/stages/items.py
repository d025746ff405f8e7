"""Stage items: SASRec trained, the item table frozen, the floors ranked."""

from __future__ import annotations

from functools import partial

import pandas as pd

from layerprobe import processes
from layerprobe.items.table import from_vectors, random_table
from layerprobe.kinds import SCORED_FLOORS
from layerprobe.recommender.baselines import floors
from layerprobe.stages.planned import Planned
from layerprobe.stages.ranks import ranked, write_ranks
from layerprobe.store.layout import ITEM_TABLE
from layerprobe.store.run_folder import add_file, hash_value, is_done
from layerprobe.study.jobs.recommenders import shared_dependencies
from layerprobe.study.jobs.sasrec import sasrec_job
from layerprobe.study.study import Study
from layerprobe.training.model_folder import ModelJob, load_trained, train_and_rank


def run(study: Study) -> None:
    """Trains SASRec, freezes the item table and ranks the floors."""
    first, *others = [sasrec_job(study, seed) for seed in study.sasrec_folders]
    train_and_rank(first, study.ranking, study.tracking)
    processes.on_main(lambda: _freeze_items(study, first))
    for job in others:
        train_and_rank(job, study.ranking, study.tracking)
        if study.spec.items.table_per_seed:
            processes.on_main(partial(_freeze_items, study, job))
    _rank_floors(study)


def plan(study: Study) -> list[Planned]:
    """Returns SASRec of each seed; the first one with the item table and the floors."""
    (_, first), *others = study.sasrec_folders.items()
    training, reads = study.spec.items.training, study.spec.items.sasrec.max_len
    folders = (first, study.layout.baselines)
    return [
        Planned("items: SASRec and floors", "sasrec", folders, training, reads, floors=len(SCORED_FLOORS)),
        *(Planned(f"items: SASRec, seed {seed}", "sasrec", (folder,), training, reads) for seed, folder in others),
    ]


def _freeze_items(study: Study, sasrec: ModelJob) -> None:
    """Writes the item table beside the SASRec of one seed: its vectors, or vectors drawn at random."""
    spec, folder = study.spec.items, sasrec.folder
    if (folder / ITEM_TABLE).exists():
        add_file(folder, ITEM_TABLE)  # a kill or an older version may have left it without a hash
        return
    if spec.kind == "random":
        n_items = study.data.catalogue.n_items
        # The first table is drawn with the data's seed alone, as it always was.
        is_first = sasrec.point.seed == study.spec.probe.seeds[0]
        drawn_with = study.spec.data.seed + (0 if is_first else 1 + sasrec.point.seed)
        table = random_table(n_items, spec.random_dim, drawn_with, study.data_hash)
    else:
        table = from_vectors(load_trained(folder, sasrec.build).item_vectors(), "sasrec", study.data_hash)
    table.save(folder)
    add_file(folder, ITEM_TABLE)


def _rank_floors(study: Study) -> None:
    """Ranks the floors that are not ranked yet: one that is new in this version joins those of a finished study."""
    layout, key = study.layout, hash_value(shared_dependencies(study))
    paths = {kind.name: layout.baseline_ranks(kind.name) for kind in SCORED_FLOORS}
    done = processes.agreed(lambda: is_done(layout.baselines, key))
    known = processes.agreed(lambda: [name for name, path in paths.items() if done and path.exists()])
    missing = floors(study.data.split, study.data.catalogue, without=known)
    if done and not missing:
        return
    ranks: dict[str, pd.DataFrame] = {}
    for floor in missing:
        ranks |= ranked(floor, study.ranking)
    processes.on_main(lambda: write_ranks(layout.baselines, key, ranks, [paths[name] for name in known]))
