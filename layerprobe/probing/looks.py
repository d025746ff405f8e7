"""Looking more than once at the same test users: the error level of each look, and what is said about it.

Takes the ledger and what is asked, hands on a `Look`. Pure rules: nothing is read or written here.

Looks with equal options and selections form one way of deciding; each has the error level alpha of its options.

- As planned. A look with s of P planned seeds, after one with s' of them (0 before the first), is tested at
  alpha * (s - s') / P. These levels add up to at most alpha, so by the union bound the probability of any false "not
  worse" in them is at most alpha. With one look at all planned seeds that is alpha itself.
- Not as planned: more seeds than planned, fewer or others than in the look before, or the same seeds trained again.
  The first such look of a way of deciding is tested at alpha / 2, the second at alpha / 4, and so on: together at most
  alpha.
- Another way of deciding, or any where there is no plan, has its own alpha at its first look; its further looks have
  alpha / 2, alpha / 4, and so on.

What is spent is the sum of the levels of all looks: the probability that any of them says a false "not worse" is at
most that. The rule is Bonferroni's over looks, with levels by the share of the seeds as in Lan and DeMets (1983),
linear in time. We do not use that looks share their data, so the rule is rather too strict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from layerprobe import wording
from layerprobe.errors import InputError
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.store.ledger import Ledger
from layerprobe.store.ledger_lines import Asked, LookLine, PlanLine, differing

NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
SHARES = ("margin", "alpha", "prior_noise")
"""Options that are shares, written in per cent."""
NO_PLAN = "No plan was recorded before the test ranks were read."


@dataclass(frozen=True)
class Look:
    """One look at the test users.

    Attributes:
        number: of this look, from 1; a decision that repeats an earlier look has that one's.
        of: looks so far, this one included.
        level: error level that this look is tested at.
        spent: the probability of a false "not worse" in any look so far is at most this.
        planned: whether it is as planned before training.
        notes: where it is not, and why its level is not alpha.
        plan_notes: those of them that tell what was not planned.
    """

    number: int
    of: int
    level: float
    spent: float
    planned: bool
    notes: tuple[str, ...]
    plan_notes: tuple[str, ...] = ()


def next_look(ledger: Ledger, asked: Asked) -> Look:
    """Returns the look that a decision is: a new one, or an earlier one again.

    Args:
        ledger: the plan and all looks so far.
        asked: options (with `alpha`), seeds, selections and ranks of this decision.
    """
    again = ledger.repeated(asked)
    before = ledger.looks if again is None else ledger.looks[: again.number - 1]
    level, planned, reason = _judged(ledger.plan, before, asked)
    levels = [look.level for look in ledger.looks]
    if again is None:
        levels.append(level)
    else:
        level = again.level
    unplanned = tuple(_plan_notes(ledger.plan, asked))
    return Look(
        number=len(levels) if again is None else again.number,
        of=len(levels),
        level=level,
        spent=min(1.0, sum(levels)),
        planned=planned,
        notes=(*unplanned, *_level_notes(level, asked, reason)),
        plan_notes=unplanned,
    )


def look_sentence(look: Look, promises: bool = True) -> str:
    """Says which look this is, what all looks spend together, and what was not planned.

    Args:
        look: the look.
        promises: whether error levels hold; false where one seed stands behind the decision, and none is then said.

    Nothing is said of the first and only look, if it is as planned and has the whole error level.

    >>> look_sentence(Look(number=2, of=2, level=0.025, spent=0.075, planned=False, notes=()))
    'This is the second look at these test users (decisions.jsonl): over both, the probability of a false "not worse" \
is at most 7.5 %.'
    """
    said = [] if look.of == 1 else [_counted(look) if promises else f"{_which(look)} (decisions.jsonl)."]
    return " ".join([*said, *(look.notes if promises else look.plan_notes)])


def check_looks(options: DecisionOptions, seeds: Sequence[int]) -> None:
    """Checks that a study with these seeds can grow to the planned number of seeds.

    Raises:
        InputError: it has more seeds than that.
    """
    if options.planned_seeds is not None and options.planned_seeds < len(seeds):
        raise InputError(
            f"decision.planned_seeds must be at least the number of probe.seeds, which is {len(seeds)}; got "
            f"{options.planned_seeds}: it is the largest number of seeds the study may grow to"
        )


def _judged(plan: PlanLine | None, before: Iterable[LookLine], asked: Asked) -> tuple[float, bool, str]:
    """Returns level, whether the look is as planned, and why the level is not alpha."""
    alpha = float(asked.options["alpha"])
    same_way = [look.seeds for look in before if asked.has_way_of(look)]
    if plan is None or not asked.has_way_of(plan):
        return alpha / 2 ** len(same_way), False, "these options and selections were looked at before"
    grown: set[int] = set()
    extra = 1
    for seeds in same_way:
        if _grows(plan, grown, seeds):
            grown = set(seeds)
        else:
            extra += 1
    if _grows(plan, grown, asked.seeds):
        of = f"{len(asked.seeds)} of {plan.planned_seeds} planned seeds"
        reason = f"{of}, after a look at {len(grown)}" if grown else of
        added = (len(asked.seeds) - len(grown)) / plan.planned_seeds  # first, so that the whole share is exactly alpha
        return alpha * added, True, reason
    is_more = len(asked.seeds) > plan.planned_seeds
    reason = "more seeds than planned" if is_more else "a look at these seeds was not planned"
    return alpha / 2**extra, False, reason


def _grows(plan: PlanLine, grown: set[int], seeds: Sequence[int]) -> bool:
    """Tells whether a look with these seeds adds planned ones to those of the planned look before it."""
    asked = set(seeds)
    return grown < asked and len(asked) <= plan.planned_seeds and _is_along(plan, asked)


def _is_along(plan: PlanLine, asked: set[int]) -> bool:
    """Tells whether these are some of the seeds that the plan names, or all of them and more."""
    return asked <= set(plan.seeds) or asked >= set(plan.seeds)


def _plan_notes(plan: PlanLine | None, asked: Asked) -> list[str]:
    if plan is None:
        return [NO_PLAN]
    pairs = [
        (f"{name} {_shown(name, asked.options.get(name))}", _shown(name, plan.options.get(name)))
        for name in differing(plan.options, asked.options)
    ]
    if len(asked.seeds) > plan.planned_seeds:
        pairs.append((f"{len(asked.seeds)} seeds", str(plan.planned_seeds)))
    elif not _is_along(plan, set(asked.seeds)):
        pairs.append((f"seeds {_listed(asked.seeds)}", _listed(plan.seeds)))
    if asked.selections != plan.selections:
        pairs.append((f"selections {_listed(asked.selections)}", _listed(plan.selections)))
    parts = [f"{now}, planned {planned}" for now, planned in pairs]
    return [f"Not as planned before training: {'; '.join(parts)}."] if parts else []


def _level_notes(level: float, asked: Asked, reason: str) -> list[str]:
    alpha = asked.options["alpha"]
    if level == alpha:
        return []
    return [
        f"This look is tested at an error level of {_rounded_up(level)} instead of {wording.level(alpha)}: {reason}."
    ]


def _counted(look: Look) -> str:
    every = "both" if look.of == 2 else f"all {NUMBERS[look.of - 2] if look.of <= 10 else look.of}"
    return (
        f'{_which(look)} (decisions.jsonl): over {every}, the probability of a false "not worse" is at most '
        f"{_rounded_up(look.spent)}."
    )


def _which(look: Look) -> str:
    if look.number < look.of:
        which = f"look {look.number} of {look.of}"
    else:
        which = f"the {ORDINALS[look.number - 1]} look" if look.number <= len(ORDINALS) else f"look {look.number}"
    return f"This is {which} at these test users"


def _shown(name: str, value: object) -> str:
    if value is None:
        return "none"
    return wording.level(value) if name in SHARES and isinstance(value, float) else str(value)


def _listed(values: Iterable[object]) -> str:
    return wording.listed([str(value) for value in values])


def _rounded_up(share: float) -> str:
    """Returns a share in per cent with two digits at most, never below it."""
    return wording.level(ceil(share * 1e4 - 1e-6) / 1e4)
