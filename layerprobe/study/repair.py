"""What a run does about damaged files of its folder: they are set aside before anything is read, and so made again.

A damaged file is renamed to `<name>.damaged`. Its folder then counts as not finished, so the stage that writes it does
so again, and only that stage: what was made from the old file stays valid where the new one has the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from layerprobe.errors import InputError
from layerprobe.store.atomic import yaml_text
from layerprobe.store.layout import ITEM_TABLE, LOG, METRICS, RANKS, SPEC, WEIGHTS, StudyLayout
from layerprobe.store.run_folder import drop_file
from layerprobe.store.seals.hashes import hash_text, known_hash, recall
from layerprobe.store.seals.seal import DONE, DamagedSeal, damage, read_seal
from layerprobe.store.seals.study_seals import damaged_tables, recorded_hash, records
from layerprobe.training.log import say
from layerprobe.training.model_folder import note_replaced

ENDING = ".damaged"
AFTER_TRAINING = {SPEC, RANKS, METRICS, ITEM_TABLE}
"""Files of a model folder that its weights and its log give again."""


def lost_spec(layout: StudyLayout) -> str | None:
    """Returns what is wrong with the recorded `study.yaml`; None where it is as it was written, or not known."""
    return damaged_tables(layout).get(layout.spec.name)


def check_records(layout: StudyLayout, asked: object) -> None:
    """Refuses a folder whose `study.yaml` or `provenance.json` is damaged and cannot be made again. Writes nothing.

    A damaged `study.yaml` is written again where the study asked for is the recorded one to the letter, by its hash.

    Args:
        layout: the folder.
        asked: plain values of the study that is asked for.

    Raises:
        InputError: one of the two cannot be made again.
    """
    recall(layout.checked)
    wrong = damaged_tables(layout)
    spec, provenance = layout.spec, layout.provenance
    if spec.name in wrong and hash_text(yaml_text(asked)) != recorded_hash(layout, spec):
        raise InputError(
            f"{spec} {wrong[spec.name]}, and the study asked for now is another one than it recorded: give the same "
            "options as before, restore the file, or choose another --out"
        )
    if provenance.name in wrong and provenance.exists():
        raise InputError(
            f"{provenance} {wrong[provenance.name]}: restore it, or delete it to have it begun anew by this run"
        )


def set_aside_damaged(layout: StudyLayout) -> None:
    """Sets damaged files aside, says so, and unmarks their folders as finished; removes what only they gave."""
    for record in records(layout):
        wrong = damage(record)
        for name, what in wrong.items():
            say(f"{record.parent / name} {what}: it is not read, and made again where the study needs it")
        if not wrong:
            continue
        if record == layout.tables_record:
            _rename(record.parent, wrong)
        elif _is_trained(record, wrong):
            _rename(record.parent, wrong)  # the marker stays: it tells that training has ended
            if ITEM_TABLE in wrong:
                drop_file(record.parent, ITEM_TABLE)
        else:
            _reopen(record, wrong)


def _is_trained(record: Path, wrong: Iterable[str]) -> bool:
    """Tells whether a model folder has its whole weights, and has lost only what they give again."""
    return set(wrong) <= AFTER_TRAINING and WEIGHTS in read_seal(record).files


def _reopen(record: Path, wrong: Iterable[str]) -> None:
    """Makes a folder one that is not finished; of a model whose training is lost, what follows from it goes too."""
    folder = record.parent
    if {WEIGHTS, LOG} & set(wrong) or ((folder / WEIGHTS).exists() and DONE in wrong):
        note_replaced(folder, _older_weights(record))
        for name in (RANKS, METRICS, ITEM_TABLE):
            if name not in wrong:
                (folder / name).unlink(missing_ok=True)
    _rename(folder, [name for name in wrong if name != DONE])
    record.unlink()


def _older_weights(record: Path) -> list[str]:
    """Returns the hashes of the weights that a model folder has held so far."""
    try:
        seal = read_seal(record)
    except DamagedSeal:  # the file itself may still be the one that others were made from
        weights = record.parent / WEIGHTS
        return [known_hash(weights)] if weights.is_file() else []
    return [*seal.replaced, *([seal.files[WEIGHTS]] if WEIGHTS in seal.files else [])]


def _rename(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        if (folder / name).is_file():
            (folder / name).replace(folder / f"{name}{ENDING}")
