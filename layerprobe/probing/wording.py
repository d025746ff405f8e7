"""The words of a decision: its sentence and its notes, readable without knowing the tool.

Takes comparisons and power, hands on text. What is said follows from the verdicts alone; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil

from layerprobe import wording
from layerprobe.backbone.selection import LayerSelection
from layerprobe.probing.comparisons import Comparison, Verdict
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.power import Power

Found = Mapping[LayerSelection, Comparison]


def decision_sentence(
    chosen: LayerSelection | None,
    found: Found,
    baselines: Mapping[str, Comparison],
    options: DecisionOptions,
    power: Power,
) -> str:
    """Says which layers to keep and how sure that is.

    Args:
        chosen: the decided selection; None if none below the full model passed.
        found: every studied selection; the largest is the full model.
        baselines: the floors; those that are not worse than the full model are named.
        options: what was asked.
        power: what these users and seeds can show; said where a selection is undecided for want of them.

    Returns:
        One to four sentences on one line. Selections are called by their depth where all are written `first:k`.
    """
    text = _none_passed(found, options, power) if chosen is None else _passed(chosen, found, options, power)
    enough = {name: floor.value for name, floor in baselines.items() if floor.not_worse}
    if enough:
        values = wording.listed([f"{name} ({wording.four_digits(value)})" for name, value in enough.items()])
        verb = "baseline would do: {} is" if len(enough) == 1 else "baselines would do: {} are"
        text += f" Even the {verb.format(values)} not worse than the full model within the same margin."
    return text


def decision_notes(
    chosen: LayerSelection | None,
    found: Found,
    baselines: Mapping[str, Comparison],
    options: DecisionOptions,
    order: Sequence[LayerSelection] = (),
) -> tuple[str, ...]:
    """Says what limits the answer: training noise, depths out of step, the choice of layers, better models.

    Args:
        chosen: the decided selection; None if none below the full model passed.
        found: every studied selection; the largest is the full model.
        baselines: the floors.
        options: what was asked.
        order: the selections that spoke for their depths, in the order of testing; empty by the other rule.
    """
    seeds = found[_full(found)].seeds
    notes = [_seed_note(seeds, noun(found), options)]
    if chosen is not None:
        notes += _other_notes(chosen, found)
    notes += _outside_notes(chosen, found, order)
    notes += _untested_notes(found, order)
    if seeds > 1 and options.cover != "users" and "sasrec" in baselines and baselines["sasrec"].seeds == 1:
        notes.append("SASRec was trained once: its interval does not cover its own training noise.")
    better = [called(each, found) for each, comparison in found.items() if comparison.verdict == "better"]
    better += [name for name, comparison in baselines.items() if comparison.verdict == "better"]
    if better:
        notes.append(f"Better than the full model on {options.label} for certain: {wording.listed(better)}.")
    return tuple(notes)


def _other_notes(chosen: LayerSelection, found: Found) -> list[str]:
    """Says which larger selections did not pass, which as large ones are worse, and which smaller ones are open."""
    notes = []
    name = short(chosen, found)
    missed = [each for each, other in found.items() if each.depth > chosen.depth and not other.not_worse]
    if missed:
        worse = any(found[each].verdict == "worse" for each in missed)
        why = ": quality does not rise with depth" if worse else ""
        notes.append(f"{are(missed, found)} larger than {name} and did not pass{why}.")
    worse = [each for each in _with_verdict(found, "worse") if each.depth == chosen.depth]
    if worse:
        notes.append(
            f"{are(worse, found)} as large as {name} and worse by more than the margin for certain: "
            "it matters which layers are kept."
        )
    still = [each for each in _with_verdict(found, "undecided") if each.depth < chosen.depth]
    if still:
        notes.append(f"{are(still, found)} undecided: more users or seeds may show that fewer layers do.")
    return notes


def _outside_notes(chosen: LayerSelection | None, found: Found, order: Sequence[LayerSelection]) -> list[str]:
    """Says which selections would do that do not speak for their depth, where they are smaller than what is kept."""
    kept = _full(found).depth if chosen is None else chosen.depth
    others = [each for each, other in found.items() if each not in order and each.depth < kept and other.not_worse]
    if not others or not order:
        return []
    return [
        f"{are(others, found)} not worse either, and smaller than what is kept, by bounds that hold for all selections "
        "at once; decision.rule simultaneous lets every selection decide."
    ]


def _untested_notes(found: Found, order: Sequence[LayerSelection]) -> list[str]:
    untested = _with_verdict(found, "untested")
    if not untested:
        return []
    stopped = next(each for each in order if not found[each].not_worse)
    return [
        f"{are(untested, found)} untested: the test goes from the deepest down and {called(stopped, found)} did not "
        "pass. decision.rule simultaneous tests all at once."
    ]


def _seed_note(seeds: int, each: str, options: DecisionOptions) -> str:
    if seeds == 1:
        return (
            f"Each {each} was trained once: the intervals cover the choice of users, not the noise of training. Train "
            f"several seeds per {each} (probe.seeds) to see that noise."
        )
    if options.cover == "users":
        return (
            f"Each user's metric is a mean over {seeds} trainings per {each}, and the intervals are about the "
            "mean of these very models: they cover the choice of users, not the noise of training (decision.cover "
            "users)."
        )
    return (
        f"Each {each} was trained {seeds} times. The intervals cover the choice of users and the noise of "
        "training, given the one item table that all models share."
    )


def _passed(chosen: LayerSelection, found: Found, options: DecisionOptions, power: Power) -> str:
    full_depth, kept = _full(found).depth, found[chosen]
    full_value = found[_full(found)].value
    tail = ""
    if not chosen.depth:
        head = f"Keep no layer (depth 0 of {full_depth}): item vectors and head alone have"
        tail = " What the layers add is too little for this metric and these users."
    elif _by_depth(found):
        head = f"Keep {chosen.depth} of {full_depth} layers: depth {chosen.depth} has"
    else:
        verb = "it has" if chosen.depth == 1 else "they have"
        head = f"Keep {chosen.depth} of {full_depth} layers ({chosen}): {verb}"
    if kept.verdict == "better":
        tail = " It is better than the full model for certain." + tail
    return (
        f"{head} an {options.label} of {wording.four_digits(kept.value)} against "
        f"{wording.four_digits(full_value)} of the full model "
        f"({wording.signed_percent(kept.relative)}), {_bound(kept, full_value, found, options)} "
        f"({_counts(power)}).{tail}"
    )


def _bound(kept: Comparison, full_value: float, found: Found, options: DecisionOptions) -> str:
    """Says what is shown. A sequence shows the margin and no more: the last bound was picked by its own value."""
    sure, margin = f"with {confidence(options)} confidence", wording.level(options.margin)
    if options.rule == "sequence":
        return f"within the margin of {margin} {sure}, depths tested one by one from the deepest down"
    lost = -kept.lower_bound / full_value
    bound = f"at most {wording.percent(lost)} lower" if lost > 0 else "not lower at all"
    return f"{bound} {sure} for all {noun(found)}s together and so within the margin of {wording.level(options.margin)}"


def _counts(power: Power) -> str:
    seeds = f", {power.n_seeds} seeds" if power.n_seeds > 1 else ""
    return f"{wording.count(power.n_users)} users{seeds}"


def _none_passed(found: Found, options: DecisionOptions, power: Power) -> str:
    full, margin = _full(found), wording.level(options.margin)
    worse, undecided = _with_verdict(found, "worse"), _with_verdict(found, "undecided")
    text = (
        f"Keep all layers (depth {full.depth}): none of {_candidates(found, options)} could be shown to stay within "
        f"{margin} of the full model's {options.label} of {wording.four_digits(found[full].value)} "
        f"({confidence(options)} confidence, {_counts(power)})."
    )
    if worse:
        text += f" {are(worse, found)} worse by more than {margin} for certain."
    if undecided:
        text += f" {are(undecided, found)} undecided: the interval reaches both sides of the margin."
        text += _needed(options, power)
    return text


def _candidates(found: Found, options: DecisionOptions) -> str:
    if options.rule == "sequence" and not _by_depth(found):
        return "the selections that speak for the smaller depths"
    return f"the smaller {noun(found)}s"


def _needed(options: DecisionOptions, power: Power) -> str:
    """Says which margin could be shown, and what the margin asked for would need; nothing where it could be shown."""
    if power.minimal_detectable_relative_difference <= options.margin:
        return ""
    shown = f" These users{' and seeds' if power.n_seeds > 1 else ''} can show a margin of "
    shown += (
        f"{wording.percent(power.minimal_detectable_relative_difference)}; {wording.level(options.margin)} would need "
    )
    users, seeds = power.users_needed_for_margin, power.seeds_needed_for_margin
    ways = [] if users is None else [f"{wording.count(_rounded_up(users))} users"]
    ways += [] if seeds is None else [f"{_rounded_up(seeds)} seeds"]
    if not ways:
        return shown + "more users and more seeds at once: neither alone is enough."
    return f"{shown}about {' or '.join(ways)}."


def _full(found: Found) -> LayerSelection:
    return max(found, key=lambda each: each.depth)


def _with_verdict(found: Found, verdict: Verdict) -> list[LayerSelection]:
    return [each for each, comparison in found.items() if comparison.verdict == verdict]


def _by_depth(family: Iterable[LayerSelection]) -> bool:
    """Tells whether depths name the members of a family; else their texts do."""
    return wording.noun(each.text for each in family) == "depth"


def noun(family: Iterable[LayerSelection]) -> str:
    """Returns what one member of a family is called: depth or selection."""
    return wording.noun(each.text for each in family)


def short(selection: LayerSelection, family: Iterable[LayerSelection]) -> str:
    """Returns the name of a member without its noun, such as `2` or `keep:0,3`."""
    return str(selection.depth) if _by_depth(family) else selection.text


def called(selection: LayerSelection, family: Iterable[LayerSelection]) -> str:
    """Returns the name of a member, such as `depth 2` or `keep:0,3`."""
    return f"depth {selection.depth}" if _by_depth(family) else selection.text


def are(some: Sequence[LayerSelection], family: Iterable[LayerSelection]) -> str:
    """Returns the beginning of a statement about members, such as `Depths 1 and 2 are`."""
    names = [short(each, family) for each in some]
    start = noun(family).capitalize()
    return f"{start} {names[0]} is" if len(names) == 1 else f"{start}s {wording.listed(names)} are"


def confidence(options: DecisionOptions) -> str:
    """Returns the confidence of statements about a whole family, such as `95 %`."""
    return wording.level(1 - options.alpha)


def _rounded_up(count: int) -> int:
    """Keeps two leading digits: the estimate is no better than that."""
    step = 10 ** max(len(str(count)) - 2, 0)
    return ceil(count / step) * step
