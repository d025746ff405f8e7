"""Names of selections in sentences: depths where all are written `first:k`, else texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from layerprobe import wording
from layerprobe.backbone.selection import LayerSelection
from layerprobe.probing.decision_options import DecisionOptions


def noun(selections: Iterable[LayerSelection]) -> str:
    """Returns what one of these selections is called: depth or selection."""
    return wording.noun(selection.text for selection in selections)


def short(selection: LayerSelection, selections: Iterable[LayerSelection]) -> str:
    """Returns the name of one of these selections without its noun, such as `2` or `keep:0,3`."""
    return str(selection.depth) if noun(selections) == "depth" else selection.text


def called(selection: LayerSelection, selections: Iterable[LayerSelection]) -> str:
    """Returns the name of one of these selections, such as `depth 2` or `keep:0,3`."""
    return f"depth {selection.depth}" if noun(selections) == "depth" else selection.text


def are(some: Sequence[LayerSelection], selections: Iterable[LayerSelection]) -> str:
    """Returns the beginning of a statement about some of these selections, such as `Depths 1 and 2 are`."""
    names = [short(selection, selections) for selection in some]
    start = noun(selections).capitalize()
    return f"{start} {names[0]} is" if len(names) == 1 else f"{start}s {wording.listed(names)} are"


def confidence(options: DecisionOptions) -> str:
    """Returns the confidence of statements about all members of a set of comparisons, such as `95 %`."""
    return wording.level(1 - options.alpha)


def is_exploratory(seeds: int, options: DecisionOptions) -> bool:
    """Tells whether nothing shows training noise: one seed, and none is stated. No word of a test is used then."""
    return seeds == 1 and not options.prior_noise


def significantly(exploratory: bool) -> str:
    """Returns the word that a test allows before `better` or `worse`, with a space; nothing where it is exploratory."""
    return "" if exploratory else "significantly "
