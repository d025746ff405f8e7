"""Whether a folder is as it was published: hashes of its files, digests of its ranks, and all users there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from layerprobe import columns
from layerprobe.errors import InputError
from layerprobe.publishing.comparing import NOTHING, Checked, Difference, read_cells
from layerprobe.store.layout import StudyLayout
from layerprobe.store.manifest import changed_files, read_manifest, require_inside
from layerprobe.store.packed_ranks import AGAIN, PackedRanks, PartRow, digest_of_model, digest_of_shared
from layerprobe.store.run_folder import hash_file


def require_files(layout: StudyLayout) -> None:
    """Makes sure that the files are there without which nothing can be computed again.

    Raises:
        InputError: one is missing.
    """
    for path in (layout.spec, layout.facts, layout.split, layout.curve, layout.decision):
        if not path.is_file():
            raise InputError(f"{path} is missing: give a whole folder that `layerprobe publish` wrote")


def check_manifest(folder: Path, study: str) -> Checked:
    """Compares every file with its hash in `manifest.json`."""
    manifest = read_manifest(folder)
    wrong = changed_files(folder, manifest)
    found = [Difference(name, *_hashes(what)) for name, what in wrong.items()]
    if manifest.study != study:
        found.append(Difference("study", manifest.study, study))
    name = StudyLayout(folder).manifest.name
    return Checked(name, f"hashes of {len(manifest.files)} files", differences=tuple(found))


def _hashes(what: str) -> tuple[str, str]:
    return {"missing": ("a hash", "no file"), "added": ("no hash", "a file"), "changed": ("a hash", "another")}[what]


def check_seals(packed: PackedRanks) -> Checked:
    """Compares results and measured files with their hashes beside the ranks, so that none can be left out."""
    folder, sealed = packed.layout.folder, packed.record.sealed
    require_inside(packed.layout.packed_record, sealed)
    found = []
    for name, value in sealed.items():
        path = folder / name
        now = hash_file(path) if path.is_file() else NOTHING
        if now != value:
            found.append(Difference(name, value[:12], now[:12]))
    how = f"{len(sealed)} results and measured files, as they were published: hashes"
    return Checked(packed.layout.packed_record.relative_to(folder).as_posix(), how, differences=tuple(found))


def check_ranks(packed: PackedRanks) -> Iterator[Checked]:
    """Compares the ranks of every model with their digests."""
    record = packed.layout.packed_record.relative_to(packed.layout.folder).as_posix()
    for part in packed.record.parts:
        shared = packed.shared(part)
        found = [] if digest_of_shared(shared) == part.shared else [_changed("users, targets or histories")]
        for name, stored, now in (
            ("users", part.users, shared[columns.USER].nunique()),
            ("targets", part.targets, len(shared)),
        ):
            found += [Difference(f"{record}, {name}", str(stored), str(now))] if stored != now else []
        for model, digest in part.models.items():
            if digest_of_model(packed.part(part, model)) != digest:
                found.append(_changed(f"ranks of {model}"))
        name = packed.layout.packed_part(part.split, part.protocol).relative_to(packed.layout.folder).as_posix()
        how = f"digests of {len(part.models)} models, {part.users} users"
        yield Checked(name, how, 2 * len(shared) * len(part.models), differences=tuple(found))


def _changed(what: str) -> Difference:
    return Difference(what, "a digest", "another")


def require_users(packed: PackedRanks) -> None:
    """Makes sure that the files of ranks hold the same users, and as many as `curve.csv` says.

    Raises:
        InputError: a file has other users than the others, or a user is missing; the message names file and user.
    """
    counted = _users_of_curve(packed.layout)
    first: dict[str, tuple[PartRow, pd.DataFrame]] = {}
    for part in packed.record.parts:
        path, shared = packed.layout.packed_part(part.split, part.protocol), packed.shared(part)
        keys = _keys(shared)
        if np.any(keys[1:] <= keys[:-1]):
            raise InputError(f"{path} must hold each user and target once, ascending; it does not: {AGAIN}")
        other_part, other = first.setdefault(part.split, (part, shared))
        _require_same(path, shared, packed.layout.packed_part(other_part.split, other_part.protocol), other)
        n_users = shared[columns.USER].nunique()
        expected = counted.get((part.split, part.protocol), n_users)
        if n_users != expected:
            lost = _missing(packed, shared[columns.USER].to_numpy())
            raise InputError(f"{path} must hold {expected} users; it holds {n_users}{lost}: {AGAIN}")


def _keys(shared: pd.DataFrame) -> np.ndarray:
    """Returns one number per row, in the order of users and then of their targets."""
    users, lengths = (shared[name].to_numpy(np.int64) for name in (columns.USER, columns.HISTORY_LENGTH))
    return users * 2**32 + lengths


def _users_of_curve(layout: StudyLayout) -> dict[tuple[str, str], int]:
    curve = read_cells(layout.curve)
    most = curve.groupby([columns.SPLIT, columns.PROTOCOL])[columns.N_USERS].agg(lambda cells: cells.mode().iloc[0])
    return {
        (str(split), str(protocol)): int(n)
        for split, protocol, n in most.reset_index().itertuples(index=False)
        if n.isdecimal()
    }


def _missing(packed: PackedRanks, users: np.ndarray) -> str:
    """Names a user that another file has and this one lacks."""
    for part in packed.record.parts:
        lost = np.setdiff1d(packed.shared(part)[columns.USER].to_numpy(), users)
        if len(lost):
            return f", and user {lost[0]} is missing"
    return ""


def _require_same(path: Path, shared: pd.DataFrame, other_path: Path, other: pd.DataFrame) -> None:
    keys, others = _keys(shared), _keys(other)
    differing = np.setxor1d(keys, others)
    if len(differing):
        user = differing[0] // 2**32
        lacks, has = (path, other_path) if differing[0] in others else (other_path, path)
        raise InputError(
            f"all ranks of a split must be of the same users and targets; one of user {user} is in {has} and missing "
            f"in {lacks}: {AGAIN}"
        )
    users = shared[columns.USER].to_numpy()
    for name in (columns.TARGET, columns.TARGET_POPULARITY):
        wrong = np.flatnonzero(shared[name].to_numpy() != other[name].to_numpy())
        if len(wrong):
            raise InputError(
                f"all ranks of a split must be of the same users; user {users[wrong[0]]} has another {name} in {path} "
                f"than in {other_path}: {AGAIN}"
            )
