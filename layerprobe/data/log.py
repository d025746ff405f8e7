"""From a log to a split in memory: what a notebook calls first.

`load_log` reads one of the public formats (`layerprobe datasets` lists them), `synthetic_log` makes a built-in one, and
`prepare` orders, filters, numbers and splits either. The command `layerprobe prepare` does the same on disk.
"""

from __future__ import annotations

import os
from pathlib import Path

from layerprobe.arguments import as_path, require_choice, require_kind, require_whole
from layerprobe.data.order import OrderOptions
from layerprobe.data.prepare import DataOptions, PreparedData, prepare_log, prepared_log
from layerprobe.data.preprocess import PreprocessOptions
from layerprobe.data.progress import Steps, silent
from layerprobe.data.sources.opening import at_home
from layerprobe.data.sources.raw import RawLog, SourceOptions
from layerprobe.data.sources.registry import SOURCES, read_source
from layerprobe.data.synthetic import SyntheticOptions, generate
from layerprobe.data.times.options import SplitOptions
from layerprobe.errors import InputError

FROM_MEMORY = "python"
"""Source that facts name where a log was handed over in memory."""


def load_log(path: str | os.PathLike[str], source: str = "table", options: SourceOptions | None = None) -> RawLog:
    """Reads a log of interactions, nothing filtered.

    Args:
        path: file or folder.
        source: format, such as `table` (CSV, TSV, Parquet), `movielens-100k`, `amazon`, `recbole`.
        options: names of the columns and the like.

    Returns:
        Rows in file order, and titles where the source has any.

    Raises:
        InputError: the format is unknown, an option does not fit it, or the files are at fault.
    """
    options = SourceOptions() if options is None else options
    require_kind("options", options, SourceOptions)
    where = at_home(as_path("path", path))
    if not os.path.exists(where):
        raise InputError(f"path must be the log's file or folder; there is nothing at {where}")
    require_choice("source", source, SOURCES)
    return read_source(source, where, options)


def synthetic_log(options: SyntheticOptions | None = None) -> RawLog:
    """Makes a built-in log, whose needed depth is known.

    Raises:
        InputError: the options do not fit together.
    """
    options = SyntheticOptions() if options is None else options
    require_kind("options", options, SyntheticOptions)
    return generate(options)


def prepare(
    log: RawLog,
    preprocess: PreprocessOptions | None = None,
    order: OrderOptions | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    split: SplitOptions | None = None,
) -> PreparedData:
    """Orders, filters, audits, numbers and splits a log.

    Args:
        log: what `load_log` or `synthetic_log` returned.
        preprocess: which rows stay.
        order: how a user's rows are put in order.
        seed: seed of the permutation that numbers the items.
        out: new folder to write the data to, as `layerprobe prepare` does; None keeps them in memory.
        split: how training, validation and test are told apart; None is leave-one-out.

    Returns:
        Split, catalogue and facts.

    Raises:
        InputError: an option does not fit the log, a step leaves nothing, or the split leaves no target.
    """
    require_kind("log", log, RawLog, instead="read one with load_log")
    preprocess = PreprocessOptions() if preprocess is None else preprocess
    order = OrderOptions() if order is None else order
    require_kind("preprocess", preprocess, PreprocessOptions)
    require_kind("order", order, OrderOptions)
    split = SplitOptions() if split is None else split
    require_kind("split", split, SplitOptions)
    require_whole("seed", seed, 0)
    options = DataOptions(FROM_MEMORY, "", preprocess=preprocess, order=order, seed=seed, split=split)
    if out is None:
        return prepared_log(log, options, Steps(silent))[0]
    return prepare_log(log, options, new_folder("out", out))


def new_folder(name: str, path: str | os.PathLike[str]) -> Path:
    """Returns the path of a folder that is not there yet, or is empty.

    Raises:
        InputError: it holds files, or is one.
    """
    folder = as_path(name, path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{name} must be a new or empty folder; {folder} holds files")
    return folder
