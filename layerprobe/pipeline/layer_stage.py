"""The similarity stage: what the teacher's layers do, measured before any variant is trained.

Takes the trained teacher and a sample of validation users; writes `similarity/`. Nothing here looks at a test target
or a test history, so what `bi:k`, `angular:k`, `cka:k` and `greedy:k` keep is chosen without the test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from layerprobe import columns, processes
from layerprobe.data.batches import SequenceBatch, query_batch
from layerprobe.pipeline.cuts import CutValues, known_cuts, sampled_users
from layerprobe.pipeline.recommender_jobs import load_teacher, teacher_key
from layerprobe.pipeline.spec import to_plain
from layerprobe.pipeline.study import GREEDY, SELECTIONS, Study
from layerprobe.probing.importance import predicted_rise
from layerprobe.recommender.model import Recommender
from layerprobe.similarity.diagnostics import state_table
from layerprobe.similarity.importance import NEEDED, block_table, importance_table, kept_layers
from layerprobe.similarity.orders import Kept, greedy_order, kept_by_order
from layerprobe.similarity.states import PairScores
from layerprobe.similarity.table import Resampling, null_table, pair_scores, square_table, student_table
from layerprobe.store.atomic import read_json, write_csv, write_json, write_parquet
from layerprobe.store.run_folder import DONE, file_hash_of, is_done, mark_done
from layerprobe.training.checkpoint import MODEL
from layerprobe.training.log import say, shown

FOLDER = "similarity"
TAYLOR = "taylor"
STUDENT, STUDENT_FACTS = "student.parquet", "student.json"
FILES = ("similarity.parquet", "null.csv", "states.csv", "importance.csv", "blocks.csv", SELECTIONS)


def similarity_stage(study: Study) -> None:
    """Compares all pairs of `hidden[0..L]`, measures every layer, and resolves the measured selections."""
    folder, key = study.folder / FOLDER, similarity_key(study)
    if processes.agreed(lambda: is_done(folder, key, derived=True)):
        return
    lost, order = _cut(study)
    processes.on_main(lambda: _write_tables(study, key, lost, order))


def similarity_key(study: Study) -> str:
    """Returns the hash of everything that the stage's tables depend on; the teacher must be trained."""
    spec = study.spec
    options = {"similarity": to_plain(spec.similarity), "alpha": spec.evaluation.alpha}
    return teacher_key(study, **options, greedy=study.needs_greedy)


def _cut(study: Study) -> tuple[PairScores, list[int] | None]:
    """Returns what is lost without each layer and, where it is asked for, the order of greedy removal."""
    cuts = CutValues(study)
    lost = _single_layers(study, cuts)
    return lost, _removed_one_by_one(study, cuts) if study.needs_greedy else None


def _single_layers(study: Study, cuts: CutValues) -> PairScores:
    """Returns, per layer, the share of NDCG@10 lost without it, with each user's part."""
    every = tuple(range(study.n_layers))
    full = cuts.of(every)
    without = [
        cuts.of(tuple(other for other in every if other != layer))
        for layer in shown(every, study.n_layers, "layers left out one at a time")
    ]
    return share_lost(full, np.stack(without, axis=1))


def share_lost(full: np.ndarray, without: np.ndarray) -> PairScores:
    """Returns `1 - mean(without) / mean(full)` per column, with each user's part by the delta method.

    Args:
        full: each user's value of the full model, (users,).
        without: each user's value of each cut model, [users, cuts].

    Returns:
        Scores with 0 where the full model is worth nothing, since nothing can be lost then.
    """
    whole = full.mean()
    if whole == 0:
        return PairScores(np.zeros(without.shape[1]), np.zeros(without.shape))
    kept = without.mean(axis=0) / whole
    return PairScores(1 - kept, 1 - kept - (without - kept * full[:, None]) / whole)


def _removed_one_by_one(study: Study, cuts: CutValues) -> list[int]:
    n_layers = study.n_layers
    total = n_layers * (n_layers + 1) // 2 - 1
    say(f"greedy: up to {total} sets of layers are ranked on {len(cuts.users):,} validation users, none of them twice")
    order = greedy_order(n_layers, cuts.mean)
    kept = kept_by_order(order)
    worth = ", ".join(f"{depth}: {cuts.mean(tuple(kept[depth])):.4f}" for depth in range(n_layers, 0, -1))
    say(f"greedy: layers go in the order {', '.join(map(str, order))}; NDCG@10 by depth {worth}")
    return order


def _write_tables(study: Study, key: str, lost: PairScores, greedy: list[int] | None) -> None:
    spec, folder, teacher = study.spec.similarity, study.folder / FOLDER, load_teacher(study)
    users = sampled_users(study)
    for name in (DONE, STUDENT, STUDENT_FACTS):  # a student of other rows or measures is compared anew
        (folder / name).unlink(missing_ok=True)
    resampling = Resampling(spec.n_boot, study.spec.evaluation.alpha, spec.seed)
    hidden, label = sampled_states(study, teacher, users)
    found = pair_scores(hidden, tuple(dict.fromkeys((*spec.measures, *NEEDED))))
    asked = {name: found[name] for name in spec.measures}
    importance = [
        importance_table(found, hidden, resampling),
        _importance_rows(columns.DROP_ONE, lost, resampling),
        _importance_rows(TAYLOR, _predicted(study, teacher, users), resampling, 0.0),
    ]
    kept = kept_layers(found, len(hidden)) | ({} if greedy is None else {GREEDY: kept_by_order(greedy)})
    write_parquet(folder / "similarity.parquet", square_table(asked, hidden, label, resampling))
    null = null_table(hidden, spec.measures, spec.n_permutations, resampling.alpha, spec.seed)
    write_csv(folder / "null.csv", null)
    write_csv(folder / "states.csv", state_table(hidden))
    write_csv(folder / "importance.csv", pd.concat(importance, ignore_index=True))
    write_csv(folder / "blocks.csv", block_table(found, hidden, resampling))
    _write_greedy(folder / "greedy.csv", study, greedy)
    write_json(folder / SELECTIONS, {form: {"kept": sets} for form, sets in kept.items()})
    mark_done(folder, key, [folder / name for name in FILES])
    _say_kept(kept)


def _write_greedy(path: Path, study: Study, order: list[int] | None) -> None:
    """Writes what the cut teacher is worth after each removal; takes an older file away where there was none."""
    if order is None:
        path.unlink(missing_ok=True)
        return
    cuts = known_cuts(study)
    kept = [tuple(sets) for sets in kept_by_order(order)[:0:-1]]  # depth 0 is never ranked
    rows = {columns.STEP: range(len(kept)), columns.LAYER: [None, *order[:-1]]}
    table = pd.DataFrame(rows | {columns.VALUE: [cuts[layers].mean() for layers in kept]})
    write_csv(path, table.astype({columns.LAYER: "Int64"}))


def _say_kept(kept: dict[str, Kept]) -> None:
    for form, sets in kept.items():
        text = "; ".join(f"{depth}: {','.join(map(str, layers))}" for depth, layers in enumerate(sets) if layers)
        say(f"layers kept by {form}: {text}")


def _importance_rows(measure: str, scores: PairScores, resampling: Resampling, least: float = -np.inf) -> pd.DataFrame:
    """Returns scores per layer as rows of `importance.csv`; `least` is the lowest value the measure can have."""
    low, high = resampling.bounds(scores, least)
    table = {columns.LAYER: np.arange(len(low)), columns.VALUE: scores.estimates}
    table |= {columns.CI_LOW: low, columns.CI_HIGH: high, columns.N_ROWS: len(scores.row_parts)}
    return pd.DataFrame({columns.MEASURE: measure, **table, columns.DIM: pd.NA})


def _predicted(study: Study, teacher: Recommender, users: np.ndarray) -> PairScores:
    """Returns by how much the validation loss is predicted to change without each layer, whether up or down.

    No more positions at a time than in a pass of training, which is known to fit in memory.
    """
    training = study.spec.training
    max_len = study.spec.recommender.max_len
    # The prompt is repeated here where training may share it, and no layer's values are dropped to be made again.
    longest = max_len + teacher.prompt.n_before + len(teacher.suffix)
    size = (training.max_tokens or training.batch_size * max_len) // longest
    if study.spec.backbone.gradient_checkpointing:
        size //= max(1, study.n_layers)
    rises = [
        predicted_rise(teacher, batch.to(teacher.device))
        for batch, _ in _batches(study, teacher, users, min(max(1, size), training.batch_size))
    ]
    values = np.concatenate(rises)
    values = values * np.where(values.mean(axis=0) < 0, -1.0, 1.0)
    return PairScores(values.mean(axis=0), values)


def sampled_states(study: Study, model: Recommender, users: np.ndarray) -> tuple[torch.Tensor, str]:
    """Returns `hidden[0..l]` at one position of each user, float32 [l + 1, users, width], and what a row is.

    One position each, also where any item or prompt position may be taken: rows of one user depend on each other, and
    intervals over users would come out too narrow.
    """
    spec = study.spec.similarity
    shares = torch.from_numpy(np.random.default_rng(spec.seed).random(len(users)))
    parts = []
    with torch.inference_mode():
        for batch, place in _batches(study, model, users, study.spec.evaluation.batch_size):
            batch = batch.to(model.device)
            if spec.positions == "last-item":
                parts.append(model.hidden_at_items(batch).cpu())
                continue
            drawn, before = shares[place], model.prompt.n_before
            counts = batch.lengths if spec.positions == "items" else model.n_places(batch)
            pos = (drawn.to(model.device) * counts).long() + (before if spec.positions == "items" else 0)
            parts.append(model.hidden_anywhere(batch, pos).cpu())
    names = {"last-item": "last item", "items": "a random item", "all": "a random position, prompt included,"}
    return torch.cat(parts, dim=1), f"{names[spec.positions]} of {len(users):,} validation histories"


def _batches(study: Study, model: Recommender, users: np.ndarray, size: int) -> list[tuple[SequenceBatch, slice]]:
    """Returns the sampled validation histories in batches of about `size`, each with its place in the sample."""
    split = replace(study.data.split, asked=users)
    queries = split.queries("valid")
    chunks = np.array_split(np.arange(len(users)), -(-len(users) // size))
    make = partial(query_batch, split, queries, max_len=model.max_len)
    return [(make(chunk), slice(chunk[0], chunk[-1] + 1)) for chunk in chunks]


def compare_student(study: Study, folder: Path, load: Callable[[], Recommender]) -> None:
    """Writes `similarity/student.parquet`: every state of the teacher against every state of the distilled student.

    Args:
        study: a study with a trained teacher.
        folder: the student's model folder.
        load: returns the trained student; called only where the comparison is not there yet.
    """
    spec, alpha = study.spec.similarity, study.spec.evaluation.alpha
    student = file_hash_of(folder, f"checkpoint/{MODEL}")
    key = teacher_key(study, similarity=to_plain(spec), alpha=alpha, student=student)
    table, facts = study.folder / FOLDER / STUDENT, study.folder / FOLDER / STUDENT_FACTS
    if table.exists() and facts.exists() and read_json(facts)["key"] == key:
        return
    users, resampling = sampled_users(study), Resampling(spec.n_boot, alpha, spec.seed)
    taught, label = sampled_states(study, load_teacher(study), users)
    learned, _ = sampled_states(study, load(), users)
    facts.unlink(missing_ok=True)
    write_parquet(table, student_table(taught, learned, label, spec.measures, resampling))
    write_json(facts, {"student": folder.name, "key": key})
