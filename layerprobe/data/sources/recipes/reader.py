"""Reads a public data set by its facts: the folder or the log itself, with titles from the file beside it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from layerprobe.data.sources.delimited import Layout, read_delimited
from layerprobe.data.sources.events import keep_events
from layerprobe.data.sources.files import COMPRESSED, TableFile
from layerprobe.data.sources.opening import at_home
from layerprobe.data.sources.raw import RawLog, Source, SourceOptions
from layerprobe.data.sources.raw_table import RawTable, to_raw_log
from layerprobe.data.sources.recipes.facts import ItemFile, Recipe
from layerprobe.data.sources.titles import read_titles
from layerprobe.errors import InputError


def source_of(recipe: Recipe) -> Source:
    """Returns the registry entry of a recipe."""
    about = f"{recipe.about}; times in {recipe.unit}; path = the folder or {recipe.files[0]}"
    options = (
        *(("items_path", "items_key", "title_column") if recipe.items is None else ("items_path",)),
        *(() if recipe.event_column is None else ("events",)),
    )
    return Source(recipe.name, about, recipe.where, partial(read_recipe, recipe), options, recipe.licence)


def read_recipe(recipe: Recipe, path: Path, options: SourceOptions) -> RawLog:
    """Reads the log of a data set, and titles where the file of the items lies beside it.

    Raises:
        InputError: a file is missing, empty or damaged, a column is missing, or a value is not of its type.
    """
    log = log_in(path, recipe.files)
    event = [] if recipe.event_column is None else [recipe.event_column]
    table, notes = read_columns(log, recipe.layout, [*recipe.columns.present(), *event]), ()
    if recipe.event_column is not None:
        table, note = keep_events(table, recipe.event_column, options.events)
        notes = (note,)
    raw = to_raw_log(table, recipe.columns)
    raw = replace(raw, notes=(*notes, *raw.notes), ids_are_names=recipe.ids_are_names)
    return with_titles(raw, log.parent, recipe.items, options, recipe.columns.item)


def with_titles(raw: RawLog, folder: Path, items: ItemFile | None, options: SourceOptions, item: str) -> RawLog:
    """Adds the titles of a data set, from `items_path` or from the file beside the log; none where there is none.

    Raises:
        InputError: the file is damaged, lacks a column, or has no item of the log.
    """
    given = None if options.items_path is None else at_home(options.items_path)
    if items is None:
        if given is None:
            return raw
        key, title = options.items_key or item, options.title_column or "title"
        table = TableFile(given).read((key, title))
        return replace(raw, titles=read_titles(table, key, title, raw.interactions.item_ids))
    path = given or found_in(folder, items.files)
    if path is None:
        return replace(raw, notes=(*raw.notes, f"no {items.files[0]} beside the log, so there are no titles"))
    table = read_columns(path, items.layout, (items.key, items.title))
    return replace(raw, titles=read_titles(table, items.key, items.title, raw.interactions.item_ids))


def read_columns(path: Path, layout: Layout | None, wanted: tuple[str, ...] | list[str]) -> RawTable:
    """Reads columns of a file of the set: text of a known layout, or JSON lines.

    Raises:
        InputError: the file is missing, empty or damaged, or a column is missing.
    """
    return TableFile(path).read(wanted) if layout is None else read_delimited(path, layout, wanted)


def log_in(path: Path, names: tuple[str, ...]) -> Path:
    """Returns the log in a folder, by the names that it may have, or the file that was given.

    Raises:
        InputError: the folder has none of them.
    """
    if not path.is_dir():
        return path
    found = found_in(path, names)
    if found is None:
        few = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "nothing"
        raise InputError(
            f"{path / names[0]} does not exist, nor compressed ({', '.join(COMPRESSED[1:])}); there: {few}"
        )
    return found


def found_in(folder: Path, names: tuple[str, ...]) -> Path | None:
    """Returns the first of these files that a folder has, plain or compressed."""
    candidates = (folder / f"{name}{suffix}" for name in names for suffix in COMPRESSED)
    return next((path for path in candidates if path.is_file()), None)
