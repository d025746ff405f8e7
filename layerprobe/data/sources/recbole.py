"""RecBole atomic files: split at tabs or at `delimiter`, header `name:type`; `.inter` is the log, `.item` has titles.

Two forms of `.inter` are read. The plain one has a row per interaction. The sequence-valued one has a row per user with
`item_id_list:token_seq` and `item_id:token`: history and target, together the user's sequence, ordered, without times.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from layerprobe.data.sources.delimited import Layout, header, read_delimited, separator
from layerprobe.data.sources.files import COMPRESSED
from layerprobe.data.sources.item_lists import log_of_lists, split_tokens
from layerprobe.data.sources.opening import at_home
from layerprobe.data.sources.raw import RawLog, SourceOptions
from layerprobe.data.sources.raw_table import LogColumns, RawTable, require_columns, shown, to_raw_log
from layerprobe.data.sources.table import choose_columns
from layerprobe.data.sources.titles import read_titles
from layerprobe.errors import InputError

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
    layout = Layout(separator("\t" if options.delimiter is None else options.delimiter))
    full = _full_names(path, layout)
    user, item = options.user_column or USER, options.item_column or ITEM
    has_lists = item + LIST_SUFFIX in full
    raw = _read_lists(path, layout, user, item) if has_lists else _read_rows(path, layout, options)
    return _with_titles(path, raw, item, layout, options)


def _read_rows(path: Path, layout: Layout, options: SourceOptions) -> RawLog:
    full = _full_names(path, layout)
    named = replace(options, user_column=options.user_column or USER, item_column=options.item_column or ITEM)
    chosen = choose_columns(path, list(full), named, layout.delimiter)
    names = LogColumns(
        user=full[chosen.user],
        item=full[chosen.item],
        timestamp=None if chosen.timestamp is None else full[chosen.timestamp],
        rating=None if chosen.rating is None else full[chosen.rating],
    )
    return to_raw_log(read_delimited(path, layout, names.present()), names, options.declared_ordered)


def _read_lists(path: Path, layout: Layout, user: str, item: str) -> RawLog:
    full = _full_names(path, layout)
    require_columns(path, (user, item), list(full), layout.delimiter)
    table = read_delimited(path, layout, (full[user], full[item + LIST_SUFFIX], full[item]))
    _require_row_per_user(table, full[user])
    table.codes(full[item], "item")  # refuses an empty target
    history, lengths = split_tokens(table.table[full[item + LIST_SUFFIX]])
    targets = table.table[full[item]].combine_chunks()
    ends = np.cumsum(lengths + 1) - 1  # where each row's target goes in history + target, rows one after the other
    order = np.empty(len(history) + len(targets), dtype=np.int64)
    is_target = np.zeros(len(order), dtype=bool)
    is_target[ends] = True
    order[is_target] = len(history) + np.arange(len(targets))
    order[~is_target] = np.arange(len(history))
    items = pa.concat_arrays([history, targets]).take(pa.array(order))
    return log_of_lists(table.table[full[user]].combine_chunks(), items, lengths + 1, table.place)


def _require_row_per_user(table: RawTable, user: str) -> None:
    found = table.codes(user, "user")
    if len(found.ids) < len(found.codes):
        firsts = np.unique(found.codes, return_index=True)[1]
        row = int(np.setdiff1d(np.arange(len(found.codes)), firsts)[0])
        raise InputError(
            f"{table.path} {table.place(row)}: a sequence-valued .inter file must have one row per user, whose history "
            f"and target are the whole sequence; user {shown(found.ids[found.codes[row]])} has an earlier row; give "
            "the file with the longest histories (usually .test.inter)"
        )


def _with_titles(path: Path, raw: RawLog, item: str, layout: Layout, options: SourceOptions) -> RawLog:
    items_path = _items_beside(path) if options.items_path is None else at_home(options.items_path)
    if items_path is None:
        if options.title_column is not None:
            raise InputError(f"{path} has no .item file beside it for {options.title_column!r}; set items_path")
        return raw
    full, key = _full_names(items_path, layout), options.items_key or item
    title = options.title_column or next((name for name in TITLES if name in full), None)
    if title is None and options.items_path is None:
        return raw
    require_columns(items_path, (key, title or TITLES[0]), list(full), layout.delimiter)
    names = (full[key], full[title or TITLES[0]])
    table = read_delimited(items_path, layout, names)
    return replace(raw, titles=read_titles(table, *names, raw.interactions.item_ids))


def _full_names(path: Path, layout: Layout) -> dict[str, str]:
    return {name.rpartition(":")[0] or name: name for name in header(path, layout)}


def _items_beside(path: Path) -> Path | None:
    """`Games-6k.valid.inter.gz` has `Games-6k.valid.item` or `Games-6k.item`, plain or compressed, beside it."""
    stem = path.name.rpartition(".inter")[0] or path.stem
    stems = [stem] + ([stem.rpartition(".")[0]] if "." in stem else [])
    candidates = [path.parent / f"{name}.item{suffix}" for name in stems for suffix in COMPRESSED]
    return next((candidate for candidate in candidates if candidate.exists()), None)


def _only_inter(folder: Path) -> Path:
    paths = sorted(path for suffix in COMPRESSED for path in folder.glob(f"*.inter{suffix}"))
    if len(paths) != 1:
        names = ", ".join(path.name for path in paths) or "none"
        raise InputError(f"{folder} must hold exactly one .inter file, or be the path of one; found {names}")
    return paths[0]
