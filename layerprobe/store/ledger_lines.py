"""The lines of `decisions.jsonl`: a plan, then looks, each sealed with hashes.

Takes what was asked and found, hands on lines of text; `store.ledger` reads and writes the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from layerprobe.errors import InputError
from layerprobe.store.records import from_plain, plain_of
from layerprobe.store.run_folder import hash_value
from layerprobe.store.seals.hashes import hash_text

PLANNED_SEEDS = "planned_seeds"
RESTORE = "restore the file from a copy; nothing was overwritten"


@dataclass(frozen=True, kw_only=True)
class PlanLine:
    """What was fixed before a test rank was read.

    Attributes:
        time: UTC, to the second.
        options: those of the decision, `planned_seeds` left out.
        seeds: training seeds, ascending.
        planned_seeds: the largest number of seeds that the study may grow to.
        selections: texts, the full model's included, sorted.
        previous: SHA-256 of the line before; empty in the first.
        content: SHA-256 of the other entries.
    """

    kind: str = "plan"
    time: str
    options: dict[str, Any]
    seeds: tuple[int, ...]
    planned_seeds: int
    selections: tuple[str, ...]
    previous: str = ""
    content: str = ""


@dataclass(frozen=True)
class Asked:
    """What tells one look from another; times do not.

    Attributes:
        options: those of the decision; `planned_seeds` is left out, since it changes no verdict by itself.
        seeds: training seeds; their order does not matter.
        selections: texts, the full model's included; their order does not matter.
        ranks_hash: SHA-256 of the compared ranks (`hash_text`).
    """

    options: Mapping[str, Any]
    seeds: tuple[int, ...]
    selections: tuple[str, ...]
    ranks_hash: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", without_growth(self.options))
        object.__setattr__(self, "seeds", tuple(sorted(self.seeds)))
        object.__setattr__(self, "selections", tuple(sorted(self.selections)))

    def has_way_of(self, line: PlanLine | LookLine) -> bool:
        """Tells whether a line decides in the same way: by equal options, among the same selections."""
        return self.selections == line.selections and not differing(self.options, line.options)


@dataclass(frozen=True)
class Found:
    """What a look found: the decision, as in `decision.json`, and the number of its test users."""

    n_users: int
    verdict: str
    selection: str | None
    depth: int | None
    sentence: str


@dataclass(frozen=True, kw_only=True)
class LookLine:
    """One decision.

    Attributes:
        time: UTC, to the second; None for a decision of a version without a ledger.
        number: from 1.
        options, seeds, selections: as in `Asked`; no seeds where an older version did not write which.
        ranks: SHA-256 of the compared ranks; None for a decision of a version without a ledger.
        n_users: test users.
        level: error level that this look was tested at.
        spent: sum of the levels of all looks so far, at most 1.
        verdict, selection, depth, sentence: what was decided.
        previous: SHA-256 of the line before; empty in the first.
        content: SHA-256 of the other entries.
    """

    kind: str = "look"
    time: str | None
    number: int
    options: dict[str, Any]
    seeds: tuple[int, ...]
    selections: tuple[str, ...]
    ranks: str | None
    n_users: int
    level: float
    spent: float
    verdict: str
    selection: str | None
    depth: int | None
    sentence: str
    previous: str = ""
    content: str = ""

    def is_of(self, asked: Asked) -> bool:
        """Tells whether a decision is this one again. A line without a hash of its ranks is taken to be of them."""
        return asked.has_way_of(self) and self.seeds == asked.seeds and self.ranks in (None, asked.ranks_hash)


def differing(some: Mapping[str, Any], others: Mapping[str, Any]) -> list[str]:
    """Returns the names of options that differ; one that an older version did not know counts as 0 or None.

    >>> differing({"margin": 0.02, "prior_noise": 0.0}, {"margin": 0.01})
    ['margin']
    """
    return [name for name in dict.fromkeys([*some, *others]) if (some.get(name) or None) != (others.get(name) or None)]


def without_growth(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options as they are in JSON, `planned_seeds` left out."""
    plain = json.loads(json.dumps(plain_of(dict(options)), allow_nan=False))
    return {name: value for name, value in plain.items() if name != PLANNED_SEEDS}


def now() -> str:
    """Returns the time in UTC, to the second, as ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def sealed(line: PlanLine | LookLine, before: str) -> str:
    """Returns the text of a line, with the hash of the text before it and that of its own content."""
    plain = {**plain_of(line), "previous": hash_text(before) if before else ""}
    return json.dumps({**plain, "content": _content(plain)}, ensure_ascii=False, allow_nan=False)


def opened(text: str, before: str) -> PlanLine | LookLine:
    """Returns the line of a text.

    Raises:
        InputError: it is no line, its content was edited, or it does not follow the text before it.
    """
    try:
        plain = json.loads(text)
    except ValueError as error:
        raise InputError(f"it is not JSON: {' '.join(str(error).split())}") from error
    is_plan = isinstance(plain, dict) and plain.get("kind") == PlanLine.kind
    line = from_plain(plain, PlanLine if is_plan else LookLine)
    if not _is_finite(plain) or line.content != _content(plain):
        raise InputError("it was edited")
    if line.previous != (hash_text(before) if before else ""):
        raise InputError("the line before it was edited, removed or moved")
    return line


def _is_finite(plain: Any) -> bool:
    """Tells whether plain values are JSON, which has no NaN and no infinity."""
    try:
        json.dumps(plain, allow_nan=False)
    except ValueError:
        return False
    return True


def _content(plain: Mapping[str, Any]) -> str:
    return hash_value({name: value for name, value in plain.items() if name != "content"})
