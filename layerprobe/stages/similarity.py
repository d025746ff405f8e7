"""The similarity stage: what the teacher's layers do, measured before any variant is trained.

Takes the trained teacher and a sample of validation users; writes `similarity/`. Test targets and test
histories are not used, so `bi:k`, `angular:k`, `cka:k` and `greedy:k` choose their layers without the test.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from layerprobe import columns, processes
from layerprobe.probing.removal.cuts import CutValues
from layerprobe.probing.removal.importance import predicted_rise
from layerprobe.recommender.model import Recommender
from layerprobe.similarity.diagnostics import state_table
from layerprobe.similarity.importance import NEEDED, block_table, importance_table, kept_layers
from layerprobe.similarity.orders import Kept, greedy_order, kept_by_order
from layerprobe.similarity.sampling import SampleOptions, sampled_states, valid_batches
from layerprobe.similarity.states import PairScores
from layerprobe.similarity.table import Resampling, null_table, pair_scores, square_table, student_table
from layerprobe.stages.planned import Planned
from layerprobe.stages.teacher.cuts import cut_store, study_cuts
from layerprobe.stages.teacher.exits import exits_key
from layerprobe.store.atomic import read_json, write_csv, write_json, write_parquet
from layerprobe.store.layout import WEIGHTS, StudyLayout
from layerprobe.store.run_folder import DONE, file_hash_of, is_done, mark_done
from layerprobe.study.defaults import hashed_options
from layerprobe.study.jobs.recommenders import load_teacher, teacher_key
from layerprobe.study.study import GREEDY, Study
from layerprobe.training.log import say, shown

TAYLOR = "taylor"


def run(study: Study) -> None:
    """Compares all pairs of `hidden[0..L]`, measures every layer, and resolves the measured selections."""
    folder, key = study.layout.similarity, similarity_key(study)
    if processes.agreed(lambda: is_done(folder, key, derived=True)):
        return
    lost, order = _cut(study)
    processes.on_main(lambda: _write_tables(study, key, lost, order))


def plan(study: Study) -> list[Planned]:
    """Returns the rankings of the trained teacher, in this stage and for the exits of the probe stage."""
    spec, layout = study.spec, study.layout
    return [
        Planned(
            label="layers compared and left out, exits",
            kind="teaching",
            folders=(layout.similarity, layout.exits),
            training=spec.training,
            max_len=spec.recommender.max_len,
            is_stale=_is_stale(study),
        )
    ]


def _is_stale(study: Study) -> bool:
    """Tells whether layers or exits were measured with other options than those of the spec."""
    if not (study.layout.teacher / DONE).exists():
        return False
    keys = {study.layout.similarity: similarity_key(study), study.layout.exits: exits_key(study)}
    markers = {folder / DONE: key for folder, key in keys.items()}
    return any(marker.exists() and read_json(marker)["key"] != key for marker, key in markers.items())


def similarity_key(study: Study) -> str:
    """Returns the hash of everything that the stage's tables depend on; the teacher must be trained."""
    spec = study.spec
    options = {"similarity": hashed_options("similarity", spec.similarity), "alpha": spec.evaluation.alpha}
    return teacher_key(study, **options, greedy=study.needs_greedy)


def _cut(study: Study) -> tuple[PairScores, list[int] | None]:
    """Returns the loss without each layer and, where it is needed, the order of greedy removal."""
    cuts = study_cuts(study)
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
        Scores; 0 where the value of the full model is 0, since nothing can be lost then.
    """
    whole = full.mean()
    if whole == 0:
        return PairScores(np.zeros(without.shape[1]), np.zeros(without.shape))
    kept = without.mean(axis=0) / whole
    return PairScores(1 - kept, 1 - kept - (without - kept * full[:, None]) / whole)


def _removed_one_by_one(study: Study, cuts: CutValues) -> list[int]:
    n_layers = study.n_layers
    total = n_layers * (n_layers + 1) // 2 - 1
    say(f"greedy: ranking up to {total} sets of layers on {len(cuts.users):,} validation users, each set once")
    order = greedy_order(n_layers, cuts.mean)
    kept = kept_by_order(order)
    worth = ", ".join(f"{depth}: {cuts.mean(tuple(kept[depth])):.4f}" for depth in range(n_layers, 0, -1))
    say(f"greedy: layers are removed in the order {', '.join(map(str, order))}; NDCG@10 by depth {worth}")
    return order


def _write_tables(study: Study, key: str, lost: PairScores, greedy: list[int] | None) -> None:
    spec, layout, teacher = study.spec.similarity, study.layout, load_teacher(study)
    # A student that was compared on other rows or measures is compared again.
    for path in (layout.similarity / DONE, layout.student_similarity, layout.student_similarity_facts):
        path.unlink(missing_ok=True)
    resampling = Resampling(spec.n_boot, study.spec.evaluation.alpha, spec.seed)
    sample = sampled_states(teacher, study.data.split, sample_options(study))
    hidden = sample.hidden
    scores = pair_scores(hidden, tuple(dict.fromkeys((*spec.measures, *NEEDED))))
    wanted = {name: scores[name] for name in spec.measures}
    importance = [
        importance_table(scores, hidden, resampling),
        _importance_rows(columns.DROP_ONE, lost, resampling),
        _importance_rows(TAYLOR, _predicted(study, teacher, sample.users), resampling, 0.0),
    ]
    kept = kept_layers(scores, len(hidden)) | ({} if greedy is None else {GREEDY: kept_by_order(greedy)})
    write_parquet(layout.similarity_table, square_table(wanted, hidden, sample.label, resampling))
    null = null_table(hidden, spec.measures, spec.n_permutations, resampling.alpha, spec.seed)
    write_csv(layout.null, null)
    write_csv(layout.states, state_table(hidden))
    write_csv(layout.importance, pd.concat(importance, ignore_index=True))
    write_csv(layout.blocks, block_table(scores, hidden, resampling))
    _write_greedy(study, greedy)
    write_json(layout.selections, {form: {"kept": sets} for form, sets in kept.items()})
    mark_done(layout.similarity, key, _files(layout))
    _say_kept(kept)


def _files(layout: StudyLayout) -> list[Path]:
    return [
        layout.similarity_table,
        layout.null,
        layout.states,
        layout.importance,
        layout.blocks,
        layout.selections,
    ]


def sample_options(study: Study) -> SampleOptions:
    """Returns which validation users the layers of a study are compared on, and where."""
    spec = study.spec.similarity
    return SampleOptions(spec.rows, spec.positions, spec.seed, study.spec.evaluation.batch_size)


def _write_greedy(study: Study, order: list[int] | None) -> None:
    """Writes the metric of the cut teacher after each removal; deletes an older file where nothing was removed."""
    path = study.layout.greedy
    if order is None:
        path.unlink(missing_ok=True)
        return
    cuts = cut_store(study).read_layers()
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

    At most as many positions at a time as in a training pass, which is known to fit in memory.
    """
    training = study.spec.training
    split, max_len = study.data.split, study.spec.recommender.max_len
    # The prompt is repeated here where training may share it, and no layer's values are dropped to be made again.
    longest = max_len + teacher.prompt.n_before + len(teacher.suffix)
    size = (training.max_tokens or training.batch_size * max_len) // longest
    if study.spec.backbone.gradient_checkpointing:
        size //= max(1, study.n_layers)
    rises = [
        predicted_rise(teacher, batch.to(teacher.device))
        for batch, _ in valid_batches(split, users, teacher.max_len, min(max(1, size), training.batch_size))
    ]
    values = np.concatenate(rises)
    values = values * np.where(values.mean(axis=0) < 0, -1.0, 1.0)
    return PairScores(values.mean(axis=0), values)


def compare_student(study: Study, folder: Path, load: Callable[[], Recommender]) -> None:
    """Writes `similarity/student.parquet`: every state of the teacher against every state of the distilled student.

    Args:
        study: a study with a trained teacher.
        folder: the student's model folder.
        load: returns the trained student; called only where the comparison does not exist yet.
    """
    spec, alpha = study.spec.similarity, study.spec.evaluation.alpha
    student = file_hash_of(folder, WEIGHTS)
    key = teacher_key(study, similarity=hashed_options("similarity", spec), alpha=alpha, student=student)
    table, facts = study.layout.student_similarity, study.layout.student_similarity_facts
    if table.exists() and facts.exists() and read_json(facts)["key"] == key:
        return
    options, resampling = sample_options(study), Resampling(spec.n_boot, alpha, spec.seed)
    taught = sampled_states(load_teacher(study), study.data.split, options)
    learned = sampled_states(load(), study.data.split, options)
    facts.unlink(missing_ok=True)
    write_parquet(table, student_table(taught.hidden, learned.hidden, taught.label, spec.measures, resampling))
    write_json(facts, {"student": folder.name, "key": key})
