"""Prepare: from files of a public format to the data folder every later stage reads.

Takes `DataOptions`, writes `interactions.parquet items.parquet sequences.safetensors split.json facts.json` and their
hashes (`done.json`), hands on `PreparedData`. All checks run before the first file is written.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet

from layerprobe import columns
from layerprobe.arguments import as_path, checked
from layerprobe.data.audit import audit_order
from layerprobe.data.audits.raw import require_ids, require_one_unit
from layerprobe.data.audits.repeats import count_repeats, large_users
from layerprobe.data.catalogue import Catalogue, build_catalogue, load_catalogue
from layerprobe.data.interactions import Interactions
from layerprobe.data.order import OrderOptions, order_rule, order_that_holds, sort_rows
from layerprobe.data.preprocess import PreprocessOptions, StepCount, preprocess
from layerprobe.data.progress import Progress, Steps, silent
from layerprobe.data.sequences import Sequences, load_sequences
from layerprobe.data.sources.opening import at_home
from layerprobe.data.sources.raw import RawLog, SourceOptions
from layerprobe.data.sources.registry import read_source
from layerprobe.data.splits import Split
from layerprobe.data.times.cuts import TimeCuts, require_times, shared_clock, time_cuts
from layerprobe.data.times.facts import require_pair, split_facts, split_rule, warm_rows
from layerprobe.data.times.options import GLOBAL_TIME, LEAVE_ONE_OUT, SplitOptions
from layerprobe.errors import InputError
from layerprobe.ranges import SEED
from layerprobe.store.atomic import read_json, write_json, write_parquet
from layerprobe.store.layout import FACTS, INTERACTIONS, ITEMS, SEQUENCES, SPLIT
from layerprobe.store.seals.data_folder import reading, require_unchanged, seal_data

COLD_STEP = "items without an interaction before split.valid_cut dropped"
FILES = (INTERACTIONS, ITEMS, SEQUENCES, SPLIT, FACTS)


@dataclass(frozen=True)
@checked
class DataOptions:
    """Everything that decides what the data folder holds."""

    source: str
    """Name of the format; `layerprobe datasets` lists them."""
    path: str | Path
    """File or folder in that format."""
    read: SourceOptions = field(default_factory=SourceOptions)
    """Column names and the like."""
    preprocess: PreprocessOptions = field(default_factory=PreprocessOptions)
    """Which rows stay."""
    order: OrderOptions = field(default_factory=OrderOptions)
    """How a user's rows are put in order."""
    seed: Annotated[int, SEED] = 0
    """Seed of the permutation that numbers the items, at least 0."""
    split: SplitOptions = field(default_factory=SplitOptions)
    """How training, validation and test are told apart."""


@dataclass(frozen=True, eq=False)
class PreparedData:
    """A data folder in memory.

    Attributes:
        split: the sequences and how they are parted.
        catalogue: ids and titles of the items.
        facts: plain values for the report: source, order, steps (counts after each), counts, lengths, titles,
            audit, split.
    """

    split: Split
    catalogue: Catalogue
    facts: dict[str, Any]


Check = Callable[[PreparedData], None]


def accept(_data: PreparedData) -> None:
    """Accepts all data."""


def prepare(options: DataOptions, folder: Path, progress: Progress = silent, check: Check = accept) -> PreparedData:
    """Reads, orders, filters, audits, numbers and splits a log, and writes the data folder.

    Rows are put in order first, since dropping repeats needs the order. Nothing is written if any step fails.

    Args:
        options: everything that decides what is written.
        folder: where it is written.
        progress: gets one line per step, with counts and seconds.
        check: refuses data that what follows cannot use, before anything is written.

    Raises:
        InputError: the files, a value or an option is wrong, a step leaves nothing, no user has 3 items, or the split
            leaves no target or nothing to train on.
    """
    steps, path = Steps(progress), at_home(options.path)
    if os.path.exists(path):  # the reader refuses a missing path, in one line
        progress(f"reading {path}")
    raw = read_source(options.source, path, options.read)
    steps.done(f"read: {len(raw.interactions):,} interactions")
    return prepare_log(raw, options, folder, progress, check)


def prepare_log(
    raw: RawLog, options: DataOptions, folder: Path, progress: Progress = silent, check: Check = accept
) -> PreparedData:
    """Does the same as `prepare` for a log that is already in memory, such as a generated one; no file is read.

    Raises:
        InputError: an option does not fit the log, a step leaves nothing, no user has 3 items, or the split
            leaves no target or nothing to train on.
    """
    steps = Steps(progress)
    options = _ordered(raw, options)
    data, log = prepared_log(raw, options, steps)
    check(data)
    _write(data, log, options, folder)
    steps.done(f"written: {len(FILES)} files")
    return data


def prepared_log(raw: RawLog, options: DataOptions, steps: Steps) -> tuple[PreparedData, Interactions]:
    """Orders, filters, audits, numbers and splits a log; writes nothing.

    Returns:
        The data, and the rows that are left, in sequence order.

    Raises:
        InputError: as `prepare_log`.
    """
    options = _ordered(raw, options)
    if not (options.read.null_ids or raw.ids_are_names):
        require_ids(raw.interactions)
    noted = [*raw.notes, *require_one_unit(raw.interactions.timestamp)]
    # Ordered before anything is dropped: which of two repeats comes first depends on the order.
    ordered = raw.interactions.take(sort_rows(raw.interactions, options.order))
    steps.done(f"ordered: {len(ordered):,} interactions")
    kept, counts = preprocess(ordered, options.preprocess, lambda count: steps.done(count.line()))
    cut = _cut(kept, options.split)
    if cut.dropped is not None:
        counts.append(cut.dropped)
        steps.done(cut.dropped.line())
    log = _renumbered(cut.log)
    catalogue = build_catalogue(log.item_ids, raw.titles, options.seed)
    sequences = _sequences(log, catalogue)
    split = Split(sequences, times=shared_clock(log.timestamp, sequences.offsets), cuts=cut.cuts)
    if cut.cuts is not None:
        require_pair(split)
    steps.done(f"numbered: {split.sequences.n_users:,} users, {catalogue.n_items:,} items")
    facts = _facts(options, log, counts, split, catalogue)
    repeats = count_repeats(split, log.timestamp)
    facts["repeats"] = asdict(repeats)
    facts["audit"]["notes"] = [*noted, *large_users(log), *repeats.notes(), *facts["audit"]["notes"]]
    data = PreparedData(split, catalogue, facts | {"split": split_facts(split, cut.cold, options.split)})
    steps.done(f"audited: {data.facts['audit']['n_pairs']:,} neighbouring pairs")
    return data, log


def load_prepared(folder: str | os.PathLike[str]) -> PreparedData:
    """Reads a data folder back, equal to what `prepare` returned.

    Raises:
        InputError: a file is missing or was changed, the sequences are not those the split was written for, or the
            split is of a kind that this version does not know.
    """
    folder = as_path("folder", folder)
    missing = [name for name in FILES if not (folder / name).exists()]
    if missing:
        raise InputError(f"{folder} is not a data folder: {missing[0]} is missing; make it with `layerprobe prepare`")
    require_unchanged(folder)
    with reading(folder):
        return _loaded(folder)


def _loaded(folder: Path) -> PreparedData:
    sequences, stored = load_sequences(folder / SEQUENCES), read_json(folder / SPLIT)
    stored_times = load_times(folder, sequences)
    times = shared_clock(stored_times, sequences.offsets)
    split = Split(sequences, times=times, cuts=_stored_cuts(folder / SPLIT, stored))
    expected, actual = stored["sha256"], split_hash(split)
    if actual != expected:
        raise InputError(
            f"{folder / SEQUENCES} must have the hash {expected[:12]} that {SPLIT} names; it has {actual[:12]}: "
            "the files come from different runs or were changed; prepare the folder again"
        )
    facts = read_json(folder / FACTS)
    if "repeats" not in facts:  # older versions did not count them
        repeats = count_repeats(split, stored_times)
        facts["repeats"] = asdict(repeats)
        facts["audit"]["notes"] = [*repeats.notes(), *facts["audit"]["notes"]]
    return PreparedData(split, load_catalogue(folder / ITEMS), facts)


def load_times(folder: Path, sequences: Sequences) -> np.ndarray | None:
    """Returns the time of every item of the sequences in a data folder, int64; None where the log has none.

    Raises:
        InputError: the folder holds another number of interactions than of items.
    """
    path = folder / INTERACTIONS
    if columns.TIMESTAMP not in parquet.read_schema(path).names:  # the schema alone: no row is read
        return None
    times = parquet.read_table(path, columns=[columns.TIMESTAMP])[columns.TIMESTAMP].to_numpy()
    if len(times) != len(sequences.items):
        raise InputError(
            f"{path} must have a row for each of the {len(sequences.items)} items of the sequences beside it; it "
            f"has {len(times)}: the files come from different runs; prepare the folder again"
        )
    return times.astype(np.int64, copy=False)


def load_user_ids(folder: Path) -> np.ndarray:
    """Returns the raw user ids in the row order of `Sequences`, shape (n_users,)."""
    users = pd.read_parquet(folder / INTERACTIONS, columns=[columns.USER])[columns.USER]
    return users.drop_duplicates().to_numpy(dtype=object)  # a user's rows are adjacent, so this keeps the order


def sequences_hash(sequences: Sequences) -> str:
    """Returns the SHA-256 over offsets and items as little-endian int64: equal data, equal hash, on every machine.

    Arrays that already have this form in memory, as on nearly every machine, are not copied.
    """
    digest = hashlib.sha256()
    for values in (sequences.offsets, sequences.items):
        digest.update(np.ascontiguousarray(values, dtype="<i8").data)
    return digest.hexdigest()


def split_hash(split: Split) -> str:
    """Returns what models and tables are bound to: the hash of the sequences, and in a split by time of its cuts."""
    found = sequences_hash(split.sequences)
    if split.cuts is None:
        return found
    assert split.times is not None
    digest = hashlib.sha256(f"{found} {sorted(asdict(split.cuts).items())}".encode())
    digest.update(np.ascontiguousarray(split.times, dtype="<i8").data)
    return digest.hexdigest()


def _stored_cuts(path: Path, stored: dict[str, Any]) -> TimeCuts | None:
    kind = stored.get("kind", LEAVE_ONE_OUT)  # older versions knew no other
    if kind not in (LEAVE_ONE_OUT, GLOBAL_TIME):
        raise InputError(f"{path} holds a split of kind {kind!r}, which this version does not know: update layerprobe")
    return TimeCuts(**stored["cuts"]) if kind == GLOBAL_TIME else None


def _ordered(raw: RawLog, options: DataOptions) -> DataOptions:
    return replace(options, order=order_that_holds(raw.interactions, options.order))


@dataclass(frozen=True, eq=False)
class _CutLog:
    """A log and where time parts it; `cold` are rows of items that training lacks, `dropped` counts what is left."""

    log: Interactions
    cuts: TimeCuts | None = None
    cold: Interactions | None = None
    dropped: StepCount | None = None


def _cut(log: Interactions, options: SplitOptions) -> _CutLog:
    if options.kind == LEAVE_ONE_OUT:
        return _CutLog(log)
    times = require_times(log.timestamp, log.user)
    cuts = time_cuts(times, options)
    warm = warm_rows(log, times, cuts)
    if warm.all():
        return _CutLog(log, cuts)
    cold = log.take(~warm)
    if options.cold_items == "keep":
        return _CutLog(log, cuts, cold)
    left = log.take(warm)
    return _CutLog(left, cuts, cold, StepCount(COLD_STEP, left.n_users, left.n_items, len(left)))


def _renumbered(log: Interactions) -> Interactions:
    """Codes users and items by first appearance in the final order, without those that have no row left."""
    user, users = pd.factorize(log.user)
    item, items = pd.factorize(log.item)
    return Interactions(user, item, log.timestamp, log.rating, log.user_ids[users], log.item_ids[items])


def _sequences(log: Interactions, catalogue: Catalogue) -> Sequences:
    index = pd.Index(catalogue.item_ids).get_indexer(pd.Index(log.item_ids)) + 1  # 0 is padding
    # Codes rise with the rows and none is unused (`_renumbered`), so the counts add up to where each user ends.
    offsets = np.concatenate([[0], np.cumsum(np.bincount(log.user))])  # [users + 1]
    return Sequences(index[log.item].astype(np.int64), offsets.astype(np.int64), catalogue.n_items)


def _facts(
    options: DataOptions, log: Interactions, steps: list[StepCount], split: Split, catalogue: Catalogue
) -> dict[str, Any]:
    lengths = split.sequences.lengths
    n_users, n_items = split.sequences.n_users, catalogue.n_items
    return {
        "source": options.source,
        "order": order_rule(options.order),
        "steps": [asdict(step) for step in steps],
        "counts": {
            "users": n_users,
            "items": n_items,
            "interactions": len(log),
            "evaluated_users": len(split.evaluated),
            "density": len(log) / (n_users * n_items),
        },
        "lengths": {
            "min": int(lengths.min()),
            "median": float(np.median(lengths)),
            "mean": float(lengths.mean()),
            "max": int(lengths.max()),
        },
        "items_with_title": None if catalogue.titles is None else int(np.count_nonzero(catalogue.titles != "")),
        "audit": audit_order(log, None if split.cuts is None else split.queries("test").ends).to_dict(),
    }


def _write(data: PreparedData, log: Interactions, options: DataOptions, folder: Path) -> None:
    write_parquet(folder / INTERACTIONS, log.to_frame())
    data.catalogue.save(folder / ITEMS)
    data.split.sequences.save(folder / SEQUENCES)
    write_json(folder / FACTS, data.facts)
    split = {
        "kind": options.split.kind,
        "rule": split_rule(data.split),
        "order": asdict(options.order),
        "order_rule": order_rule(options.order),
        "item_seed": options.seed,
        "counts": data.facts["counts"],
        "sha256": split_hash(data.split),
    }
    if data.split.cuts is not None:
        split |= {"cuts": asdict(data.split.cuts), "options": asdict(options.split)}
    write_json(folder / SPLIT, split)
    seal_data(folder, FILES)
