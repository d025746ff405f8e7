"""The records of a study: `done.json` in the folders of its stages, and `files.json` for the tables beside them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from layerprobe.store.layout import CHECKPOINT, INTERACTIONS, ITEMS, SEQUENCES, StudyLayout
from layerprobe.store.seals.hashes import known_hash, recall
from layerprobe.store.seals.seal import DONE, DamagedSeal, Seal, damage, read_seal, require_whole, write_plain

AGAIN = "run the study with the same arguments, which makes it again"
UNREAD = (INTERACTIONS, ITEMS, SEQUENCES)
"""Files of the data folder that no report shows."""


def records(layout: StudyLayout) -> list[Path]:
    """Returns every record of a study but the student's, which is a folder of its own."""
    done = sorted(path for path in layout.folder.rglob(DONE) if not path.is_relative_to(layout.student))
    return [path for path in (layout.tables_record, *done) if path.exists()]


def require_whole_study(layout: StudyLayout) -> None:
    """Makes sure that what a report is drawn from is what was written; weights and sequences are not read for it.

    Raises:
        InputError: a file is missing or changed; the message names it and what to do.
    """
    recall(layout.checked)
    require_whole(layout.tables_record, AGAIN)
    require_whole_stages(layout)


def require_whole_stages(layout: StudyLayout) -> None:
    """Makes sure of the same for what the tables are computed from; tables may differ from what was written.

    Raises:
        InputError: as `require_whole_study`.
    """
    for record in records(layout):
        if record != layout.tables_record:
            require_whole(record, AGAIN, only=lambda name: not name.startswith(f"{CHECKPOINT}/") and name not in UNREAD)


def require_whole_file(layout: StudyLayout, path: Path) -> None:
    """Makes sure that one file of a study is the one that was written; a file that no record names passes.

    Raises:
        InputError: it is not.
    """
    inside = [folder for folder in path.parents if folder != layout.folder and folder.is_relative_to(layout.folder)]
    for record in (layout.tables_record, *(folder / DONE for folder in inside)):
        name = path.relative_to(record.parent).as_posix()
        require_whole(record, AGAIN, only=lambda other, name=name: other == name)


def unseal(layout: StudyLayout, paths: Iterable[Path]) -> None:
    """Drops tables from `files.json` before they are written: a kill between table and record must not tell a lie."""
    known = _tables(layout)
    names = {path.relative_to(layout.folder).as_posix() for path in paths} & set(known.files)
    if names:
        _write(layout, {name: value for name, value in known.files.items() if name not in names}, known.sizes)


def seal(layout: StudyLayout, paths: Iterable[Path]) -> None:
    """Records tables that are there in `files.json`; others among `paths` are dropped from it."""
    known, there = _tables(layout), {path.relative_to(layout.folder).as_posix(): path for path in paths}
    files = {name: value for name, value in known.files.items() if name not in there}
    fresh = {name: path for name, path in there.items() if path.is_file()}
    sizes = known.sizes | {name: path.stat().st_size for name, path in fresh.items()}
    _write(layout, files | {name: known_hash(path) for name, path in fresh.items()}, sizes)


def _tables(layout: StudyLayout) -> Seal:
    if not layout.tables_record.exists():
        return Seal("", {}, {})
    try:
        return read_seal(layout.tables_record)
    except DamagedSeal:  # found and said when the folder was opened; what is written now is recorded anew
        return Seal("", {}, {})


def _write(layout: StudyLayout, files: dict[str, str], sizes: dict[str, int]) -> None:
    names = sorted(files)
    fresh = Seal("", {name: files[name] for name in names}, {name: sizes[name] for name in names if name in sizes})
    if fresh != _tables(layout):  # with no table yet there is no record
        write_plain(layout.tables_record, fresh)


def damaged_tables(layout: StudyLayout) -> dict[str, str]:
    """Returns what is wrong with the files that `files.json` records, by path in the study's folder."""
    return damage(layout.tables_record)


def recorded_hash(layout: StudyLayout, path: Path) -> str | None:
    """Returns the hash that `files.json` has of a file; None where it has none."""
    return _tables(layout).files.get(path.relative_to(layout.folder).as_posix())
