"""The notes of a decision: what limits its answer, one line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from layerprobe import wording
from layerprobe.backbone.selection import LayerSelection
from layerprobe.evaluation.few import LEAST_DIFFERING
from layerprobe.kinds import SASREC, label_of
from layerprobe.probing.comparisons import Comparison, Verdict
from layerprobe.probing.verdicts.sentence import Answer
from layerprobe.probing.wording import are, called, noun, short
from layerprobe.store.decision import USE_BASELINE

Comparisons = Mapping[LayerSelection, Comparison]


def decision_notes(answer: Answer, order: Sequence[LayerSelection] = ()) -> tuple[str, ...]:
    """Says what limits the answer: training noise, few users, larger depths that fail, untested ones, better models.

    Args:
        answer: what was found.
        order: the selections that represent their depths, in the order of testing; empty by the rule `simultaneous`.
    """
    comparisons, chosen = answer.comparisons, answer.chosen
    notes = [_seed_note(answer), *_few_notes(answer)]
    if chosen is not None:
        notes += _other_notes(chosen, comparisons)
    notes += _outside_notes(chosen, comparisons, order)
    notes += _untested_notes(comparisons, order)
    floors = answer.baselines.against_full
    if answer.power.n_seeds > 1 and answer.options.cover != "users" and SASREC in floors and floors[SASREC].seeds == 1:
        notes.append("SASRec was trained once: its interval does not cover its own training noise.")
    return tuple([*notes, *_better_notes(answer)])


def _better_notes(answer: Answer) -> list[str]:
    better = [called(selection, answer.comparisons) for selection in _with_verdict(answer.comparisons, "better")]
    if answer.verdict != USE_BASELINE:
        better += [label_of(name) for name, row in answer.baselines.against_full.items() if row.verdict == "better"]
    if not better:
        return []
    if answer.exploratory:
        return [f"Above the full model on {answer.options.label} for these trained models: {wording.listed(better)}."]
    sure = wording.level(1 - answer.level)
    return [
        f"Significantly better than the full model on {answer.options.label} ({sure} confidence): "
        f"{wording.listed(better)}."
    ]


def _few_notes(answer: Answer) -> list[str]:
    """Names the selections that differ from the full model for so few users that exact bounds were used."""
    few = {
        selection: row.differing
        for selection, row in answer.comparisons.items()
        if selection != answer.full and row.differing < LEAST_DIFFERING
    }
    if not few:
        return []
    names = wording.listed([f"{called(selection, answer.comparisons)} ({count})" for selection, count in few.items()])
    return [
        f"Fewer than {LEAST_DIFFERING} users make up the difference in {answer.options.label} from the full model, too "
        f"few for a variance: {names}. Their bounds allow for as many users who lose as such a sample can hide."
    ]


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
            f"{are(worse, comparisons)} as large as {name} but worse, by more than the margin: it "
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
    also = "not worse" if chosen is None else "smaller than what is kept and also not worse"
    return [
        f"{are(others, comparisons)} {also}, by bounds for all selections together. Only one selection per depth could "
        "be chosen; decision.rule simultaneous allows all."
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


def _seed_note(answer: Answer) -> str:
    seeds, model = answer.power.n_seeds, noun(answer.comparisons)
    if seeds == 1 and not answer.exploratory:
        return (
            f"Each {model} was trained once. Training noise was not measured: a standard deviation of "
            f"{wording.level(answer.options.prior_noise)} of the full model's value was stated (decision.prior_noise)."
        )
    if seeds == 1:
        return (
            f"Each {model} was trained once. The intervals cover the choice of users, not training noise, so nothing "
            "here is shown of another training."
        )
    if answer.options.cover == "users":
        return (
            f"Each user's metric is the mean of {seeds} trainings per {model}. The intervals hold for these trained "
            "models: they cover the choice of users, not training noise (decision.cover users)."
        )
    return (
        f"Each {model} was trained {seeds} times. The intervals cover the choice of users and training noise, but not "
        "what all trainings share, such as one item table or the weights of one checkpoint."
    )


def _with_verdict(comparisons: Comparisons, verdict: Verdict) -> list[LayerSelection]:
    return [selection for selection, comparison in comparisons.items() if comparison.verdict == verdict]


def _full(comparisons: Comparisons) -> LayerSelection:
    return max(comparisons, key=lambda selection: selection.depth)
