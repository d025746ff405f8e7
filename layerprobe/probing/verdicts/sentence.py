"""The sentence of a decision: its verdict first, then what it rests on, readable without knowing the tool.

Takes what was compared and tested, hands on text. Everything said follows from the verdicts; nothing is computed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from layerprobe import wording
from layerprobe.backbone.selection import LayerSelection
from layerprobe.kinds import label_of
from layerprobe.probing.comparisons import Comparison
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.power import Power
from layerprobe.probing.verdicts.baselines import AgainstBaseline, Baselines
from layerprobe.probing.wording import are, called, noun
from layerprobe.store.decision import FULL_NEEDED, KEEP, UNDECIDED, USE_BASELINE


@dataclass(frozen=True)
class Answer:
    """What a decision found.

    Attributes:
        chosen: the smallest selection that is not worse than the full model; None if none was shown to be.
        comparisons: every studied selection, the full model last.
        baselines: the floors.
        options: metric, margin and rule.
        level: error level of this look.
        power: what these users and seeds can show of the selection that stopped the test.
        exploratory: whether one seed stands behind it, and no training noise is stated.
    """

    chosen: LayerSelection | None
    comparisons: dict[LayerSelection, Comparison]
    baselines: Baselines
    options: DecisionOptions
    level: float
    power: Power
    exploratory: bool

    @property
    def full(self) -> LayerSelection:
        """The full model."""
        return max(self.comparisons, key=lambda selection: selection.depth)

    @property
    def verdict(self) -> str:
        """One of `store.decision.VERDICTS`: baselines are asked first, then the depths."""
        if self.baselines.winner is not None:
            return USE_BASELINE
        if self.chosen is not None:
            return KEEP
        smaller = [row for selection, row in self.comparisons.items() if selection != self.full]
        return FULL_NEEDED if all(row.verdict == "worse" for row in smaller) else UNDECIDED


def decision_sentence(answer: Answer) -> str:
    """Says the verdict, what it rests on and how sure that is.

    Returns:
        A few sentences on one line. Selections are called by their depth where all are written `first:k`.
    """
    told = {USE_BASELINE: _use_baseline, KEEP: _keep, UNDECIDED: _undecided, FULL_NEEDED: _full_needed}
    text = told[answer.verdict](answer)
    if not answer.exploratory:
        return text
    return (
        f"Exploratory, one training seed: {text[0].lower()}{text[1:]} Another training may give another answer: train "
        "three seeds (probe.seeds)."
    )


def _use_baseline(answer: Answer) -> str:
    winner, comparisons = answer.baselines.winner, answer.comparisons
    assert winner is not None
    best = max(comparisons, key=lambda selection: comparisons[selection].value)
    floor, pair = answer.baselines.against_full[winner], answer.baselines.pairs[best, winner]
    text = (
        f"Use the baseline {label_of(winner)}: it has an {answer.options.label} of {wording.four_digits(floor.value)}, "
        f"more than every {noun(comparisons)}. The best of them, {called(best, comparisons)}, has "
        f"{wording.four_digits(comparisons[best].value)} ({_relative(pair, floor.value)}; {_sure(answer)})."
    )
    if answer.chosen is None:
        return text
    return (
        f"{text} If layers are kept all the same: {called(answer.chosen, comparisons)} is the smallest of them whose "
        f"loss against the full model is within the margin of {wording.level(answer.options.margin)}."
    )


def _keep(answer: Answer) -> str:
    chosen, comparisons, margin = answer.chosen, answer.comparisons, wording.level(answer.options.margin)
    assert chosen is not None
    kept, full = comparisons[chosen], comparisons[answer.full]
    if not chosen.depth:
        head = f"Keep no layer (depth 0 of {answer.full.depth}): item vectors and head alone have"
    elif noun(comparisons) == "depth":
        head = f"Keep {chosen.depth} of {answer.full.depth} layers: depth {chosen.depth} has"
    else:
        head = f"Keep {chosen.depth} of {answer.full.depth} layers ({chosen}): " + (
            "it has" if chosen.depth == 1 else "they have"
        )
    text = (
        f"{head} an {answer.options.label} of {wording.four_digits(kept.value)}, compared with "
        f"{wording.four_digits(full.value)} for the full model ({wording.signed_percent(kept.relative)}). "
        f"{'The' if kept.relative < 0 else 'Any'} loss is within the margin of {margin} ({_sure(answer)})."
    )
    if kept.verdict == "better":
        text += f" {are([chosen], comparisons)} {_significantly(answer)}better than the full model."
    return f"{text}{_beside_baselines(answer, chosen)}"


def _undecided(answer: Answer) -> str:
    comparisons, margin = answer.comparisons, wording.level(answer.options.margin)
    beyond = any(row.not_worse for selection, row in comparisons.items() if selection != answer.full)
    which = f"{noun(comparisons)}{' that the test reached' if beyond else ''}"
    text = (
        f"Undecided: no smaller {which} is shown to be within {margin} of the full model's {answer.options.label} of "
        f"{wording.four_digits(comparisons[answer.full].value)}, and not all are shown to be "
        f"worse ({_sure(answer)}). {_stopped(answer)}"
    )
    worse = [selection for selection, row in comparisons.items() if row.verdict == "worse"]
    if worse:
        text += f" {are(worse, comparisons)} {_significantly(answer)}worse, by more than {margin}."
    return f"{text}{_beside_baselines(answer, answer.full)}"


def _full_needed(answer: Answer) -> str:
    comparisons, margin = answer.comparisons, wording.level(answer.options.margin)
    smaller = {selection: row for selection, row in comparisons.items() if selection != answer.full}
    best = max(smaller, key=lambda selection: smaller[selection].value)
    full = comparisons[answer.full]
    text = (
        f"The full model is needed: every smaller {noun(comparisons)} loses more than {margin} of its "
        f"{answer.options.label} of {wording.four_digits(full.value)} ({_sure(answer)}). The best of them, "
        f"{called(best, comparisons)}, has {wording.four_digits(smaller[best].value)} "
        f"({_range(smaller[best].relative, smaller[best].ci_low, smaller[best].ci_high, full.value)})."
    )
    return f"{text}{_beside_baselines(answer, answer.full)}"


def _stopped(answer: Answer) -> str:
    """Names the selection that stopped the test, with what it would take to decide on it."""
    by_text = {selection.text: selection for selection in answer.comparisons}
    power, margin = answer.power, answer.options.margin
    selection = by_text[power.selection]
    row, full = answer.comparisons[selection], answer.comparisons[answer.full].value
    which = ", tested first," if answer.options.rule == "sequence" else ""
    text = (
        f"{_starting(called(selection, answer.comparisons))}{which} differs by "
        f"{_range(row.relative, row.ci_low, row.ci_high, full)}."
    )
    if power.minimal_detectable_relative_difference is None:
        return text
    if row.relative <= -margin:
        return (
            f"{text} This loss is larger than the margin: if it is the true one, no number of users or seeds will show "
            "it to be enough."
        )
    users, seeds, so = power.users_needed_for_margin, power.seeds_needed_for_margin, "it truly equals the full model"
    if users is not None and users <= power.n_users:  # an equal depth would have passed: what is observed takes more
        users, seeds, so = power.users_needed_at_observed, power.seeds_needed_at_observed, "that is its true loss"
    return f"{text} To show a margin of {wording.level(margin)}, if {so}, takes {_ways(users, seeds)}."


def _ways(users: int | None, seeds: int | None) -> str:
    ways = [] if users is None else [f"{wording.count(_rounded_up(users))} users"]
    ways += [] if seeds is None else [f"{_rounded_up(seeds)} seeds"]
    return f"about {' or '.join(ways)}" if ways else "more users and more seeds: neither alone is enough"


def _beside_baselines(answer: Answer, subject: LayerSelection) -> str:
    """Says how what is kept stands beside the best baseline; nothing where there is none."""
    best = answer.baselines.best
    if best is None:
        return ""
    pair, value = answer.baselines.pairs[subject, best], answer.baselines.against_full[best].value
    name = "the full model" if subject == answer.full else called(subject, answer.comparisons)
    shown = f"{label_of(best)} ({wording.four_digits(value)})"
    if pair.verdict == "better":
        return f" {_starting(name)} is better than the best baseline, {shown}: {_relative(pair, value)}."
    if pair.verdict == "worse":
        return f" But the baseline {shown} is better than {name}, which differs from it by {_relative(pair, value)}."
    beaten = any(answer.baselines.pairs[selection, best].verdict == "better" for selection in answer.comparisons)
    told = _relative(pair, value)
    if pair.difference < 0:
        none = "" if beaten else f" No {noun(answer.comparisons)} is shown to be better than it."
        return f" {_starting(name)} lies below the best baseline, {shown}: {told}, not shown to be worse.{none}"
    nor = "" if beaten else f", nor is any other {noun(answer.comparisons)}"
    return f" {_starting(name)} is not shown to be better than the best baseline, {shown}: {told}{nor}."


def _relative(pair: AgainstBaseline, value: float) -> str:
    if pair.relative is None:
        return wording.signed(pair.difference)
    return _range(pair.relative, pair.ci_low, pair.ci_high, value)


def _range(relative: float, low: float, high: float, reference: float) -> str:
    """Returns a share with its interval, such as `-1.2 % [-3.0 %, +0.6 %]`."""
    bounds = f"[{wording.signed_percent(low / reference)}, {wording.signed_percent(high / reference)}]"
    return f"{wording.signed_percent(relative)} {bounds}"


def _sure(answer: Answer) -> str:
    """Says how sure a statement is, and of how many users and seeds."""
    power, options = answer.power, answer.options
    users = f"{wording.count(power.n_users)} users"
    if answer.exploratory:
        return f"for these trained models and {users}"
    seeds = f", {power.n_seeds} seeds" if power.n_seeds > 1 else ", one seed"
    given = ""
    if options.cover == "users":
        given = " for these trained models"
    elif options.prior_noise and power.n_seeds == 1:
        given = f", given a training noise of {wording.level(options.prior_noise)}"
    return f"{wording.level(1 - answer.level)} confidence{given}, {users}{seeds}"


def _significantly(answer: Answer) -> str:
    return "" if answer.exploratory else "significantly "


def _starting(name: str) -> str:
    """Returns a name as the beginning of a sentence: a selection's text keeps its small letter."""
    return f"Selection {name}" if ":" in name else name[0].upper() + name[1:]


def _rounded_up(count: int) -> int:
    """Keeps two leading digits: the estimate has no more."""
    step = 10 ** max(len(str(count)) - 2, 0)
    return ceil(count / step) * step
