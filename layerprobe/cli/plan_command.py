"""`plan`: how many users and seeds a margin needs, before anything is trained."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from layerprobe import wording
from layerprobe.arguments import as_path, hints_of, require_key
from layerprobe.errors import InputError
from layerprobe.ranges import SHARE, Range

if TYPE_CHECKING:
    import pandas as pd

    from layerprobe.probing.planning import Aim, DifferenceNoise
    from layerprobe.store.decision import DecisionRecord

SEEDS = 3
"""Trainings of each model in a study, unless it says otherwise."""
MARGIN, ALPHA = 0.02, 0.05
"""Defaults of a decision, where no pilot has its own."""
STATED = "--users, --user_noise and --training_noise"
ONE_SEED = "One seed shows nothing about training noise: a study with one seed is exploratory and has no row here."
LIMITS = (
    "For one depth tested alone, with the training noise of its own seeds. The depths of a study share their estimate, "
    "so it can do better."
)


@dataclass(frozen=True)
class Planned:
    """What is planned from: noise, number of users, margin, error level, and where they come from in words."""

    noise: DifferenceNoise
    users: int
    margin: float
    alpha: float
    source: str


def plan_command(known: argparse.Namespace, _rest: list[str]) -> int:
    """Prints the smallest margins by seeds and users, and what the margin asked for needs.

    Raises:
        InputError: neither or both of pilot and noise are given, the pilot has no power row, or a number is outside its
            range.
    """
    from layerprobe.probing.planning import Aim, margin_table

    _require_one_source(known)
    for name, hint in hints_of(Aim).items():
        if getattr(known, name) is not None:
            require_key(f"--{name}", getattr(known, name), hint)
    planned = _from_pilot(known) if known.pilot is not None else _from_noise(known)
    require_key("--margin", planned.margin, Annotated[float, SHARE])
    aim = Aim(planned.alpha, known.power, known.difference)
    if aim.difference <= -planned.margin:
        raise InputError(
            f"--difference must be above minus the margin, {-planned.margin:g}: a depth that loses more is not within "
            f"it; got {aim.difference:g}"
        )
    table = margin_table(planned.noise, planned.users, aim)
    lines = [planned.source, "", *_table_lines(table, aim), "", *_answers(planned, aim), *_rising(table)]
    print("\n".join([*lines, ONE_SEED, LIMITS]))
    return 0


def _require_one_source(known: argparse.Namespace) -> None:
    noise = {"--user_noise": known.user_noise, "--training_noise": known.training_noise}
    given = [name for name, value in noise.items() if value is not None]
    if known.pilot is not None and given:
        raise InputError(f"plan takes a pilot or its noise; got --pilot and {' and '.join(given)}: leave one out")
    if known.pilot is None and (known.users is None or len(given) < 2):
        missing = [name for name, value in {"--users": known.users, **noise}.items() if value is None]
        raise InputError(f"plan needs --pilot FOLDER, or all of {STATED}; missing: {wording.listed(missing)}")
    if known.users is not None:
        require_key("--users", known.users, Annotated[int, Range(1, 10**9)])


def _from_noise(known: argparse.Namespace) -> Planned:
    from layerprobe.probing.planning import DifferenceNoise

    noise = DifferenceNoise.stated(known.user_noise, known.training_noise)
    source = (
        f"As stated: over users a difference has a standard deviation of {known.user_noise:g} times the metric, a "
        f"training one of {100 * known.training_noise:g} % of it."
    )
    return Planned(noise, known.users, _or(known.margin, MARGIN), _or(known.alpha, ALPHA), source)


def _from_pilot(known: argparse.Namespace) -> Planned:
    """Reads noise, users, margin and error level of a pilot's decision; flags go before its own values.

    Raises:
        InputError: there is no decision, it has no variances, or its models were trained once.
    """
    from layerprobe.probing.planning import DifferenceNoise
    from layerprobe.store.layout import StudyLayout
    from layerprobe.store.seals.study_seals import require_whole_file

    folder = as_path("--pilot", known.pilot)
    require_whole_file(StudyLayout(folder), StudyLayout(folder).decision)
    decision = _decision(folder)
    power = decision.power
    parts = power.variance
    if parts is None or not parts.value > 0:
        raise InputError(
            f"{folder}: its decision has no variances of its differences; decide it again with this version "
            f"(`layerprobe decide`), or give {STATED}"
        )
    seeds = power.n_seeds
    if seeds < 2 or not power.covers_training:
        raise InputError(
            f"{folder}: one seed shows nothing about training noise, and its decision is of {seeds} "
            f"{'seed' if seeds == 1 else 'seeds, with cover users'}: give probe.seeds two or more and cover auto, or "
            f"state the noise by {STATED}"
        )
    users, joint, by_seeds = (max(0.0, part / parts.value**2) for part in (parts.users, parts.joint, parts.seeds))
    noise = DifferenceNoise(users, joint, by_seeds)
    source = (
        f"From {folder}: over users a difference has a standard deviation of "
        f"{(noise.users + noise.joint) ** 0.5:.2g} times the metric, a training one of "
        f"{wording.percent((noise.seeds / 2) ** 0.5, 2)} of it (a rough estimate: {seeds} seeds)."
    )
    margin, alpha = _or(known.margin, decision.margin), _or(known.alpha, decision.alpha)
    return Planned(noise, _or(known.users, power.n_users), margin, alpha, source)


def _decision(folder: Path) -> DecisionRecord:
    from layerprobe.store.decision import read_decision
    from layerprobe.store.layout import StudyLayout

    path = StudyLayout(folder).decision
    if not path.is_file():
        raise InputError(f"--pilot must be the folder of a decided study; {path} is missing: run `layerprobe decide`")
    return read_decision(folder)


def _table_lines(table: pd.DataFrame, aim: Aim) -> list[str]:
    """Returns the table with its heading, a line per number of seeds."""
    true = "is equal to the full model" if aim.difference == 0 else f"differs by {100 * aim.difference:+g} %"
    heads = "".join(f"{f'{users:,} users':>18}" for users in map(int, table.columns))
    rows = [
        f"{seeds:>5}" + "".join(f"{_margin(margin):>18}" for margin in margins)
        for seeds, margins in zip(table.index, table.to_numpy(), strict=True)
    ]
    return [
        f"Smallest margin within which a depth that {true} is shown to be not worse, with a power of "
        f"{wording.level(aim.power)} (alpha {wording.level(aim.alpha)}):",
        f"seeds{heads}",
        *rows,
    ]


def _answers(planned: Planned, aim: Aim) -> list[str]:
    """Returns which numbers of users and of seeds the margin needs, each with the other as it is."""
    from layerprobe.probing.planning import SEEDS as ROWS
    from layerprobe.probing.planning import seeds_needed, users_needed

    noise, margin, shown = planned.noise, planned.margin, wording.count(planned.users)
    users, seeds = users_needed(noise, SEEDS, margin, aim), seeds_needed(noise, planned.users, margin, aim)
    ways = [] if users is None else [f"{_users(users)} with {SEEDS} seeds"]
    ways += [] if seeds is None else [f"{seeds} seeds with {shown} users"]
    start = f"A margin of {wording.level(margin)} needs"
    if ways:
        never = f" No number of users is enough with {SEEDS} seeds." if users is None else ""
        never += f" No number of seeds is enough with {shown} users." if seeds is None else ""
        return [f"{start} {', or '.join(ways)}.{never}"]
    more = ((number, users_needed(noise, number, margin, aim)) for number in ROWS if number > SEEDS)
    examples = [f", such as {number} seeds with {_users(users)}" for number, users in more if users is not None]
    example = examples[0] if examples else ""
    return [f"{start} more than {SEEDS} seeds and more than {shown} users{example}: neither alone is enough."]


def _rising(table: pd.DataFrame) -> list[str]:
    """Names the rows in which more users need a larger margin, and why."""
    by_seeds = zip(table.index, table.to_numpy(), strict=True)
    rows = [str(seeds) for seeds, margins in by_seeds if margins[-1] > margins.min()]
    if not rows:
        return []
    return [
        f"With {wording.listed(rows)} seeds more users do not always help: what is left is training noise, and so few "
        "seeds tell little about it."
    ]


def _users(number: int) -> str:
    """Returns a number of users with two digits, rounded up: the noise is not known better."""
    step = 10 ** max(len(str(number)) - 2, 0)
    return f"about {wording.count(ceil(number / step) * step)} users"


def _margin(share: float) -> str:
    return wording.percent(share, 1 if share >= 0.01 else 2)


def _or(value: Any, other: Any) -> Any:
    return other if value is None else value
