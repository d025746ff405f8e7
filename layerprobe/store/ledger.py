"""`decisions.jsonl`: every decision that was taken on the test users of a study, in order.

One JSON object per line. The first line is the plan, written before a test rank is read; each further line is a look:
a decision with other options, seeds, selections or ranks than all before it. Every line holds the SHA-256 of the line
before it and one of its own content, so a line that was edited, removed or moved is found. Only lines at the end can be
cut off without a gap; `decision.json` holds the number of looks so far, so that is found as long as that file is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerprobe.errors import InputError
from layerprobe.store.atomic import write_text
from layerprobe.store.layout import StudyLayout
from layerprobe.store.ledger_lines import (
    PLANNED_SEEDS,
    RESTORE,
    Asked,
    Found,
    LookLine,
    PlanLine,
    now,
    opened,
    sealed,
    without_growth,
)
from layerprobe.store.older_decision import look_of, plain_decision


@dataclass(frozen=True)
class Ledger:
    """The content of `decisions.jsonl`.

    Attributes:
        plan: None where nothing was recorded before the ranks were read.
        looks: in order.
        texts: the lines as they are in the file; none where it is not written yet.
    """

    plan: PlanLine | None = None
    looks: tuple[LookLine, ...] = ()
    texts: tuple[str, ...] = ()

    def repeated(self, asked: Asked) -> LookLine | None:
        """Returns the look that a decision repeats exactly; None where it is a new one."""
        return next((look for look in self.looks if look.is_of(asked)), None)


def read_ledger(folder: Path) -> Ledger:
    """Reads the ledger of a study's folder.

    In a folder of a version without one, `decision.json` counts as the first look; a damaged one counts as none.

    Raises:
        InputError: a line was edited, removed or moved, or `decision.json` knows more looks than there are.
    """
    path, decision = StudyLayout(folder).ledger, plain_decision(folder)
    decided = decision.get("look")
    known = decided.get("of", 0) if isinstance(decided, dict) else 0
    if not isinstance(known, int):
        raise InputError(f"{StudyLayout(folder).decision} must hold its look as a number; got {known!r}: {RESTORE}")
    if not path.exists() and not known:
        old = look_of(folder, decision)
        return Ledger() if old is None else Ledger(None, (old,), (sealed(old, ""),))
    ledger = _read_lines(path) if path.exists() else Ledger()
    if known > len(ledger.looks):
        raise InputError(
            f"{path} must hold every decision of this study; decision.json knows {known}, and the file "
            f"{f'holds {len(ledger.looks)}' if path.exists() else 'is missing'}: {RESTORE}"
        )
    return ledger


def append_plan(folder: Path, options: Mapping[str, Any], seeds: tuple[int, ...], selections: tuple[str, ...]) -> bool:
    """Records what is planned, as the first line; to be called before the first model is trained.

    Args:
        folder: the study's.
        options: those of the decision; `planned_seeds` may be among them, and None means the number of `seeds`.
        seeds: training seeds.
        selections: texts, the full model's included.

    Returns:
        Whether a line was written. None is where there is one already, where a decision was taken, or where a model
        was ranked: what is written after the ranks is no plan.

    Raises:
        InputError: as `read_ledger`.
    """
    layout = StudyLayout(folder)
    ledger = read_ledger(folder)
    if ledger.plan or ledger.looks or layout.curve.exists() or layout.described_models():
        return False
    growth = options.get(PLANNED_SEEDS)
    plan = PlanLine(
        time=now(),
        options=without_growth(options),
        seeds=tuple(sorted(seeds)),
        planned_seeds=len(seeds) if growth is None else growth,
        selections=tuple(sorted(selections)),
    )
    _write(folder, [sealed(plan, "")])
    return True


def append_look(folder: Path, asked: Asked, level: float, found: Found) -> int:
    """Records a look, and returns its number; one that repeats an earlier look adds no line and has that one's number.

    To be called before `decision.json` is written, so that no decision is ever seen without its line.

    Args:
        folder: the study's.
        asked: what tells this look from others.
        level: the error level that it was tested at (`probing.looks.next_look`).
        found: what it found.

    Raises:
        InputError: as `read_ledger`.
    """
    ledger = read_ledger(folder)
    earlier = ledger.repeated(asked)
    if earlier is not None:
        if not StudyLayout(folder).ledger.exists():
            _write(folder, list(ledger.texts))  # the decision of an older version becomes the first line
        return earlier.number
    look = LookLine(
        time=now(),
        number=len(ledger.looks) + 1,
        options=dict(asked.options),
        seeds=asked.seeds,
        selections=asked.selections,
        ranks=asked.ranks_hash,
        level=level,
        spent=min(1.0, sum(earlier.level for earlier in ledger.looks) + level),
        **vars(found),
    )
    _write(folder, [*ledger.texts, sealed(look, ledger.texts[-1] if ledger.texts else "")])
    return look.number


def _read_lines(path: Path) -> Ledger:
    try:
        texts = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path} is damaged, it is not text: {RESTORE}") from error
    plan, looks, before = None, [], ""
    for place, text in enumerate(texts, start=1):
        try:
            line = opened(text, before)
        except InputError as error:
            raise InputError(f"{path} was changed: line {place} does not fit, {error}; {RESTORE}") from error
        expected = len(looks) + 1
        if isinstance(line, LookLine) and line.number == expected:
            looks.append(line)
        elif place == 1 and not isinstance(line, LookLine):
            plan = line
        else:
            what = f"look {line.number}" if isinstance(line, LookLine) else "a plan"
            raise InputError(f"{path} was changed: line {place} is {what}, not look {expected}; {RESTORE}")
        before = text
    return Ledger(plan, tuple(looks), tuple(texts))


def _write(folder: Path, texts: list[str]) -> None:
    write_text(StudyLayout(folder).ledger, "".join(f"{text}\n" for text in texts))
