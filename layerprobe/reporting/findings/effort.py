"""What `convergence.csv` says: who may have been trained too short, and whether all had the same effort.

A group is one full model, depth or selection, baseline, student or control twin with all its seeds. It counts as still
rising where at least half of its trainings do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from layerprobe import columns
from layerprobe.kinds import CONTROLS, FLOORS, STUDENT, VARIANT, label_of
from layerprobe.wording import count, listed, noun

METRIC = "validation NDCG@10"
FULL, SMALLER, TEACHER = "the full model", "smaller", "teacher"
FEWEST_EPOCHS = 3


@dataclass(frozen=True, eq=False)
class Group:
    """The trainings of one model, one row per seed.

    Attributes:
        kind, selection: as in the table.
        is_full: whether it keeps all layers and is a variant.
        rows: its rows.
    """

    kind: str
    selection: str
    is_full: bool
    rows: pd.DataFrame

    @property
    def role(self) -> str:
        """What sentences count it among."""
        if self.kind == VARIANT:
            return FULL if self.is_full else SMALLER
        return self.kind

    @property
    def rising(self) -> int:
        """Trainings that still rose at their last epoch."""
        return int(self.rows[columns.RISING].sum())

    @property
    def is_rising(self) -> bool:
        """Whether at least half of them did."""
        return 2 * self.rising >= len(self.rows)


def groups(table: pd.DataFrame) -> list[Group]:
    """Returns the groups: the teacher where it is a model of its own, the full model, smaller ones by depth, the rest.

    Args:
        table: rows `columns.CONVERGENCE`.
    """
    deepest = table.loc[table[columns.KIND] == VARIANT, columns.DEPTH].max()
    found = []
    for (kind, selection), rows in table.groupby([columns.KIND, columns.SELECTION], sort=False):
        is_full = kind == VARIANT and rows[columns.DEPTH].iloc[0] == deepest
        found.append(Group(str(kind), str(selection), is_full, rows))
    order = [TEACHER, FULL, SMALLER, *FLOORS, STUDENT, *CONTROLS]
    return sorted(found, key=lambda group: order.index(group.role) if group.role in order else len(order))


def undertrained_line(table: pd.DataFrame) -> str | None:
    """Returns the warning that belongs beside the answer where trainings were still improving; None where none was.

    Args:
        table: rows `columns.CONVERGENCE`.
    """
    found = groups(table)
    rising = [group for group in found if group.is_rising]
    if not rising:
        return None
    return (
        f"Training may have been too short: the {METRIC} of {listed(_named(found))} still rose at the last epoch"
        f"{_best(rising)}. More epochs may change the answer."
    )


def _best(rising: Sequence[Group]) -> str:
    """Returns the best epoch of what still rose: it is the last one allowed."""
    limits = sorted({int(value) for group in rising for value in group.rows[columns.EPOCHS_ALLOWED]})
    return f" (best epoch {' or '.join(f'{limit} of {limit}' for limit in limits)})"


def _named(found: Sequence[Group]) -> list[str]:
    """Names the roles that still rose, with how many of how many where a role has several models."""
    by_role: dict[str, list[Group]] = {}
    for group in found:
        by_role.setdefault(group.role, []).append(group)
    named = []
    for role, members in by_role.items():
        n_rising = sum(group.is_rising for group in members)
        if n_rising:
            named.append(_role_name(role, n_rising, members))
    return named


def _role_name(role: str, n_rising: int, members: Sequence[Group]) -> str:
    if role in FLOORS:
        return label_of(role)
    if role in (FULL, TEACHER):
        return FULL if role == FULL else "the teacher"
    word = {SMALLER: f"smaller {noun(group.selection for group in members)}", STUDENT: "student"}.get(role, "")
    word = word or f"{label_of(role)} twin"
    if len(members) == 1:
        return f"the {word}"
    return f"{n_rising} of {len(members)} {word}s"


def budget_check(table: pd.DataFrame) -> list[str]:
    """Returns sentences on the effort: whether models had the same limits and search, who still rose, what is unknown.

    Args:
        table: rows `columns.CONVERGENCE`, at least one.
    """
    found = groups(table)
    efforts: dict[tuple[str, str], list[str]] = {}
    for group in found:
        efforts.setdefault((_epochs(group), _settings(group)), []).append(_plural(group))
    return [_compared(efforts), undertrained_line(table) or _settled(found), *_unknown(table)]


def _compared(efforts: Mapping[tuple[str, str], Sequence[str]]) -> str:
    """Says whether all models had the same limit and search; who had which where they differ."""
    if len(efforts) == 1:
        return f"All models had the same limit and the same search: {' and '.join(next(iter(efforts)))}."
    parts = [f"{listed(list(dict.fromkeys(names)))}: {' and '.join(effort)}" for effort, names in efforts.items()]
    text = "; ".join(parts)
    return (
        f"Models differ in limit or search. {text[:1].upper()}{text[1:]}. A model with fewer epochs or less search may "
        "be weaker than it could be."
    )


def _plural(group: Group) -> str:
    names = {FULL: FULL, SMALLER: "the smaller models", TEACHER: "the teacher", STUDENT: "the student"}
    return names.get(group.role) or (label_of(group.kind) if group.kind in FLOORS else f"{label_of(group.kind)} twins")


def _epochs(group: Group) -> str:
    limits = sorted({int(value) for value in group.rows[columns.EPOCHS_ALLOWED]})
    return f"at most {listed([*map(count, limits)])} epoch{'s' if limits != [1] else ''}"


def _settings(group: Group) -> str:
    tried = int(group.rows[columns.SETTINGS_TRIED].max())
    return "1 setting" if tried == 1 else f"{count(tried)} settings"


def _settled(found: Sequence[Group]) -> str:
    n_rising, n_all = sum(group.rising for group in found), sum(len(group.rows) for group in found)
    if not n_rising:
        return "No training still rose at its last epoch."
    return (
        f"{n_rising} of {n_all} trainings still rose at their last epoch, but less than half of the seeds of any model."
    )


def _unknown(table: pd.DataFrame) -> list[str]:
    unknown = table.loc[table[columns.SLOPE].isna() & (table[columns.EPOCHS] >= FEWEST_EPOCHS)]
    short = table.loc[table[columns.EPOCHS] < FEWEST_EPOCHS]
    lines = []
    if len(unknown):
        lines.append(f"{_trainings(len(unknown))} no log, so the slope is not known; the best epoch alone is judged.")
    if len(short):
        lines.append(
            f"{_trainings(len(short))} fewer than {FEWEST_EPOCHS} epochs, too few for a slope; the best epoch alone is "
            "judged."
        )
    return lines


def _trainings(number: int) -> str:
    return "1 training has" if number == 1 else f"{count(number)} trainings have"
