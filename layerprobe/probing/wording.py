"""The sentences of a decision: its answer and its notes, readable without knowing the tool.

Takes comparisons and power, hands on text. Everything said follows from the verdicts; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil

from layerprobe import wording
from layerprobe.backbone.selection import LayerSelection
from layerprobe.probing.comparisons import Comparison, Verdict
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.power import Power

Comparisons = Mapping[LayerSelection, Comparison]


def decision_sentence(
    chosen: LayerSelection | None,
    comparisons: Comparisons,
    baselines: Mapping[str, Comparison],
    options: DecisionOptions,
    power: Power,
) -> str:
    """Says which layers to keep and how sure that is.

    Args:
        chosen: the decided selection; None if none below the full model passed.
        comparisons: every studied selection; the largest is the full model.
        baselines: the floors; those that are not worse than the full model are named.
        options: margin, error level and rule of the decision.
        power: what these users and seeds can show; said where they are too few for an undecided selection.

    Returns:
        A few sentences on one line. Selections are called by their depth where all are written `first:k`.
    """
    text = _none_passed(comparisons, options, power) if chosen is None else _passed(chosen, comparisons, options, power)
    return text + _floors(baselines)


def _floors(baselines: Mapping[str, Comparison]) -> str:
    """Names the floors that are not worse than the full model; nothing where there are none."""
    enough = [f"{name} ({wording.four_digits(floor.value)})" for name, floor in baselines.items() if floor.not_worse]
    if not enough:
        return ""
    start = "a baseline is good enough" if len(enough) == 1 else "baselines are good enough"
    verb = "is" if len(enough) == 1 else "are"
    return f" Even {start}: {wording.listed(enough)} {verb} not worse than the full model by more than the same margin."


def decision_notes(
    chosen: LayerSelection | None,
    comparisons: Comparisons,
    baselines: Mapping[str, Comparison],
    options: DecisionOptions,
    order: Sequence[LayerSelection] = (),
) -> tuple[str, ...]:
    """Says what limits the answer: training noise, larger depths that fail, untested selections, better models.

    Args:
        chosen: the decided selection; None if none below the full model passed.
        comparisons: every studied selection; the largest is the full model.
        baselines: the floors.
        options: margin, error level and rule of the decision.
        order: the selections that represent their depths, in the order of testing; empty by the rule `simultaneous`.
    """
    seeds = comparisons[_full(comparisons)].seeds
    notes = [_seed_note(seeds, noun(comparisons), options)]
    if chosen is not None:
        notes += _other_notes(chosen, comparisons)
    notes += _outside_notes(chosen, comparisons, order)
    notes += _untested_notes(comparisons, order)
    if seeds > 1 and options.cover != "users" and "sasrec" in baselines and baselines["sasrec"].seeds == 1:
        notes.append("SASRec was trained once: its interval does not cover its own training noise.")
    better = [called(selection, comparisons) for selection in _with_verdict(comparisons, "better")]
    better += [name for name, comparison in baselines.items() if comparison.verdict == "better"]
    if better:
        notes.append(
            f"Significantly better than the full model on {options.label} ({confidence(options)} confidence): "
            f"{wording.listed(better)}."
        )
    return tuple(notes)


def _other_notes(chosen: LayerSelection, comparisons: Comparisons) -> list[str]:
    """Names larger selections that did not pass, equally large ones that are worse, and smaller ones that are open."""
    notes = []
    name = short(chosen, comparisons)
    failed = [
        selection
        for selection, comparison in comparisons.items()
        if selection.depth > chosen.depth and not comparison.not_worse
    ]
    if failed:
        is_worse = any(comparisons[selection].verdict == "worse" for selection in failed)
        why = ": more layers are not always better here" if is_worse else ""
        notes.append(f"{are(failed, comparisons)} larger than {name} but did not pass the test{why}.")
    worse = [selection for selection in _with_verdict(comparisons, "worse") if selection.depth == chosen.depth]
    if worse:
        notes.append(
            f"{are(worse, comparisons)} as large as {name} but significantly worse, by more than the margin: it "
            "matters which layers are kept."
        )
    undecided = [selection for selection in _with_verdict(comparisons, "undecided") if selection.depth < chosen.depth]
    if undecided:
        notes.append(
            f"{are(undecided, comparisons)} undecided: with more users or seeds, fewer layers may prove to be enough."
        )
    return notes


def _outside_notes(
    chosen: LayerSelection | None, comparisons: Comparisons, order: Sequence[LayerSelection]
) -> list[str]:
    """Names smaller selections that are not worse but could not be chosen, since they do not represent their depth."""
    kept = _full(comparisons).depth if chosen is None else chosen.depth
    others = [
        selection
        for selection, comparison in comparisons.items()
        if selection not in order and selection.depth < kept and comparison.not_worse
    ]
    if not others or not order:
        return []
    return [
        f"{are(others, comparisons)} smaller than what is kept and also not worse, by bounds for all selections "
        "together. Only one selection per depth could be chosen; decision.rule simultaneous allows all."
    ]


def _untested_notes(comparisons: Comparisons, order: Sequence[LayerSelection]) -> list[str]:
    untested = _with_verdict(comparisons, "untested")
    if not untested:
        return []
    stopped = next(selection for selection in order if not comparisons[selection].not_worse)
    return [
        f"{are(untested, comparisons)} untested: depths are tested from the deepest down, and the test stopped because "
        f"{called(stopped, comparisons)} did not pass. decision.rule simultaneous tests all at once."
    ]


def _seed_note(seeds: int, model: str, options: DecisionOptions) -> str:
    if seeds == 1:
        return (
            f"Each {model} was trained once. The intervals cover the choice of users, not training noise. Train "
            f"several seeds per {model} (probe.seeds) to measure that noise."
        )
    if options.cover == "users":
        return (
            f"Each user's metric is the mean of {seeds} trainings per {model}. The intervals hold for these trained "
            "models: they cover the choice of users, not training noise (decision.cover users)."
        )
    return (
        f"Each {model} was trained {seeds} times. The intervals cover the choice of users and training noise, but not "
        "the noise of the item table, which all models share."
    )


def _passed(chosen: LayerSelection, comparisons: Comparisons, options: DecisionOptions, power: Power) -> str:
    full_depth, kept = _full(comparisons).depth, comparisons[chosen]
    full_value = comparisons[_full(comparisons)].value
    if not chosen.depth:
        head = f"Keep no layer (depth 0 of {full_depth}): item vectors and head alone have"
    elif _by_depth(comparisons):
        head = f"Keep {chosen.depth} of {full_depth} layers: depth {chosen.depth} has"
    else:
        verb = "it has" if chosen.depth == 1 else "they have"
        head = f"Keep {chosen.depth} of {full_depth} layers ({chosen}): {verb}"
    tail = ""
    if kept.verdict == "better":
        tail += f" {are([chosen], comparisons)} significantly better than the full model."
    if not chosen.depth:
        tail += " The layers add too little to matter for this metric and these users."
    return (
        f"{head} an {options.label} of {wording.four_digits(kept.value)}, compared with "
        f"{wording.four_digits(full_value)} for the full model ({wording.signed_percent(kept.relative)}). "
        f"{_bound(kept, full_value, comparisons, options, power)}{tail}"
    )


def _bound(
    kept: Comparison, full_value: float, comparisons: Comparisons, options: DecisionOptions, power: Power
) -> str:
    """Says what is shown of the loss.

    By the rule `sequence` that is the margin alone. The bound itself is not said: the depth was chosen by it.
    """
    sure, margin = f"With {confidence(options)} confidence", wording.level(options.margin)
    if options.rule == "sequence":
        return (
            f"{sure} the loss is within the margin of {margin} ({_counts(power)}). Depths were tested one by one, from "
            "the deepest down."
        )
    loss = -kept.lower_bound / full_value
    bound = f"the loss is at most {wording.percent(loss)}" if loss > 0 else "there is no loss"
    return (
        f"{sure} for all {noun(comparisons)}s together {bound}, so it is within the margin of {margin} "
        f"({_counts(power)})."
    )


def _counts(power: Power) -> str:
    seeds = f", {power.n_seeds} seeds" if power.n_seeds > 1 else ""
    return f"{wording.count(power.n_users)} users{seeds}"


def _none_passed(comparisons: Comparisons, options: DecisionOptions, power: Power) -> str:
    full, margin = _full(comparisons), wording.level(options.margin)
    worse, undecided = _with_verdict(comparisons, "worse"), _with_verdict(comparisons, "undecided")
    text = (
        f"Keep all layers (depth {full.depth}): none of {_candidates(comparisons, options)} is shown to be within "
        f"{margin} of the full model's {options.label} of {wording.four_digits(comparisons[full].value)} "
        f"({confidence(options)} confidence, {_counts(power)})."
    )
    if worse:
        text += f" {are(worse, comparisons)} significantly worse, by more than {margin}."
    if undecided:
        intervals = "its confidence interval covers" if len(undecided) == 1 else "their confidence intervals cover"
        text += f" {are(undecided, comparisons)} undecided: {intervals} both sides of the margin."
        text += _needed(options, power)
    return text


def _candidates(comparisons: Comparisons, options: DecisionOptions) -> str:
    if options.rule == "sequence" and not _by_depth(comparisons):
        return "the selections that represent the smaller depths"
    return f"the smaller {noun(comparisons)}s"


def _needed(options: DecisionOptions, power: Power) -> str:
    """Says which margin can be tested, and what the study's margin needs; nothing where that can be tested."""
    if power.minimal_detectable_relative_difference <= options.margin:
        return ""
    start = (
        f" These users{' and seeds' if power.n_seeds > 1 else ''} are enough to test a margin of "
        f"{wording.percent(power.minimal_detectable_relative_difference)}; a margin of "
        f"{wording.level(options.margin)} needs "
    )
    users, seeds = power.users_needed_for_margin, power.seeds_needed_for_margin
    ways = [] if users is None else [f"{wording.count(_rounded_up(users))} users"]
    ways += [] if seeds is None else [f"{_rounded_up(seeds)} seeds"]
    if not ways:
        return start + "more users and more seeds: neither alone is enough."
    return f"{start}about {' or '.join(ways)}."


def _full(comparisons: Comparisons) -> LayerSelection:
    return max(comparisons, key=lambda selection: selection.depth)


def _with_verdict(comparisons: Comparisons, verdict: Verdict) -> list[LayerSelection]:
    return [selection for selection, comparison in comparisons.items() if comparison.verdict == verdict]


def _by_depth(selections: Iterable[LayerSelection]) -> bool:
    """Tells whether these selections are named by their depths; else by their texts."""
    return noun(selections) == "depth"


def noun(selections: Iterable[LayerSelection]) -> str:
    """Returns what one of these selections is called: depth or selection."""
    return wording.noun(selection.text for selection in selections)


def short(selection: LayerSelection, selections: Iterable[LayerSelection]) -> str:
    """Returns the name of one of these selections without its noun, such as `2` or `keep:0,3`."""
    return str(selection.depth) if _by_depth(selections) else selection.text


def called(selection: LayerSelection, selections: Iterable[LayerSelection]) -> str:
    """Returns the name of one of these selections, such as `depth 2` or `keep:0,3`."""
    return f"depth {selection.depth}" if _by_depth(selections) else selection.text


def are(some: Sequence[LayerSelection], selections: Iterable[LayerSelection]) -> str:
    """Returns the beginning of a statement about some of these selections, such as `Depths 1 and 2 are`."""
    names = [short(selection, selections) for selection in some]
    start = noun(selections).capitalize()
    return f"{start} {names[0]} is" if len(names) == 1 else f"{start}s {wording.listed(names)} are"


def confidence(options: DecisionOptions) -> str:
    """Returns the confidence of statements about all members of a set of comparisons, such as `95 %`."""
    return wording.level(1 - options.alpha)


def _rounded_up(count: int) -> int:
    """Keeps two leading digits: the estimate has no more."""
    step = 10 ** max(len(str(count)) - 2, 0)
    return ceil(count / step) * step
