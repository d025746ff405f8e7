"""The stages of a study, each a function of the study folder: skipped where done, gone on with where cut off.

data, items, teach, probe, similarity, decide, distill, export, report. A stage reads what earlier ones wrote and
nothing else, so any of them can be run alone once those before it are there.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from layerprobe import columns
from layerprobe.data.audit import OrderAudit
from layerprobe.data.batches import query_batch
from layerprobe.data.prepare import FILES, DataOptions, PreparedData, load_prepared, prepare, prepare_log
from layerprobe.data.splits import PARTS
from layerprobe.data.synthetic import generate
from layerprobe.evaluation.negatives import require_enough
from layerprobe.evaluation.ranks import Scorer, rank_targets
from layerprobe.items.table import ITEM_TABLE, from_vectors, random_table
from layerprobe.pipeline.model_folder import ModelJob, Point, load_trained, train_and_rank
from layerprobe.pipeline.spec import DataSpec, to_plain
from layerprobe.pipeline.study import Study
from layerprobe.probing.exits import ExitScorer
from layerprobe.probing.importance import layer_removed
from layerprobe.probing.variant import build_recommender, parameter_counts
from layerprobe.recommender.baselines import Markov1, Popularity, TfIdf
from layerprobe.recommender.model import Recommender
from layerprobe.recommender.sasrec import SASRec
from layerprobe.recommender.sequence_model import SequenceModel
from layerprobe.similarity.table import importance_table, similarity_table
from layerprobe.store.atomic import read_tensors, replacing, write_csv, write_parquet
from layerprobe.store.run_folder import file_hash_of, hash_value, is_done, mark_done
from layerprobe.training.checkpoint import MODEL
from layerprobe.training.log import say


def data_stage(study: Study) -> None:
    """Reads, filters, audits and splits the log, or takes over a folder that `layerprobe prepare` made."""
    spec, folder = study.spec.data, study.folder / "data"
    key = hash_value(to_plain(spec))
    if is_done(folder, key):
        return
    data = _prepared(spec, folder)
    if study.spec.evaluation.sampled is not None:
        require_enough(data.split, study.spec.evaluation.sampled)
    counts = data.facts["counts"]
    say(f"data: {counts['users']} users, {counts['items']} items, {counts['interactions']} interactions")
    for line in OrderAudit(**data.facts["audit"]).lines():
        say(line)
    mark_done(folder, key, [folder / name for name in FILES])


def _prepared(spec: DataSpec, folder: Path) -> PreparedData:
    if spec.source == "prepared":
        data = load_prepared(Path(spec.path or ""))
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            with replacing(folder / name) as temporary:
                shutil.copyfile(Path(spec.path or "") / name, temporary)
        return data
    options = DataOptions(spec.source, spec.path or "", spec.read, spec.preprocess, spec.order, spec.seed)
    return (
        prepare_log(generate(spec.synthetic), options, folder)
        if spec.source == "synthetic"
        else prepare(options, folder)
    )


def items_stage(study: Study) -> None:
    """Trains SASRec, freezes the item table and ranks the floors."""
    spec, folder = study.spec.items, study.folder / "items"
    n_items = study.data.catalogue.n_items

    def build() -> SequenceModel:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(study.spec.probe.seeds[0])
            return SASRec(n_items, spec.sasrec)

    job = ModelJob(
        point=Point("sasrec", "", None, study.spec.probe.seeds[0]),
        folder=folder,
        spec={
            "sasrec": to_plain(spec.sasrec),
            "training": to_plain(spec.training),
            "seed": study.spec.probe.seeds[0],
            **_shared(study),
        },
        build=build,
        training=spec.training,
        max_len=spec.sasrec.max_len,
        parameters=_table_model_parameters,
    )
    train_and_rank(job, study.ranking)
    if not (folder / ITEM_TABLE).exists():
        if spec.kind == "random":
            table = random_table(n_items, spec.random_dim, study.spec.data.seed, study.data_hash)
        else:
            table = from_vectors(load_trained(folder, build).item_vectors(), "sasrec", study.data_hash)
        table.save(folder)
    _rank_floors(study)


def _table_model_parameters(model: SequenceModel) -> dict[str, int]:
    total = sum(value.numel() for value in model.parameters())
    table = model.item_vectors().numel()
    return {"total": total, "item_table": table, "layers": total - table, "trainable": total}


def _shared(study: Study) -> dict[str, object]:
    """What every model's result depends on beside its own options."""
    spec = study.spec.evaluation
    rules = {"sampled": spec.sampled, "seed": spec.seed, "remove_history": spec.remove_history, "ks": spec.ks}
    return {"evaluation": rules, "data": study.data_hash}


def _rank_floors(study: Study) -> None:
    folder = study.folder / "baselines"
    key = hash_value(_shared(study))
    if is_done(folder, key):
        return
    split, catalogue = study.data.split, study.data.catalogue
    floors: list[Scorer] = [Popularity(split), Markov1(split)]
    if catalogue.titles is not None:
        floors.append(TfIdf(split, catalogue))
    paths = [_write_ranks(study, floor, folder) for floor in floors]
    mark_done(folder, key, [path for written in paths for path in written])


def _write_ranks(study: Study, scorer: Scorer, folder: Path) -> list[Path]:
    """Ranks all outputs of a scorer and writes one table each."""
    ranking = study.ranking
    found = rank_targets(scorer, ranking.split, PARTS, ranking.protocols, ranking.batch_size)
    paths = [folder / f"ranks-{name}.parquet" for name in found]
    for path, ranks in zip(paths, found.values(), strict=True):
        write_parquet(path, ranks)
    return paths


def variant_job(study: Study, depth: int, seed: int) -> ModelJob:
    """Describes one variant `first:depth`; at full depth with the first seed it is the teacher."""
    spec = study.spec
    folder = study.variant_folder(depth, seed)
    starts_from_teacher = spec.probe.start == "teacher" and folder.name != "teacher"
    recipe = {
        name: to_plain(getattr(spec, name)) for name in ("backbone", "tuning", "prompt", "recommender", "training")
    }
    depends = {"selection": f"first:{depth}", "seed": seed, **recipe, **_shared(study), "items": _table_hash(study)}
    if starts_from_teacher:
        depends["start"] = file_hash_of(study.folder / "teacher", f"checkpoint/{MODEL}")
    return ModelJob(
        point=Point("variant", f"first:{depth}", depth, seed),
        folder=folder,
        spec=depends,
        build=lambda: build_variant(study, depth, seed, starts_from_teacher),
        training=spec.training,
        max_len=spec.recommender.max_len,
        parameters=_recommender_parameters,
    )


def build_variant(study: Study, depth: int, seed: int, from_teacher: bool) -> Recommender:
    """Builds an untrained variant, or one that starts from the trained teacher's weights."""
    start = None
    if from_teacher:
        start, _ = read_tensors(study.folder / "teacher" / "checkpoint" / MODEL)
    return build_recommender(study.recipe, study.item_table, f"first:{depth}", seed, start)


def _recommender_parameters(model: SequenceModel) -> dict[str, int]:
    assert isinstance(model, Recommender)
    return parameter_counts(model)


def _table_hash(study: Study) -> str:
    return hash_value(
        {"kind": study.spec.items.kind, "sasrec": file_hash_of(study.folder / "items", f"checkpoint/{MODEL}")}
    )


def load_teacher(study: Study) -> Recommender:
    """Returns the trained teacher in evaluation mode, gradients off."""
    seed = study.spec.probe.seeds[0]
    teacher = load_trained(study.folder / "teacher", lambda: build_variant(study, study.n_layers, seed, False))
    assert isinstance(teacher, Recommender)
    return teacher.requires_grad_(False)


def teach_stage(study: Study) -> None:
    """Trains the full-depth teacher."""
    train_and_rank(variant_job(study, study.n_layers, study.spec.probe.seeds[0]), study.ranking)


def probe_stage(study: Study) -> None:
    """Trains every variant, ranks every exit, removes every layer once, and writes the curve."""
    _exits(study)
    _drop_one(study)
    for seed in study.spec.probe.seeds:
        for depth in study.depths:
            train_and_rank(variant_job(study, depth, seed), study.ranking)


def _teacher_key(study: Study, **more: object) -> str:
    return hash_value(
        {"teacher": file_hash_of(study.folder / "teacher", f"checkpoint/{MODEL}"), **_shared(study), **more}
    )


def _exits(study: Study) -> None:
    folder = study.folder / "exits"
    key = _teacher_key(study)
    if is_done(folder, key):
        return
    scorer = ExitScorer(load_teacher(study))
    started = time.monotonic()
    paths = _write_ranks(study, scorer, folder)
    say(f"exits: {len(scorer.names)} ranked from one forward pass, {time.monotonic() - started:.0f} s")
    mark_done(folder, key, paths)


def _drop_one(study: Study) -> None:
    """Measures, on validation users, the share of NDCG@10 lost when one layer is skipped and nothing retrained."""
    folder = study.folder / "similarity" / "drop-one"
    key = _teacher_key(study)
    if is_done(folder, key):
        return
    teacher = load_teacher(study)
    full = study.ranking.ndcg_valid(teacher)
    rows = []
    for layer in range(teacher.n_layers):
        with layer_removed(teacher.backbone, layer):
            lost = 1 - study.ranking.ndcg_valid(teacher) / full if full > 0 else 0.0
        rows.append({columns.MEASURE: columns.DROP_ONE, columns.LAYER: layer, columns.VALUE: lost})
    write_csv(folder / "drop_one.csv", pd.DataFrame(rows, columns=list(columns.IMPORTANCE)))
    mark_done(folder, key, [folder / "drop_one.csv"])


def similarity_stage(study: Study) -> None:
    """Compares all pairs of `hidden[0..L]` at the last item of a sample of test histories."""
    spec, folder = study.spec.similarity, study.folder / "similarity"
    _drop_one(study)
    key = _teacher_key(study, similarity=to_plain(spec), alpha=study.spec.evaluation.alpha)
    if is_done(folder, key):
        return
    hidden = readout_states(study, load_teacher(study))
    label = f"last item of {hidden.shape[1]} test histories"
    table = similarity_table(hidden, label, spec.n_boot, study.spec.evaluation.alpha, spec.seed)
    write_parquet(folder / "similarity.parquet", table)
    drop_one = pd.read_csv(folder / "drop-one" / "drop_one.csv")
    write_csv(folder / "importance.csv", pd.concat([importance_table(hidden), drop_one], ignore_index=True))
    mark_done(folder, key, [folder / "similarity.parquet", folder / "importance.csv"])


def readout_states(study: Study, teacher: Recommender) -> torch.Tensor:
    """Returns `hidden[0..L]` at the last item of a seeded sample of test histories, float32 [L + 1, rows, width]."""
    queries = study.data.split.queries("test")
    spec = study.spec.similarity
    generator = np.random.default_rng(spec.seed)
    rows = np.sort(generator.permutation(len(queries))[: spec.rows])
    parts = []
    with torch.inference_mode():
        for chunk in np.array_split(rows, -(-len(rows) // study.spec.evaluation.batch_size)):
            batch = query_batch(study.data.split, queries, chunk, teacher.max_len)
            parts.append(teacher.hidden_at_items(batch.to(teacher.device)).cpu())
    return torch.cat(parts, dim=1)
