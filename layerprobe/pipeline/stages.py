"""The stages of a study, each a function of the study folder: skipped where done, gone on with where cut off.

data, items, teach, similarity, probe, cost, decide, distill, export, report. A stage reads what earlier ones wrote and
nothing else, so any of them can be run alone once those before it are there.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import torch

from layerprobe import processes
from layerprobe.backbone.selection import measured_form
from layerprobe.data.audit import OrderAudit
from layerprobe.data.prepare import FILES, DataOptions, PreparedData, load_prepared, prepare, prepare_log
from layerprobe.data.progress import Steps
from layerprobe.data.splits import PARTS
from layerprobe.data.synthetic import generate
from layerprobe.evaluation.negatives import require_enough
from layerprobe.evaluation.ranks import Scorer, rank_targets
from layerprobe.items.table import ITEM_TABLE, from_vectors, random_table
from layerprobe.pipeline import outcomes
from layerprobe.pipeline.arms import sasrec_folders, student_folders
from layerprobe.pipeline.cuts import CutValues
from layerprobe.pipeline.model_folder import ModelJob, Point, load_trained, refuse_other, train_and_rank
from layerprobe.pipeline.probed_exits import exits_key, fitted_heads
from layerprobe.pipeline.recommender_jobs import load_teacher, shared_dependencies, teacher_job, variant_job
from layerprobe.pipeline.spec import DataSpec, StudySpec, to_plain
from layerprobe.pipeline.study import Study
from layerprobe.pipeline.sweep import Executor, run_sweep
from layerprobe.probing.exits import ExitScorer
from layerprobe.probing.probe_heads import HEADS
from layerprobe.recommender.baselines import Markov1, Popularity, TfIdf
from layerprobe.recommender.sasrec import SASRec
from layerprobe.recommender.sequence_model import SequenceModel
from layerprobe.store.atomic import replacing, write_parquet
from layerprobe.store.run_folder import DONE, hash_value, is_done, mark_done
from layerprobe.training.log import say


def data_stage(study: Study) -> None:
    """Reads, filters, audits and splits the log, or takes over a folder that `layerprobe prepare` made."""
    processes.on_main(lambda: _make_data(study))


def data_key(spec: DataSpec) -> str:
    """Returns the hash of what the data depend on.

    Options of lagged users are left out where there are none, so that data from before there was this kind stay valid.
    """
    plain = to_plain(spec)
    if not spec.synthetic.share_lagged:
        for name in ("share_lagged", "lag", "lagged_items"):
            del plain["synthetic"][name]
    return hash_value(plain)


def _make_data(study: Study) -> None:
    spec, folder = study.spec.data, study.folder / "data"
    key = data_key(spec)
    if is_done(folder, key):
        return
    data = prepared_data(study.spec, folder)
    counts = data.facts["counts"]
    say(f"data: {counts['users']} users, {counts['items']} items, {counts['interactions']} interactions")
    for line in OrderAudit(**data.facts["audit"]).lines():
        say(line)
    mark_done(folder, key, [folder / name for name in FILES])


def prepared_data(study: StudySpec, folder: Path) -> PreparedData:
    """Brings a study's data into a folder, as they were prepared or from the log.

    Raises:
        InputError: the log or an option is at fault, or a user has too few items for the sampled protocol.
    """
    data = _prepared(study.data, folder)
    if study.evaluation.sampled is not None:
        require_enough(data.split, study.evaluation.sampled)
    return data


def _prepared(spec: DataSpec, folder: Path) -> PreparedData:
    steps = Steps(_say_data)
    if spec.source == "prepared":
        data = load_prepared(Path(spec.path or ""))
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            with replacing(folder / name) as temporary:
                shutil.copyfile(Path(spec.path or "") / name, temporary)
        steps.done(f"taken over from {spec.path}: {len(data.split.sequences.items):,} interactions")
        return data
    options = DataOptions(spec.source, spec.path or "", spec.read, spec.preprocess, spec.order, spec.seed)
    if spec.source != "synthetic":
        return prepare(options, folder, _say_data)
    raw = generate(spec.synthetic)
    steps.done(f"generated: {len(raw.interactions):,} interactions")
    return prepare_log(raw, options, folder, _say_data)


def _say_data(line: str) -> None:
    say(f"data: {line}")


def sasrec_job(study: Study, seed: int) -> ModelJob:
    """Describes SASRec, a floor of every figure and, trained with the first seed, the source of the item table."""
    spec = study.spec.items
    n_items = study.data.catalogue.n_items

    def build() -> SequenceModel:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return SASRec(n_items, spec.sasrec)

    return ModelJob(
        point=Point("sasrec", "", None, seed),
        folder=sasrec_folders(study)[seed],
        spec={
            "sasrec": to_plain(spec.sasrec),
            "training": to_plain(spec.training),
            "seed": seed,
            **shared_dependencies(study),
        },
        build=build,
        training=spec.training,
        max_len=spec.sasrec.max_len,
        parameters=_table_model_parameters,
    )


def items_stage(study: Study) -> None:
    """Trains SASRec, freezes the item table and ranks the floors."""
    first, *others = [sasrec_job(study, seed) for seed in sasrec_folders(study)]
    train_and_rank(first, study.ranking, study.tracking)
    processes.on_main(lambda: _freeze_items(study, first.build))
    for job in others:
        train_and_rank(job, study.ranking, study.tracking)
    _rank_floors(study)


def _freeze_items(study: Study, build: Callable[[], SequenceModel]) -> None:
    """Writes the item table, from SASRec or drawn at random."""
    spec, folder = study.spec.items, study.folder / "items"
    if (folder / ITEM_TABLE).exists():
        return
    if spec.kind == "random":
        n_items = study.data.catalogue.n_items
        table = random_table(n_items, spec.random_dim, study.spec.data.seed, study.data_hash)
    else:
        table = from_vectors(load_trained(folder, build).item_vectors(), "sasrec", study.data_hash)
    table.save(folder)


def _table_model_parameters(model: SequenceModel) -> dict[str, int]:
    total = sum(value.numel() for value in model.parameters())
    table = model.item_vectors().numel()
    return {"total": total, "item_table": table, "layers": total - table, "trainable": total}


def _rank_floors(study: Study) -> None:
    folder = study.folder / "baselines"
    key = hash_value(shared_dependencies(study))
    if processes.agreed(lambda: is_done(folder, key)):
        return
    split, catalogue = study.data.split, study.data.catalogue
    floors: list[Scorer] = [Popularity(split), Markov1(split)]
    if catalogue.titles is not None:
        floors.append(TfIdf(split, catalogue))
    found: dict[str, pd.DataFrame] = {}
    for floor in floors:
        found |= _ranks(study, floor)
    processes.on_main(lambda: _write_ranks(folder, key, found))


def _ranks(study: Study, scorer: Scorer) -> dict[str, pd.DataFrame]:
    """Ranks all outputs of a scorer."""
    ranking = study.ranking
    return rank_targets(scorer, ranking.split, PARTS, ranking.protocols, ranking.batch_size)


def _write_ranks(folder: Path, key: str, found: dict[str, pd.DataFrame], beside: Sequence[Path] = ()) -> None:
    """Writes one table of ranks per output and marks the folder done, with the files that lie there already."""
    paths = [folder / f"ranks-{name}.parquet" for name in found]
    for path, ranks in zip(paths, found.values(), strict=True):
        write_parquet(path, ranks)
    mark_done(folder, key, [*paths, *beside])


def teach_stage(study: Study) -> None:
    """Trains the full-depth teacher."""
    train_and_rank(teacher_job(study), study.ranking, study.tracking)


def probe_stage(study: Study, executor: Executor) -> None:
    """Ranks the teacher cut to each selection and its exits, then trains the variants and their control twins."""
    if study.family.merged_line is not None:
        say(study.family.merged_line)
    processes.on_main(lambda: _refuse_other_models(study))
    _cut_selections(study)
    _exits(study)
    run_sweep(study, executor)


def _refuse_other_models(study: Study) -> None:
    """Refuses, before anything is trained, what would be refused in its turn: a finished model of other layers.

    Raises:
        InputError: a folder holds the finished model of another specification.
    """
    seeds = study.spec.probe.seeds
    jobs = [variant_job(study, selection, seed) for seed in seeds for selection in study.selections]
    student = study.student_selection
    if student is not None and measured_form(student.text, study.n_layers) is not None:
        jobs += [outcomes.distill_job(study, student, seed) for seed in student_folders(study)]
    for job in jobs:
        refuse_other(job)


def _cut_selections(study: Study) -> None:
    """Ranks the teacher cut to each selection, nothing retrained; the teacher is let go of before any training."""
    cuts = CutValues(study)
    for selection in study.control_selections:
        cuts.of(selection.layers)


def _exits(study: Study) -> None:
    folder = study.folder / "exits"
    key = exits_key(study)
    if processes.agreed(lambda: is_done(folder, key, derived=True)):
        return
    processes.on_main(lambda: (folder / DONE).unlink(missing_ok=True))
    teacher = load_teacher(study)
    scorer = ExitScorer(teacher, fitted_heads(study, teacher))
    started = time.monotonic()
    found = _ranks(study, scorer)
    say(f"exits: {len(scorer.names)} ranked from one forward pass, {time.monotonic() - started:.0f} s")
    processes.on_main(lambda: _write_ranks(folder, key, found, [folder / HEADS]))
