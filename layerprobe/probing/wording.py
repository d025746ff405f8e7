"""The words of a decision: its sentence and its notes, readable without knowing the tool.

Takes comparisons and power, hands on text. What is said follows from the verdicts alone; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

from layerprobe.probing.comparisons import Comparison, DecisionOptions, Power


def decision_sentence(
    depth: int | None,
    depths: Mapping[int, Comparison],
    baselines: Mapping[str, Comparison],
    options: DecisionOptions,
    power: Power,
) -> str:
    """Says which depth to keep and how sure that is.

    Args:
        depth: the decided depth; None if no depth below the full one passed.
        depths: every studied depth; the largest is the full model.
        baselines: the floors; those that are not worse than the full model are named.
        options: what was asked.
        power: what this number of users can show; said where a depth is undecided for want of users.

    Returns:
        One to four sentences on one line.
    """
    text = _none_passed(depths, options, power) if depth is None else _passed(depth, depths, options, power)
    enough = {name: found.value for name, found in baselines.items() if found.not_worse}
    if enough:
        values = _and([f"{name} ({value:.4f})" for name, value in enough.items()])
        verb = "baseline would do: {} is" if len(enough) == 1 else "baselines would do: {} are"
        text += f" Even the {verb.format(values)} not worse than the full model within the same margin."
    return text


def decision_notes(
    depth: int | None,
    depths: Mapping[int, Comparison],
    baselines: Mapping[str, Comparison],
    options: DecisionOptions,
) -> tuple[str, ...]:
    """Says what limits the answer: training noise, depths out of step, and what beats the full model."""
    notes = [_seed_note({found.seeds for found in depths.values()})]
    missed = [] if depth is None else [str(k) for k, found in depths.items() if k > depth and not found.not_worse]
    if missed:
        notes.append(f"{_depths_are(missed)} larger than {depth} and did not pass: quality does not rise with depth.")
    better = [f"depth {k}" for k, found in depths.items() if found.ci_low > 0]
    better += [name for name, found in baselines.items() if found.ci_low > 0]
    if better:
        notes.append(f"Better than the full model on {options.label} for certain: {_and(better)}.")
    return tuple(notes)


def _seed_note(seeds: set[int]) -> str:
    limit = "the intervals cover the choice of users, not the noise of training"
    if max(seeds) == 1:
        return f"Each depth was trained once: {limit}. Train several seeds per depth to see that noise."
    if min(seeds) == 1:
        return f"Some depths were trained once: {limit}. Train as many seeds for each depth to see that noise."
    return f"Each user's metric is a mean over at least {min(seeds)} trainings per depth: {limit} left in that mean."


def _passed(depth: int, depths: Mapping[int, Comparison], options: DecisionOptions, power: Power) -> str:
    full_depth, found = max(depths), depths[depth]
    full_value = depths[full_depth].value
    lost = -found.lower_bound / full_value
    bound = f"at most {_percent(lost)} lower" if lost > 0 else "not lower at all"
    if depth:
        head, tail = f"Keep {depth} of {full_depth} layers: depth {depth} has", ""
    else:
        head = f"Keep no layer (depth 0 of {full_depth}): item vectors and head alone have"
        tail = " What the layers add is too little for this metric and these users."
    return (
        f"{head} an {options.label} of {found.value:.4f} against {full_value:.4f} of the full model "
        f"({_signed(found.relative)}), {bound} with {_confidence(options)} confidence for all depths together and so "
        f"within the margin of {_margin(options)} ({power.n_users:,} users).{tail}"
    )


def _none_passed(depths: Mapping[int, Comparison], options: DecisionOptions, power: Power) -> str:
    full_depth, margin = max(depths), _margin(options)
    worse = [str(k) for k, found in depths.items() if found.verdict == "worse"]
    undecided = [str(k) for k, found in depths.items() if found.verdict == "undecided"]
    text = (
        f"Keep all layers (depth {full_depth}): none of the smaller depths could be shown to stay within {margin} of "
        f"the full model's {options.label} of {depths[full_depth].value:.4f} "
        f"({_confidence(options)} confidence, {power.n_users:,} users)."
    )
    if worse:
        text += f" {_depths_are(worse)} worse by more than {margin} for certain."
    if undecided:
        text += f" {_depths_are(undecided)} undecided: the interval reaches both sides of the margin."
        if power.users_needed_for_margin > power.n_users:
            text += (
                f" These users can show a margin of {_percent(power.minimal_detectable_relative_difference)}; "
                f"{margin} would need about {_rounded_up(power.users_needed_for_margin):,} users."
            )
    return text


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _depths_are(names: Sequence[str]) -> str:
    return f"Depth {names[0]} is" if len(names) == 1 else f"Depths {_and(names)} are"


def _margin(options: DecisionOptions) -> str:
    return f"{round(100 * options.margin, 6):g} %"


def _confidence(options: DecisionOptions) -> str:
    return f"{round(100 * (1 - options.alpha), 6):g} %"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _signed(share: float) -> str:
    # + 0.0 turns a negative zero into zero.
    return f"{round(100 * share, 1) + 0.0:+.1f} %"


def _rounded_up(count: int) -> int:
    """Keeps two leading digits: the estimate is no better than that."""
    step = 10 ** max(len(str(count)) - 2, 0)
    return ceil(count / step) * step
