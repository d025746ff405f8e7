"""`manifest.json`: the hash of every file of a published folder, written last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from layerprobe.errors import InputError
from layerprobe.store.layout import StudyLayout
from layerprobe.store.records import read_record, write_record
from layerprobe.store.run_folder import hash_file

AGAIN = "give a folder that `layerprobe publish` wrote"


@dataclass(frozen=True, kw_only=True)
class ManifestRecord:
    """The content of `manifest.json`.

    Attributes:
        study: name of the study.
        files: SHA-256 by path in the folder.
    """

    study: str
    files: dict[str, str]


def read_manifest(folder: Path) -> ManifestRecord:
    """Reads the manifest of a published folder.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = StudyLayout(folder).manifest
    manifest = read_record(path, ManifestRecord, AGAIN)
    require_inside(path, manifest.files)
    return manifest


def require_inside(path: Path, names: Iterable[str]) -> None:
    """Makes sure that a file names only files of its own folder.

    Raises:
        InputError: a name is absolute or leads out of the folder.
    """
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise InputError(f"{path} must name files of its own folder; got {name[:80]!r}: {AGAIN}")


def write_manifest(folder: Path, study: str) -> None:
    """Writes the hash of every file that is in the folder."""
    files = {name: hash_file(folder / name) for name in present(folder)}
    write_record(StudyLayout(folder).manifest, ManifestRecord(study=study, files=files))


def renew_manifest(folder: Path, written: Iterable[Path]) -> None:
    """Writes the hashes of files that were made anew, and drops those that are gone; the others stay as they were.

    So drawing a report again hides no change of the files it is drawn from.
    """
    known = read_manifest(folder)
    fresh = {path.relative_to(folder).as_posix(): hash_file(path) for path in written}
    kept = {name: value for name, value in known.files.items() if (folder / name).exists()}
    write_record(StudyLayout(folder).manifest, replace(known, files=dict(sorted((kept | fresh).items()))))


def present(folder: Path) -> list[str]:
    """Returns the path of every file in a folder, but of the manifest itself."""
    own = StudyLayout(folder).manifest
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path != own)


def changed_files(folder: Path, manifest: ManifestRecord) -> dict[str, str]:
    """Returns what is wrong with the files of a folder, by path: `changed`, `missing` or `added`."""
    there = present(folder)
    wrong = {name: "missing" for name in manifest.files if name not in there}
    wrong |= {name: "added" for name in there if name not in manifest.files}
    known = {name: value for name, value in manifest.files.items() if name not in wrong}
    return wrong | {name: "changed" for name, value in known.items() if hash_file(folder / name) != value}
