"""Text on power: what these users and seeds can show of the selection that stopped the test, and what it would take."""

from __future__ import annotations

from layerprobe.reporting.words.decisions import FOR_THESE, called, is_exploratory, noun_of
from layerprobe.store.decision import DecisionRecord, PowerRow, SelectionRow
from layerprobe.wording import count, level, percent, signed_percent

UNKNOWN_NEED = (
    "What would it take? With one seed nothing can be said about how many users or seeds are needed, since training "
    "noise is not known. `layerprobe plan` tells it from a pilot of two or more seeds, or from a stated noise."
)
FEW = (
    "What would it take? Too few users have another value with {name} than with the full model: what more users or "
    "seeds would show cannot be told from them."
)


def power_text(decision: DecisionRecord) -> str:
    """Says what this study can show and how many users or seeds its margin needs."""
    power = decision.power
    if not power.selection:
        return UNKNOWN_NEED if is_exploratory(decision) else _older(decision)
    row = next(row for row in decision.depths if row.text == power.selection)
    if power.minimal_detectable_relative_difference is None:
        return UNKNOWN_NEED if is_exploratory(decision) else FEW.format(name=called(row, decision))
    name, seeds = called(row, decision), f" and {power.n_seeds} seeds" if power.n_seeds > 1 else " and one seed"
    return (
        f"What can this study show? {_which(row, decision)} With {count(power.n_users)} users{seeds}, if {name} truly "
        f"equals the full model, it is shown to lose at most {percent(power.minimal_detectable_relative_difference)} "
        f"of that model's value in 8 of 10 such studies (80 % power).{_holds(decision)} "
        f"{_at_zero(power, level(decision.margin))} {_at_observed(power, decision)}"
    )


def _which(row: SelectionRow, decision: DecisionRecord) -> str:
    """Says which selection the numbers are about."""
    name, start = called(row, decision), "These numbers are about"
    if row.not_worse:
        return f"{start} {name}, which passed; no smaller {noun_of(decision)} was left to show."
    return f"{start} {name}, {'which stopped the test.' if decision.sequence else f'which is {row.verdict}.'}"


def _holds(decision: DecisionRecord) -> str:
    if decision.power.n_seeds == 1:
        return f" The stated training noise, {level(decision.prior_noise)}, is taken as known."
    return "" if decision.power.covers_training else f" This holds {FOR_THESE}."


def _at_zero(power: PowerRow, margin: str) -> str:
    needs = _ways(power, power.users_needed_for_margin, power.seeds_needed_for_margin)
    return f"At a true difference of 0, a margin of {margin} needs {needs}."


def _at_observed(power: PowerRow, decision: DecisionRecord) -> str:
    """Says what it takes if the true difference is the observed one."""
    observed = power.observed
    if observed is None:
        return ""
    if observed <= -decision.margin:
        return (
            f"Its observed difference, {signed_percent(observed)}, lies beyond the margin: if that is the true one, no "
            "number of users or seeds shows it to be enough."
        )
    needs = _ways(power, power.users_needed_at_observed, power.seeds_needed_at_observed)
    return f"At the observed one, {signed_percent(observed)}, it needs {needs}."


def _ways(power: PowerRow, users: int | None, seeds: int | None) -> str:
    """Returns the numbers that are needed, each with the other kept as it is."""
    if power.n_seeds == 1 or not power.covers_training:
        return "more seeds: no number of users is enough" if users is None else f"about {count(users)} users"
    ways = [] if users is None else [f"{count(users)} users with the same number of seeds"]
    ways += [] if seeds is None else [f"{count(seeds)} seeds with the same number of users"]
    return f"about {', or '.join(ways)}" if ways else "both more users and more seeds"


def _older(decision: DecisionRecord) -> str:
    """Says it for a study of an older version, which knows the power of the loosest selection alone."""
    power, word = decision.power, noun_of(decision)
    seeds = f" and {power.n_seeds} seeds" if power.n_seeds > 1 else ""
    return (
        f"What can this study show? With {count(power.n_users)} users{seeds}, a {word} that truly equals the full "
        f"model is shown to lose at most {percent(power.minimal_detectable_relative_difference)} of that model's value "
        f"in 8 of 10 such studies (80 % power). This is computed for the {word} with the largest standard error, "
        f'leaving out {word}s with the verdict "worse". A margin of {level(decision.margin)} needs '
        f"{_ways(power, power.users_needed_for_margin, power.seeds_needed_for_margin)}."
    )
