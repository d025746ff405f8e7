"""The guard of a study's folder: a folder holds one study, and only that study is resumed in it.

Takes a study, writes `study.yaml` and `provenance.json`; refuses a folder that holds something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from layerprobe import processes
from layerprobe.arguments import writable_folder
from layerprobe.errors import InputError
from layerprobe.store.atomic import is_rest, read_json, read_yaml, remove_rests, write_json, write_yaml
from layerprobe.store.layout import DATA
from layerprobe.store.provenance import provenance
from layerprobe.store.run_folder import differing_keys
from layerprobe.store.seals.hashes import remember
from layerprobe.store.seals.lock import sole_writer
from layerprobe.store.seals.study_seals import seal, unseal
from layerprobe.study.defaults import defaults_of
from layerprobe.study.repair import check_records, lost_spec, set_aside_damaged
from layerprobe.study.spec import to_plain
from layerprobe.study.study import Study
from layerprobe.training.engine import mixed_precision

FREE_KEYS = (
    "decision",
    "probe.depths",
    "probe.selections",
    "probe.controls",
    "probe.seeds",
    "probe.heads",
    "probe.halving",
    "distill",
    "items.every_seed",
    "similarity",
    "evaluation.alpha",
    "evaluation.n_boot",
    "trackers",
    "cost",
    "budget",
)
"""Keys that may change between runs: tables are computed again, and added variants are trained. All others may not."""


@contextmanager
def opened_folder(study: Study) -> Iterator[None]:
    """Holds the study's folder while it is run: new or of this study, this run alone, and nothing damaged in it.

    Temporary files of a killed run are removed, and damaged files are set aside. The hashes of whole files are kept at
    the end, so that the next run need not read them.

    Raises:
        InputError: as `check_folder`, or another run holds the folder.
    """
    check_folder(study)
    with sole_writer(study.folder):
        check_folder(study)  # again: while the first look was taken another run may have ended here
        remove_rests(study.folder)
        set_aside_damaged(study.layout)
        if study.layout.tables_record.exists() and not study.layout.spec.exists():
            record(study)
        try:
            yield
        finally:
            if study.layout.tables_record.exists():
                remember(study.layout.checked)


def check_folder(study: Study) -> None:
    """Makes sure the folder is new or holds this study, with the same checkpoint; writes nothing.

    Raises:
        InputError: the folder holds another study (the differing keys are named) or something that is no study.
    """
    writable_folder("--out", study.folder)
    check_records(study.layout, to_plain(study.spec))
    if study.layout.spec.exists() or lost_spec(study.layout) is not None:
        blocking = [name for name in _guarded_changes(study) if not _lies_in(name, _open_keys(study))]
        if blocking:
            raise InputError(
                f"{study.folder} holds another study; these keys differ: {', '.join(blocking[:5])}; "
                "choose another --out, or delete that folder"
            )
        _check_provenance(study)
    elif study.folder.exists():
        strange = [entry for entry in study.folder.iterdir() if entry.name != DATA and not is_rest(entry)]
        if strange:
            raise InputError(f"--out must be a new folder or that of this study; {study.folder} holds other files")


def is_recorded(study: Study) -> bool:
    """Tells whether the folder records a study, and that it is this one."""
    return study.layout.spec.exists() and not _guarded_changes(study)


def _guarded_changes(study: Study) -> list[str]:
    """Returns the keys that differ from the recorded study's, without those that may always change."""
    if lost_spec(study.layout) is not None:  # by its hash it was this very study: `check_records`
        return []
    recorded = read_yaml(study.layout.spec)
    differing = differing_keys(recorded, to_plain(study.spec), defaults_of(study.spec))
    return [name for name in differing if not _lies_in(name, FREE_KEYS)]


def _open_keys(study: Study) -> list[str]:
    """Returns the keys that may change until a model is trained with them, for example after a learning-rate test."""
    trained = {"items.training": (study.layout.items,), "training": study.layout.trained}
    return [name for name, places in trained.items() if not any(place.exists() for place in places)]


def _check_provenance(study: Study) -> None:
    """Refuses another precision or other weights under the same name: the models could not be compared."""
    path = study.layout.provenance
    if not path.exists():
        return
    known = read_json(path)
    trained = known.get("precision", mixed_precision())
    if trained != mixed_precision():
        raise InputError(
            f"{study.folder} was trained with mixed precision {trained}; this run would resume with "
            f"{mixed_precision()}, and depths could not be compared: give accelerate launch --mixed_precision "
            f"{trained}, or choose another --out"
        )
    for entry in (known, *known["continued"]):
        if entry.get("backbone", study.content) != study.content:
            raise InputError(
                f"{study.spec.backbone.checkpoint} holds other weights than at the start of {study.folder}: restore "
                "them (for a hub checkpoint, set the old backbone.revision), or choose another --out"
            )


def record(study: Study) -> None:
    """Records the study in its folder: once its data exist, and again when all stages have passed."""
    written = [study.layout.spec, study.layout.provenance]
    unseal(study.layout, written)
    write_yaml(study.layout.spec, to_plain(study.spec))
    _record_provenance(study)
    seal(study.layout, written)


def _record_provenance(study: Study) -> None:
    """Writes the environment of the first run; a later run with other versions or another commit is added to a list."""
    path = study.layout.provenance
    now = provenance("cuda" if torch.cuda.is_available() else "cpu", list(study.spec.probe.seeds))
    now |= {"precision": mixed_precision(), "processes": processes.count()}
    if study.content:
        now["backbone"] = study.content
    if not path.exists():
        write_json(path, now | {"continued": []})
        return
    first = read_json(path)
    known = [{name: value for name, value in first.items() if name != "continued"}, *first["continued"]]
    if now not in known:
        write_json(path, first | {"continued": [*first["continued"], now]})


def _lies_in(name: str, keys: Sequence[str]) -> bool:
    """Tells whether a dotted name is one of the keys or lies below one, compared by whole names."""
    return any(name == key or name.startswith(f"{key}.") for key in keys)
