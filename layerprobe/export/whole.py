"""Whether a student's folder is whole: every file has its hash in `done.json`, and every byte is read at each load.

The model card is there to be edited: it has a hash too, but another card is only noted.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from layerprobe.errors import InputError
from layerprobe.store.atomic import read_json
from layerprobe.store.seals.seal import DONE, MISSING, DamagedSeal, damage, read_seal, require_whole, write_seal
from layerprobe.training.log import say

Held = Literal["whole", "damaged", "unknown"]
"""What is known of a student's files by their hashes; a student of an older version has none."""
CARD, FACTS = "README.md", "student.json"
AGAIN = "run `layerprobe export`, which writes the student again, or take the folder from where it came"


def seal_student(folder: Path, student_sha256: str) -> None:
    """Writes the hash of every file of a student's folder, and which student it is."""
    files = [path for path in folder.rglob("*") if path.is_file() and path != folder / DONE]
    write_seal(folder / DONE, student_sha256, files)


def require_whole_student(folder: Path) -> None:
    """Makes sure that a student's files are those that were written; one of a version without hashes passes.

    Raises:
        InputError: a file is missing or changed; the message names it.
    """
    require_whole(folder / DONE, AGAIN, only=lambda name: name != CARD, afresh=True)


def held(folder: Path, student_sha256: str) -> Held:
    """Tells whether a folder holds this student whole, as far as it has hashes, and says what is wrong where not.

    Raises:
        InputError: it holds another student, or something else.
    """
    if _held_by(folder) != student_sha256:
        raise InputError(f"{folder} does not hold this student; move it away to export again")
    if not (folder / DONE).exists():
        return "unknown"
    wrong = damage(folder / DONE, afresh=True)
    card = wrong.pop(CARD, None)
    for name, what in wrong.items():
        say(f"export: {folder / name} {what}: the student is written again")
    if card is not None and not wrong:
        if card == MISSING:
            say(f"export: {folder / CARD} {card}: the student is written again")
            return "damaged"
        say(f"export: {folder / CARD} {card}, and is left as it is; delete it to have the card written again")
    return "damaged" if wrong else "whole"


def _held_by(folder: Path) -> str | None:
    """Returns which student a folder says it holds, from its hashes or, where they cannot be read, from its facts."""
    try:
        if (folder / DONE).exists():
            return read_seal(folder / DONE).key
    except DamagedSeal:
        pass
    return (known_facts(folder) or {}).get("student_sha256")


def known_facts(folder: Path) -> dict[str, Any] | None:
    """Returns what `student.json` says; None where it is not there or damaged."""
    if FACTS in damage(folder / DONE, only=lambda name: name == FACTS):
        return None
    try:
        facts = read_json(folder / FACTS)
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def put_in_place(written: Path, folder: Path) -> None:
    """Gives a complete folder its name; where there is a damaged one, its files are replaced, the hashes last.

    Until then the old hashes stay, so that a mixture of old and new files is never taken for a student.
    """
    if not folder.exists():
        os.replace(written, folder)
        return
    files = [path.relative_to(written) for path in written.rglob("*") if path.is_file()]
    for name in sorted(files, key=lambda name: name == Path(DONE)):
        if name == Path(CARD) and (folder / name).exists() and (folder / name).stat().st_size:
            continue  # it may have been edited
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(written / name, folder / name)
