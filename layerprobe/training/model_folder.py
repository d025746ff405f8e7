"""Model folders: one model trained, ranked and described, the same files whether SASRec, teacher, variant or student.

Written in this order: `log.jsonl`, `checkpoint/model.safetensors`, `spec.yaml`, `ranks.parquet`, `metrics.json`, and
`done.json` last. A folder without `done.json` is resumed; a finished one is skipped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from layerprobe import processes
from layerprobe.backbone.selection import LayerSelection
from layerprobe.data.train_batches import TrainBatches
from layerprobe.errors import InputError
from layerprobe.evaluation.metrics import metric_table
from layerprobe.evaluation.ranking import Ranking, metric_line, timed_ranks
from layerprobe.recommender.losses import next_item_objective_with
from layerprobe.recommender.sequence_model import SequenceModel
from layerprobe.store.atomic import read_json, read_yaml, write_json, write_parquet, write_yaml
from layerprobe.store.layout import CHECKPOINT, ITEM_TABLE, LOG, METRICS, RANKS, REPLACED, SPEC, WEIGHTS
from layerprobe.store.model_record import ModelRecord, read_model_record, write_model_record
from layerprobe.store.run_folder import DONE, differing_keys, hash_value, mark_done, require_unchanged
from layerprobe.store.seals.seal import damage, read_seal
from layerprobe.training.checkpoint import drop_resume, load_model, saved_progress
from layerprobe.training.engine import Objective, available_device
from layerprobe.training.log import VALID, say
from layerprobe.training.loop import FitResult, Trainer
from layerprobe.training.options import TrainingOptions, train_batches
from layerprobe.training.tracking import UNTRACKED, Tracking


@dataclass(frozen=True)
class Point:
    """What a model is called in tables: kind, selection, depth and seed; and the layers it keeps, where it has any."""

    kind: str
    selection: str
    depth: int | None
    seed: int
    layers: tuple[int, ...] | None = None

    @staticmethod
    def of(kind: str, selection: LayerSelection, seed: int) -> Point:
        """Returns the point of a model that keeps `selection`."""
        return Point(kind, selection.text, selection.depth, seed, selection.layers)

    @property
    def label(self) -> str:
        """How progress lines call it."""
        return f"{self.kind} {self.selection} seed {self.seed}".replace("  ", " ")


@dataclass(frozen=True, eq=False)
class ModelJob:
    """One model to train.

    Attributes:
        point: its name in tables.
        folder: where its files go.
        spec: everything its result depends on, as plain values.
        build: makes the model; called only where the model is not finished.
        training: recipe.
        max_len: newest items read in training.
        parameters: counts parameters by part.
        objective: makes the loss terms of the built model; None is plain next-item training.
        ranked: returns the part of the built model that is ranked: all of it, except for a student with extra heads.
        defaults: defaults of the options in `spec`; an older model that does not name an option had its default.
        earlier: by key of `spec` that holds the hash of another model's weights, its values before those weights were
            damaged and trained again. A model made from them is trained again too.
    """

    point: Point
    folder: Path
    spec: dict[str, Any]
    build: Callable[[], SequenceModel]
    training: TrainingOptions
    max_len: int
    parameters: Callable[[SequenceModel], dict[str, int]]
    objective: Callable[[TrainBatches], Objective] | None = None
    ranked: Callable[[SequenceModel], SequenceModel] = lambda model: model
    defaults: Mapping[str, Any] = field(default_factory=dict)
    earlier: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Hash of what the result depends on."""
        return hash_value(self.spec)


def train_and_rank(job: ModelJob, ranking: Ranking, tracking: Tracking = UNTRACKED) -> None:
    """Trains and ranks a model and writes its folder; does nothing where the folder is finished.

    Args:
        job: the model.
        ranking: how it is ranked.
        tracking: trackers that follow its training.

    Raises:
        InputError: the folder holds the finished result of another specification.
        StudyError: training diverged or a check failed.
    """
    if processes.agreed(lambda: is_finished(job)):
        return
    if processes.agreed(lambda: is_trained(job)):
        _rank_again(job, ranking)
        return
    trainer = _trainer(job, ranking, tracking)
    model, result = trainer.model, trainer.run()
    if trainer.engine.sharded:
        del trainer, model  # frees the slices and moments: the whole model needs their memory
        model = load_trained(job.folder, job.build)
    ranked = job.ranked(model)
    ranks, speed = timed_ranks(ranked, ranking)
    processes.on_main(
        lambda: _finish(job, describe(job.point, result, job.parameters(ranked), ranks, speed, ranking.ks), ranks)
    )
    say(f"{job.point.label}: done, {metric_line(ranks)}")


def train_until(job: ModelJob, epochs: int, ranking: Ranking, tracking: Tracking = UNTRACKED) -> None:
    """Trains a model to the end of an epoch or to its early stop; does nothing where it is already that far.

    Args:
        job: the model.
        epochs: number of epochs to reach.
        ranking: how its validation users are ranked.
        tracking: trackers that follow its training.

    Raises:
        InputError: the folder holds a model of another specification.
        StudyError: training diverged or a check failed.
    """
    if not processes.agreed(lambda: is_finished(job) or has_reached(job, epochs)):
        _trainer(job, ranking, tracking).pause_after(epochs)


def has_reached(job: ModelJob, epochs: int) -> bool:
    """Tells whether a half-trained model has reached this number of epochs or was stopped early.

    Raises:
        InputError: it is a training of another specification.
    """
    if is_trained(job):
        return True
    progress = saved_progress(job.folder / CHECKPOINT, job.spec, job.defaults)
    return progress.stopped or progress.epoch >= epochs


def _trainer(job: ModelJob, ranking: Ranking, tracking: Tracking) -> Trainer:
    model = job.build()
    batches = train_batches(ranking.split, job.max_len, job.training, job.point.seed, model.extra_positions)
    return Trainer(
        model,
        batches,
        job.training,
        ranking.ndcg_valid,
        job.folder,
        objective=next_item_objective_with(job.training.loss) if job.objective is None else job.objective(batches),
        label=job.point.label,
        spec=job.spec,
        defaults=job.defaults,
        tracking=tracking,
    )


def is_finished(job: ModelJob) -> bool:
    """Tells whether the folder holds the finished model; removes the resume file that a killed process may have left.

    A model made from weights that were damaged and have other bits now is unmarked: it follows from them.

    Raises:
        InputError: it holds the finished model of another specification, or one of its files is missing or changed.
    """
    refuse_other(job)
    _reopen(job)
    if not (job.folder / DONE).exists() or _lost(job.folder):
        return False
    require_unchanged(job.folder)
    drop_resume(job.folder / CHECKPOINT)
    return True


def is_trained(job: ModelJob) -> bool:
    """Tells whether the folder holds the whole trained weights of this job, but lost what they give again.

    A damaged file is set aside when the study is opened (`study/repair.py`).
    """
    marker = job.folder / DONE
    if not marker.exists() or not _lost(job.folder):
        return False
    is_this = (job.folder / SPEC).exists() or read_seal(marker).key == job.key
    return is_this and not damage(marker, only=lambda name: name in (WEIGHTS, LOG))


def _lost(folder: Path) -> list[str]:
    """Returns which of the files that weights and log give again are missing in a finished folder."""
    return [name for name in (SPEC, RANKS, METRICS) if not (folder / name).exists()]


def _rank_again(job: ModelJob, ranking: Ranking) -> None:
    """Ranks a trained model whose ranks or description are lost, and writes both; nothing is trained."""
    lost = _lost(job.folder)
    model = load_trained(job.folder, job.build)
    ranked = job.ranked(model)
    ranks, speed = timed_ranks(ranked, ranking)
    if METRICS in lost:
        result = _told_by_log(job.folder, ranking.ndcg_valid(model))
        record = describe(job.point, result, job.parameters(ranked), ranks, speed, ranking.ks)
    else:
        record = read_model_record(job.folder)
    processes.on_main(lambda: _finish(job, record, ranks))
    say(f"{job.point.label}: ranked again, {metric_line(ranks)}; it was not trained again")


def _told_by_log(folder: Path, best_valid: float) -> FitResult:
    """Returns how a training went, from its log, whose seconds have six digits."""
    rows = [json.loads(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]
    epochs = [row for row in rows if VALID in row]
    best = max(epochs, key=lambda row: row[VALID])  # the first of equal ones, as in training
    steps = [row["step"] for row in rows if "step" in row]
    seconds = round(epochs[-1]["seconds"], 3)
    return FitResult(best["epoch"], best_valid, epochs[-1]["epoch"], max(steps, default=-1) + 1, seconds)


def note_replaced(folder: Path, weights: Sequence[str]) -> None:
    """Writes down, by their hashes, which weights a folder held whose training is to be made again, until it is."""
    write_json(folder / REPLACED, list(weights))


def refuse_other(job: ModelJob) -> None:
    """Makes sure that the job's folder holds no finished model of another specification.

    The specifications are compared, not their hashes: an older version lacks the options that came later, and those at
    their defaults are no difference.

    Raises:
        InputError: it does; the message names the keys that differ.
    """
    differing = _differing(job)
    if differing and not _follows(job, differing):
        raise InputError(
            f"{job.folder} holds a finished model of another specification; these keys differ: "
            f"{', '.join(differing[:5])}; nothing is overwritten: choose another --out or delete that folder"
        )


def _differing(job: ModelJob) -> list[str]:
    if not ((job.folder / DONE).exists() and (job.folder / SPEC).exists()):
        return []
    return differing_keys(read_yaml(job.folder / SPEC), json.loads(json.dumps(job.spec)), job.defaults)


def _follows(job: ModelJob, differing: Sequence[str]) -> bool:
    """Tells whether a model differs only in weights it was made from, which were damaged and are others now."""
    stored = read_yaml(job.folder / SPEC)
    return all(name in job.earlier and stored.get(name) in job.earlier[name] for name in differing)


def _reopen(job: ModelJob) -> None:
    """Unmarks a finished model whose inputs were made again with other bits, so that it is trained again."""
    differing, marker = _differing(job), job.folder / DONE
    if differing:
        say(f"{job.point.label}: made from weights that were damaged and are others now: it is trained again")
        seal = read_seal(marker)
        note_replaced(job.folder, [*seal.replaced, seal.files[WEIGHTS]])
        marker.unlink()
        for name in (RANKS, METRICS, ITEM_TABLE):
            (job.folder / name).unlink(missing_ok=True)


def _finish(job: ModelJob, record: ModelRecord, ranks: pd.DataFrame) -> None:
    write_yaml(job.folder / SPEC, job.spec)
    write_parquet(job.folder / RANKS, ranks)
    write_model_record(job.folder, record)
    files = [SPEC, LOG, WEIGHTS, RANKS, METRICS]
    marker, earlier = job.folder / DONE, job.folder / REPLACED
    replaced = read_json(earlier) if earlier.exists() else read_seal(marker).replaced if marker.exists() else ()
    mark_done(job.folder, job.key, [job.folder / name for name in files], replaced)
    earlier.unlink(missing_ok=True)
    drop_resume(job.folder / CHECKPOINT)


def describe(
    point: Point, result: FitResult, parameters: dict[str, int], ranks: pd.DataFrame, speed: float, ks: list[int]
) -> ModelRecord:
    """Returns the content of `metrics.json`."""
    rows = metric_table(ranks, ks).to_dict("records")
    return ModelRecord(
        kind=point.kind,
        selection=point.selection,
        depth=point.depth,
        layers=point.layers,
        seed=point.seed,
        parameters=parameters,
        train_seconds=result.train_seconds,
        users_per_second=round(speed, 1),
        epochs=result.epochs,
        best_epoch=result.best_epoch,
        best_valid=result.best_valid,
        metrics=[{str(name): value for name, value in row.items()} for row in rows],
    )


def load_trained(folder: Path, build: Callable[[], SequenceModel]) -> SequenceModel:
    """Builds a model and loads its trained parameters, in evaluation mode."""
    model = build()
    load_model(folder / WEIGHTS, model)
    return model.eval().to(available_device())


def read_ranks(folder: Path) -> pd.DataFrame:
    """Reads a model folder's ranks."""
    return pd.read_parquet(folder / RANKS)
