"""Stage data: the log read, filtered, audited and split, or read from a folder that `prepare` made."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from layerprobe.data.audits.log import audit_lines
from layerprobe.data.audits.repeats import PREPARE_OPTION, Repeats
from layerprobe.data.audits.titles import require_words
from layerprobe.data.prepare import FILES, Check, DataOptions, PreparedData, load_prepared, prepare, prepare_log
from layerprobe.data.progress import Steps
from layerprobe.data.synthetic import generate
from layerprobe.data.times.facts import split_lines
from layerprobe.errors import InputError
from layerprobe.evaluation.negatives import require_enough
from layerprobe.store.atomic import read_json, replacing, write_json
from layerprobe.store.layout import FACTS
from layerprobe.store.run_folder import hash_value, is_done, mark_done
from layerprobe.study.defaults import hashed_options
from layerprobe.study.spec import DataSpec, StudySpec
from layerprobe.study.study import Study
from layerprobe.training.log import say


def run(study: Study) -> None:
    """Reads, filters, audits and splits the log, or reads a folder that `layerprobe prepare` made."""
    spec, folder = study.spec.data, study.layout.data
    key = data_key(spec)
    if is_done(folder, key):
        return
    data = prepared_data(study.spec, folder)
    counts = data.facts["counts"]
    say(f"data: {counts['users']} users, {counts['items']} items, {counts['interactions']} interactions")
    for line in [*audit_lines(data.facts), *split_lines(data.facts.get("split"))]:
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


def prepared_data(study: StudySpec, folder: Path) -> PreparedData:
    """Brings a study's data into a folder, as they were prepared or from the log; nothing is written if they do not do.

    Raises:
        InputError: the log or an option is wrong, or as `require_fit`.
    """
    spec, check, steps = study.data, partial(require_fit, study), Steps(_say_data)
    if spec.source == "prepared":
        return _taken_over(Path(spec.path or ""), folder, check)
    options = DataOptions(spec.source, spec.path or "", spec.read, spec.preprocess, spec.order, spec.seed, spec.split)
    if spec.source != "synthetic":
        return prepare(options, folder, _say_data, check)
    raw = generate(spec.synthetic)
    steps.done(f"generated: {len(raw.interactions):,} interactions")
    return prepare_log(raw, options, folder, _say_data, check)


def require_fit(study: StudySpec, data: PreparedData) -> None:
    """Makes sure that a study can rank targets on these data, before anything is trained.

    Raises:
        InputError: a cut-off reaches the size of the catalogue, titles hold no word, a user has too few items for the
            sampled protocol, or too many test targets were met before while met items are no candidates.
    """
    _require_items(study, data.catalogue.n_items)
    require_words(data.catalogue.titles)
    if study.evaluation.remove_history:
        option = "--data.preprocess.drop_repeats true"
        if study.data.source == "prepared":
            option = f"`layerprobe prepare ... {PREPARE_OPTION}`"
        Repeats(**data.facts["repeats"]).require_new_targets(option)
    if study.evaluation.sampled is not None:
        require_enough(data.split, study.evaluation.sampled)


def _require_items(study: StudySpec, n_items: int) -> None:
    """Refuses cut-offs that every model reaches: among k items each target is one of the first k."""
    for name, k in (("evaluation.ks", max(study.evaluation.ks)), ("decision.k", study.decision.k)):
        if k >= n_items:
            fewer = [k for k in study.evaluation.ks if k < n_items]
            advice = f"give smaller ones, such as {fewer}" if 10 in fewer else "give a log with more than 10 items"
            raise InputError(
                f"{name} must be smaller than the catalogue, or every target is among the first k; got {k}, and the "
                f"log has {n_items:,} items: {advice}"
            )


def _taken_over(source: Path, folder: Path, check: Check) -> PreparedData:
    steps, data = Steps(_say_data), load_prepared(source)
    check(data)
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        with replacing(folder / name) as temporary:
            shutil.copyfile(source / name, temporary)
    if data.facts != read_json(folder / FACTS):  # an older version did not count everything
        write_json(folder / FACTS, data.facts)
    steps.done(f"taken over from {source}: {len(data.split.sequences.items):,} interactions")
    return data


def _say_data(line: str) -> None:
    say(f"data: {line}")
