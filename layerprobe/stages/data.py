"""Stage data: the log read, filtered, audited and split, or read from a folder that `prepare` made."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from layerprobe.data.audit import OrderAudit
from layerprobe.data.audits.repeats import repeats_of
from layerprobe.data.prepare import FILES, Check, DataOptions, PreparedData, load_prepared, prepare, prepare_log
from layerprobe.data.progress import Steps
from layerprobe.data.synthetic import generate
from layerprobe.data.times.facts import split_lines
from layerprobe.errors import InputError
from layerprobe.evaluation.negatives import require_enough
from layerprobe.recommender.baselines import require_words
from layerprobe.store.atomic import replacing, write_json
from layerprobe.store.layout import FACTS
from layerprobe.store.run_folder import hash_value, is_done, mark_done
from layerprobe.study.checks import check_similarity, check_steps
from layerprobe.study.defaults import hashed_options
from layerprobe.study.spec import DataSpec, StudySpec
from layerprobe.study.study import Study
from layerprobe.training.log import say

LEAST_CUTOFF = 10
"""The cut-off that every study has."""


def run(study: Study) -> None:
    """Reads, filters, audits and splits the log, or reads a folder that `layerprobe prepare` made."""
    spec, folder = study.spec.data, study.layout.data
    key = data_key(spec)
    if is_done(folder, key):
        return
    data = _prepared(study.spec.data, folder, partial(check_data, study))
    counts = data.facts["counts"]
    say(f"data: {counts['users']} users, {counts['items']} items, {counts['interactions']} interactions")
    for line in [*OrderAudit(**data.facts["audit"]).lines(), *split_lines(data.facts.get("split"))]:
        say(line)
    mark_done(folder, key, [folder / name for name in FILES])


def data_key(spec: DataSpec) -> str:
    """Returns the hash of what the data depend on.

    Options of lagged users are left out where there are none, so that data of older versions stay valid.
    """
    plain = hashed_options("data", spec)
    if not spec.synthetic.share_lagged:
        for name in ("share_lagged", "lag", "lagged_items"):
            del plain["synthetic"][name]
    return hash_value(plain)


def check_data(study: Study, data: PreparedData) -> None:
    """Makes sure that a study can train, rank and compare on these data, before they are written or a model is trained.

    Raises:
        InputError: as `require_use`, `check_steps` and `check_similarity`.
    """
    require_use(study.spec, data)
    check_steps(study, data.split)
    check_similarity(study, len(data.split.users("valid")))


def prepared_data(study: StudySpec, folder: Path) -> PreparedData:
    """Brings a study's data into a folder, as they were prepared or from the log; nothing is written if they do not do.

    Raises:
        InputError: the log or an option is wrong, or the rest of the study cannot use the data (`require_use`).
    """
    return _prepared(study.data, folder, partial(require_use, study))


def require_use(study: StudySpec, data: PreparedData) -> None:
    """Makes sure that what comes after the data can use them, before anything is trained.

    Raises:
        InputError: test targets were met before while met items are removed, a user has too few items for the sampled
            protocol, a cut-off takes in the whole catalogue, or no title holds a word.
    """
    if study.evaluation.remove_history:
        repeats_of(data.facts).require_few_met()
    if study.evaluation.sampled is not None:
        require_enough(data.split, study.evaluation.sampled)
    largest, n_items = max(study.evaluation.ks), data.catalogue.n_items
    if largest >= n_items:
        raise InputError(
            f"cut-offs must be smaller than the catalogue, else every target is a hit; got {largest} in evaluation.ks "
            f"and {n_items:,} items: " + ("leave it out" if n_items > LEAST_CUTOFF else "a study needs more than 10")
        )
    if study.decision.k >= n_items:
        raise InputError(
            f"decision.k must be smaller than the catalogue, else every target is a hit; got {study.decision.k} and "
            f"{n_items:,} items"
        )
    require_words(data.catalogue)


def _prepared(spec: DataSpec, folder: Path, check: Check) -> PreparedData:
    steps = Steps(_say_data)
    if spec.source == "prepared":
        data = load_prepared(Path(spec.path or ""))
        check(data)
        for name in FILES:
            with replacing(folder / name) as temporary:
                shutil.copyfile(Path(spec.path or "") / name, temporary)
        write_json(folder / FACTS, data.facts)  # with what an older version did not count
        steps.done(f"taken over from {spec.path}: {len(data.split.sequences.items):,} interactions")
        return data
    options = DataOptions(spec.source, spec.path or "", spec.read, spec.preprocess, spec.order, spec.seed, spec.split)
    if spec.source != "synthetic":
        return prepare(options, folder, _say_data, check)
    raw = generate(spec.synthetic)
    steps.done(f"generated: {len(raw.interactions):,} interactions")
    return prepare_log(raw, options, folder, _say_data, check)


def _say_data(line: str) -> None:
    say(f"data: {line}")
