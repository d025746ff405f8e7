"""The cost stage: how long and how much memory each trained model takes on this machine, beside its parameters.

Takes the finished variants and SASRec, writes `costs/costs.csv`, one row per model, and `costs/costs.json`: where and
how it was measured. Models are timed in turn, in several rounds, so that a slow minute of the machine hits all of them
alike; each is loaded anew for a round, so that one at a time lies in memory. A model that this machine has too little
memory for stays without costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import pandas as pd
import torch

from layerprobe import columns, processes
from layerprobe.evaluation.serving import BEST, Request, answer, make_requests, time_requests
from layerprobe.pipeline.cost_files import COSTS_FILE, COSTS_FOLDER, FRONT_FILE, whole_numbers
from layerprobe.pipeline.model_folder import ModelJob, load_trained, read_metrics
from layerprobe.pipeline.recommender_jobs import variant_job
from layerprobe.pipeline.spec import to_plain
from layerprobe.pipeline.stages import sasrec_job
from layerprobe.pipeline.study import Study
from layerprobe.recommender.losses import next_item_objective_with
from layerprobe.recommender.model import Recommender
from layerprobe.recommender.sequence_model import SequenceModel
from layerprobe.store.atomic import write_csv, write_json
from layerprobe.store.provenance import provenance
from layerprobe.store.run_folder import DONE, file_hash_of, hash_value, is_done, mark_done
from layerprobe.training.adapters import merged
from layerprobe.training.checkpoint import MODEL
from layerprobe.training.engine import Engine, available_device, release_memory
from layerprobe.training.log import say
from layerprobe.training.measure import model_bytes, peak_bytes, step_bytes
from layerprobe.training.options import train_batches

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

ROUNDS = 3
FACTS = "costs.json"
ONE, MANY = 1, 64
"""Users per timed call."""
SHARE_OF_MANY = 0.3
VERSION = 1
"""Of what is measured; another one measures anew."""
OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)

T = TypeVar("T")


@dataclass
class Served:
    """What answering requests took a model: milliseconds of calls by batch size, and bytes."""

    calls: dict[int, list[float]] = field(default_factory=lambda: {ONE: [], MANY: []})
    weights: int = 0
    scoring: int = 0


def cost_stage(study: Study) -> None:
    """Measures every finished variant and SASRec; does nothing where these models were measured with these options.

    What memory was too small for is said and measured again in the next run.
    """
    folder, jobs = study.folder / COSTS_FOLDER, measured_jobs(study)
    key = _key(study, jobs)
    if processes.agreed(lambda: is_done(folder, key, derived=True)):
        return
    served = processes.agreed(lambda: serve(study, jobs))
    training = [_trained_bytes(study, job) for job in jobs]
    processes.on_main(lambda: _write(study, jobs, key, served, training))
    measured = processes.agreed(lambda: sum(found is not None for found in served))
    say(f"cost: {measured} models measured on {available_device().type}")


def measured_jobs(study: Study) -> list[ModelJob]:
    """Returns the models that are measured: per selection the first seed that is trained, then SASRec.

    What a model costs does not depend on its seed. A selection of which no training is finished is left out.
    """
    found = []
    for selection in study.selections:
        jobs = [variant_job(study, selection, seed) for seed in study.spec.probe.seeds]
        found += [job for job in jobs if (job.folder / DONE).exists()][:1]
    return [*found, sasrec_job(study, study.spec.probe.seeds[0])]


def _key(study: Study, jobs: list[ModelJob]) -> str:
    """Returns the hash of the models, of all their trainings, and of the options."""
    hashes = [file_hash_of(folder, f"checkpoint/{MODEL}") for job in jobs for folder in _trainings(study, job)]
    rules = {"remove_history": study.spec.evaluation.remove_history, "data": study.data_hash}
    return hash_value({"models": hashes, "cost": to_plain(study.spec.cost), "version": VERSION, **rules})


def _trainings(study: Study, job: ModelJob) -> list[Path]:
    """Returns the finished folders of all seeds of a job's model."""
    if job.point.depth is None:
        return [job.folder]
    selection = next(each for each in study.selections if each.text == job.point.selection)
    folders = [study.variant_folder(selection, seed) for seed in study.spec.probe.seeds]
    return [folder for folder in folders if (folder / DONE).exists()]


def _n_calls(study: Study) -> dict[int, int]:
    calls = study.spec.cost.calls
    return {ONE: calls, MANY: round(SHARE_OF_MANY * calls)}


def serve(study: Study, jobs: list[ModelJob]) -> list[Served | None]:
    """Times all models, a part of the calls in each round; the same requests for each model.

    Returns:
        One entry per job; None where memory was too small for it.
    """
    split, removes = study.data.split, study.spec.evaluation.remove_history
    requests = {size: make_requests(split, n_calls, size) for size, n_calls in _n_calls(study).items()}
    served: list[Served | None] = [Served() for _ in jobs]
    for turn in range(ROUNDS):
        for place, job in enumerate(jobs):
            found = served[place]
            if found is not None:
                served[place] = _with_memory(job, partial(_serve_once, job, requests, removes, turn, found))
    return served


def _serve_once(
    job: ModelJob, requests: Mapping[int, list[Request]], removes: bool, turn: int, found: Served
) -> Served:
    """Adds one round to what was found of a model; it is gone from memory before the next one is loaded."""
    model = as_served(load_trained(job.folder, job.build))
    for size, asked in requests.items():
        found.calls[size] += time_requests(model, asked[turn::ROUNDS], removes).tolist()
    if turn == 0:
        longest = max(requests[MANY], key=_longest)
        found.weights = model_bytes(model).weights
        found.scoring = peak_bytes(lambda: answer(model, longest, removes), model.device)
    return found


def _with_memory(job: ModelJob, measure: Callable[[], T]) -> T | None:
    """Returns what is measured, or None, which is said, where memory is too small for it."""
    try:
        return measure()
    except OUT_OF_MEMORY as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
    release_memory()
    say(f"cost: {job.point.label} is left out, out of memory ({reason})")
    return None


def as_served(model: SequenceModel) -> SequenceModel:
    """Merges LoRA, as export does. A quantized backbone keeps it beside: merged, it would be rounded once more."""
    if isinstance(model, Recommender) and not getattr(model.backbone, "is_quantized", False):
        model.network = merged(cast("PreTrainedModel | PeftModel", model.network))
    return model


def _longest(request: Request) -> int:
    return max(len(history) for history in request)


def _trained_bytes(study: Study, job: ModelJob) -> int | None:
    """Returns `training_bytes`, or None where memory is too small; in a launch that ends the run, since all wait."""
    measure = partial(training_bytes, study, job)
    return _with_memory(job, measure) if processes.count() == 1 else measure()


def training_bytes(study: Study, job: ModelJob) -> int | None:
    """Returns what a process holds at the peak of a training step: weights, moments, and the step's own.

    All processes of a launch take the step together. None where they hold slices of the model: what one of them holds
    then depends on the launch. Layers are not compiled, which costs minutes and is for speed.
    """
    model = job.build()
    size = model_bytes(model)
    training = replace(job.training, compile=False)
    if processes.slice_models() and model.shards:
        return None
    batches = train_batches(study.data.split, job.max_len, training, job.point.seed, model.extra_positions)
    backward, update = step_bytes(Engine(model, next_item_objective_with(training.loss), training), batches)
    return size.held + max(backward, size.trained + update)


def _write(
    study: Study, jobs: list[ModelJob], key: str, served: list[Served | None], training: list[int | None]
) -> None:
    """Writes what was measured; where that is no variant, nothing, and older files are taken away."""
    folder = study.folder / COSTS_FOLDER
    (folder / DONE).unlink(missing_ok=True)
    rows = [
        {**_described(study, job), **_measured(found), columns.TRAINING_BYTES: taken}
        for job, found, taken in zip(jobs, served, training, strict=True)
        if found is not None
    ]
    if all(row[columns.DEPTH] is None for row in rows):
        for name in (COSTS_FILE, FACTS, FRONT_FILE):
            (folder / name).unlink(missing_ok=True)
        return
    write_csv(folder / COSTS_FILE, whole_numbers(pd.DataFrame(rows, columns=list(columns.COSTS))))
    write_json(folder / FACTS, _facts(study))
    if len(rows) == len(jobs) and (processes.slice_models() or None not in training):
        mark_done(folder, key, [folder / COSTS_FILE, folder / FACTS])


def _described(study: Study, job: ModelJob) -> dict[str, Any]:
    """Returns what the model's own files say of it."""
    found = [read_metrics(folder) for folder in _trainings(study, job)]
    counts = found[0]["parameters"]
    return {
        columns.KIND: job.point.kind,
        columns.SELECTION: job.point.selection,
        columns.DEPTH: job.point.depth,
        columns.PARAMETERS: counts["total"],
        **{f"{columns.PARAMETERS}_{part}": counts.get(part) for part in columns.PARAMETER_PARTS},
        columns.TRAIN_SECONDS: float(np.mean([each["train_seconds"] for each in found])),
    }


def _measured(found: Served) -> dict[str, float]:
    one, many = (np.array(found.calls[size]) for size in (ONE, MANY))
    return {
        columns.USERS_PER_SECOND: 1000 * MANY * len(many) / float(many.sum()),
        columns.LATENCY_P50_1: float(np.quantile(one, 0.5)),
        columns.LATENCY_P95_1: float(np.quantile(one, 0.95)),
        columns.LATENCY_P50_64: float(np.quantile(many, 0.5)),
        columns.LATENCY_P95_64: float(np.quantile(many, 0.95)),
        columns.WEIGHT_BYTES: found.weights,
        columns.SCORING_BYTES: found.scoring,
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
        "calls": {str(size): n_calls for size, n_calls in _n_calls(study).items()},
        "rounds": ROUNDS,
        "items_returned": BEST,
        "processes": processes.count(),
    }
