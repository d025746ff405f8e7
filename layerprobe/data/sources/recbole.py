"""RecBole atomic files: tab separated, header `name:type`; `.inter` is the log, `.item` holds the titles.

Two forms of `.inter` are read. The plain one has a row per interaction. The sequence-valued one has a row per user with
`item_id_list:token_seq` and `item_id:token`: history and target, together the user's sequence, ordered, without times.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from layerprobe.data.interactions import Interactions
from layerprobe.data.sources.delimited import Layout, header, read_delimited
from layerprobe.data.sources.item_lists import interactions_of_lists, split_tokens
from layerprobe.data.sources.raw import RawLog, SourceOptions
from layerprobe.data.sources.raw_table import LogColumns, RawTable, require_columns, to_interactions
from layerprobe.data.sources.table import choose_columns
from layerprobe.data.sources.titles import read_titles
from layerprobe.errors import InputError

LAYOUT = Layout("\t")
USER, ITEM = "user_id", "item_id"
LIST_SUFFIX = "_list"
TITLES = ("title", "movie_title")


def read_recbole(path: Path, options: SourceOptions) -> RawLog:
    """Reads a `.inter` file, or the only one of a folder; the `.item` file beside it is found by its name.

    Raises:
        InputError: a file is missing, empty or damaged, a column is missing, a value is not of its type, there is no
            time column and the rows are not declared ordered, or a sequence-valued file has several rows of one user.
    """
    path = _only_inter(path) if path.is_dir() else path
    full = _full_names(path)
    user, item = options.user_column or USER, options.item_column or ITEM
    has_lists = item + LIST_SUFFIX in full
    log = _read_lists(path, full, user, item) if has_lists else _read_rows(path, full, options)
    return RawLog(log, _titles(path, log, item, options), ordered=has_lists or options.declared_ordered)


def _read_rows(path: Path, full: dict[str, str], options: SourceOptions) -> Interactions:
    named = SourceOptions(
        user_column=options.user_column or USER,
        item_column=options.item_column or ITEM,
        timestamp_column=options.timestamp_column,
        rating_column=options.rating_column,
        declared_ordered=options.declared_ordered,
    )
    chosen = choose_columns(path, list(full), named, LAYOUT.delimiter)
    names = LogColumns(
        user=full[chosen.user],
        item=full[chosen.item],
        timestamp=None if chosen.timestamp is None else full[chosen.timestamp],
        rating=None if chosen.rating is None else full[chosen.rating],
    )
    return to_interactions(read_delimited(path, LAYOUT, names.present()), names)


def _read_lists(path: Path, full: dict[str, str], user: str, item: str) -> Interactions:
    require_columns(path, (user, item), list(full), LAYOUT.delimiter)
    table = read_delimited(path, LAYOUT, (full[user], full[item + LIST_SUFFIX], full[item]))
    _require_row_per_user(table, full[user])
    table.codes(full[item])  # refuses an empty target
    history, lengths = split_tokens(table.table[full[item + LIST_SUFFIX]])
    targets = table.table[full[item]].combine_chunks()
    ends = np.cumsum(lengths + 1) - 1  # where each row's target goes in history + target, rows one after the other
    order = np.empty(len(history) + len(targets), dtype=np.int64)
    is_target = np.zeros(len(order), dtype=bool)
    is_target[ends] = True
    order[is_target] = len(history) + np.arange(len(targets))
    order[~is_target] = np.arange(len(history))
    items = pa.concat_arrays([history, targets]).take(pa.array(order))
    return interactions_of_lists(table.table[full[user]].combine_chunks(), items, lengths + 1)


def _require_row_per_user(table: RawTable, user: str) -> None:
    codes, ids = table.codes(user)
    if len(ids) < len(codes):
        row = int(np.setdiff1d(np.arange(len(codes)), np.unique(codes, return_index=True)[1])[0])
        raise InputError(
            f"{table.path} {table.place(row)}: a sequence-valued .inter file must have one row per user, whose history "
            f"and target are the whole sequence; user {ids[codes[row]]!r} has an earlier row; give the file with the "
            "longest histories (usually .test.inter)"
        )


def _titles(path: Path, log: Interactions, item: str, options: SourceOptions) -> dict[str, str] | None:
    items_path = _items_beside(path) if options.items_path is None else Path(options.items_path)
    if items_path is None:
        if options.title_column is not None:
            raise InputError(f"{path} has no .item file beside it for {options.title_column!r}; set items_path")
        return None
    full = _full_names(items_path)
    title = options.title_column or next((name for name in TITLES if name in full), None)
    if title is None and options.items_path is None:
        return None
    require_columns(items_path, (item, title or TITLES[0]), list(full), LAYOUT.delimiter)
    names = (full[item], full[title or TITLES[0]])
    return read_titles(read_delimited(items_path, LAYOUT, names), *names, log.item_ids)


def _full_names(path: Path) -> dict[str, str]:
    return {name.rpartition(":")[0] or name: name for name in header(path, LAYOUT)}


def _items_beside(path: Path) -> Path | None:
    """`Games-6k.valid.inter.gz` has `Games-6k.valid.item` or `Games-6k.item`, plain or gz, beside it."""
    stem = path.name.removesuffix(".gz").removesuffix(".inter")
    stems = [stem] + ([stem.rpartition(".")[0]] if "." in stem else [])
    candidates = [path.parent / f"{name}.item{suffix}" for name in stems for suffix in ("", ".gz")]
    return next((candidate for candidate in candidates if candidate.exists()), None)


def _only_inter(folder: Path) -> Path:
    paths = sorted([*folder.glob("*.inter"), *folder.glob("*.inter.gz")])
    if len(paths) != 1:
        names = ", ".join(path.name for path in paths) or "none"
        raise InputError(f"{folder} must hold exactly one .inter file, or be the path of one; found {names}")
    return paths[0]
