"""Stage cost: how long and how much memory each trained model takes on this machine, beside its parameters.

Takes the finished variants and SASRec, writes `costs/costs.csv`, one row per model, and `costs/costs.json`: where and
how it was measured. A model that needs more memory than this machine has gets no costs.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from layerprobe import columns, processes
from layerprobe.evaluation.serving import BEST
from layerprobe.stages.tables.cost_fronts import whole_numbers
from layerprobe.store.atomic import write_csv, write_json
from layerprobe.store.layout import WEIGHTS
from layerprobe.store.model_record import read_model_record
from layerprobe.store.provenance import provenance
from layerprobe.store.run_folder import DONE, file_hash_of, hash_value, is_done, mark_done
from layerprobe.study.defaults import hashed_options
from layerprobe.study.jobs.recommenders import variant_job
from layerprobe.study.jobs.sasrec import sasrec_job
from layerprobe.study.study import Study
from layerprobe.training.engine import available_device
from layerprobe.training.log import say
from layerprobe.training.model_costs import MANY, ONE, ROUNDS, Served, ServedModel, calls_by_size, serve, trained_bytes
from layerprobe.training.model_folder import ModelJob, load_trained

VERSION = 1
"""Version of the measurement; with another version everything is measured again."""


def run(study: Study) -> None:
    """Measures every finished variant and SASRec; does nothing where these models were measured with these options.

    Models that ran out of memory are named and measured again in the next run.
    """
    folder, jobs = study.layout.costs, measured_jobs(study)
    key = _key(study, jobs)
    if processes.agreed(lambda: is_done(folder, key, derived=True)):
        return
    models = [ServedModel(job.point.label, partial(load_trained, job.folder, job.build)) for job in jobs]
    split, removes = study.data.split, study.spec.evaluation.remove_history
    served = processes.agreed(lambda: serve(models, split, study.spec.cost.calls, removes))
    training = [trained_bytes(job, split) for job in jobs]
    processes.on_main(lambda: _write(study, jobs, key, served, training))
    measured = processes.agreed(lambda: sum(costs is not None for costs in served))
    say(f"cost: {measured} models measured on {available_device().type}")


def measured_jobs(study: Study) -> list[ModelJob]:
    """Returns the models that are measured: per selection the first seed that is trained, then SASRec.

    What a model costs does not depend on its seed. A selection of which no training is finished is left out.
    """
    variants = []
    for selection in study.selections:
        jobs = [variant_job(study, selection, seed) for seed in study.spec.probe.seeds]
        variants += [job for job in jobs if (job.folder / DONE).exists()][:1]
    return [*variants, sasrec_job(study, study.spec.probe.seeds[0])]


def _key(study: Study, jobs: list[ModelJob]) -> str:
    """Returns the hash of the models, of all their trainings, and of the options."""
    hashes = [file_hash_of(folder, WEIGHTS) for job in jobs for folder in _trainings(study, job)]
    rules = {"remove_history": study.spec.evaluation.remove_history, "data": study.data_hash}
    return hash_value({"models": hashes, "cost": hashed_options("cost", study.spec.cost), "version": VERSION, **rules})


def _trainings(study: Study, job: ModelJob) -> list[Path]:
    """Returns the finished folders of all seeds of a job's model."""
    if job.point.depth is None:
        return [job.folder]
    selection = next(one for one in study.selections if one.text == job.point.selection)
    folders = [study.variant_folder(selection, seed) for seed in study.spec.probe.seeds]
    return [folder for folder in folders if (folder / DONE).exists()]


def _write(
    study: Study, jobs: list[ModelJob], key: str, served: list[Served | None], training: list[int | None]
) -> None:
    """Writes the costs; where no variant could be measured, writes nothing and deletes older files."""
    layout = study.layout
    (layout.costs / DONE).unlink(missing_ok=True)
    rows = [
        {**_described(study, job), **_measured(answers), columns.TRAINING_BYTES: trained}
        for job, answers, trained in zip(jobs, served, training, strict=True)
        if answers is not None
    ]
    if all(row[columns.DEPTH] is None for row in rows):
        for path in (layout.cost_table, layout.cost_facts, layout.front):
            path.unlink(missing_ok=True)
        return
    write_csv(layout.cost_table, whole_numbers(pd.DataFrame(rows, columns=list(columns.COSTS))))
    write_json(layout.cost_facts, _facts(study))
    if len(rows) == len(jobs) and (processes.slice_models() or None not in training):
        mark_done(layout.costs, key, [layout.cost_table, layout.cost_facts])


def _described(study: Study, job: ModelJob) -> dict[str, Any]:
    """Returns the facts that stand in the model's own files."""
    trainings = [read_model_record(folder) for folder in _trainings(study, job)]
    counts = trainings[0].parameters
    return {
        columns.KIND: job.point.kind,
        columns.SELECTION: job.point.selection,
        columns.DEPTH: job.point.depth,
        columns.PARAMETERS: counts["total"],
        **{f"{columns.PARAMETERS}_{part}": counts.get(part) for part in columns.PARAMETER_PARTS},
        columns.TRAIN_SECONDS: float(np.mean([training.train_seconds for training in trainings])),
    }


def _measured(served: Served) -> dict[str, float]:
    one, many = (np.array(served.calls[size]) for size in (ONE, MANY))
    return {
        columns.USERS_PER_SECOND: 1000 * MANY * len(many) / float(many.sum()),
        columns.LATENCY_P50_1: float(np.quantile(one, 0.5)),
        columns.LATENCY_P95_1: float(np.quantile(one, 0.95)),
        columns.LATENCY_P50_64: float(np.quantile(many, 0.5)),
        columns.LATENCY_P95_64: float(np.quantile(many, 0.95)),
        columns.WEIGHT_BYTES: served.weights,
        columns.SCORING_BYTES: served.scoring,
    }


def _facts(study: Study) -> dict[str, Any]:
    """Returns where and how costs were measured."""
    device = available_device()
    known = provenance(device.type, list(study.spec.probe.seeds))
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "machine": known["machine"],
        "torch": torch.__version__,
        "calls": {str(size): n_calls for size, n_calls in calls_by_size(study.spec.cost.calls).items()},
        "rounds": ROUNDS,
        "items_returned": BEST,
        "processes": processes.count(),
    }
