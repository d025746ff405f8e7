"""What measures of similarity and scores of layers are called in a report, their scales, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass

from layerprobe import columns
from layerprobe.kinds import EXITS, label_of

DISTANCES = (columns.ANGULAR,)
"""Measures where 0 means equal; all others are 1 for equal states."""
FORMS = {
    "bi": "block influence",
    "angular": "angular distance of blocks",
    "cka": "CKA drop",
    "greedy": "greedy removal",
}
IN_PERCENT = (columns.DROP_ONE,)


@dataclass(frozen=True)
class Measure:
    """A measure of similarity between two states."""

    name: str
    """What a figure calls it."""
    low: float
    """Lower end of its scale; the upper end is 1."""


MEASURES = {
    "cka": Measure("linear CKA, debiased", 0),
    "cka-biased": Measure("linear CKA, biased", 0),
    "cka-rbf": Measure("RBF CKA", 0),
    "cosine": Measure("mean cosine", -1),
    "cosine-centred": Measure("mean cosine, centred", -1),
    "cosine-standardised": Measure("mean cosine, standardised", -1),
    columns.ANGULAR: Measure("angular distance", 0),
    "procrustes": Measure("Procrustes similarity", 0),
    "svcca": Measure("SVCCA", 0),
    "pwcca": Measure("PWCCA", 0),
    "rsa": Measure("RSA", -1),
    "mutual-knn": Measure("mutual kNN", 0),
    "cknna": Measure("CKNNA", -1),
}

SCORE_NAMES = {
    "block-influence": "block influence",
    "block-influence-centred": "block influence, centred",
    "block-influence-standardised": "influence, standardised",
    columns.ANGULAR: "angular distance",
    "cka-drop": "CKA drop",
    columns.DROP_ONE: "loss without the layer",
    "taylor": "Taylor, first order",
    "cut-ndcg": "cut, not retrained",
    **{kind: label_of(kind) for kind in EXITS},
    "cka-to-full": "CKA to the full model",
    columns.DEPTH_SCORE: "depth",
    columns.PERFECT_SCORE: "a perfect score",
    columns.SAME_MODELS_SCORE: "a perfect score for these very models",
}

UNITS = {
    "block-influence": "1 - cosine(input, output)",
    "block-influence-centred": "1 - centred cosine",
    "block-influence-standardised": "1 - standardised cosine",
    columns.ANGULAR: "angle / pi",
    "cka-drop": "1 - CKA(input, output)",
    columns.DROP_ONE: "NDCG@10 lost, % of full",
    "taylor": "change of the loss, nats",
}

BAR_TEXTS = {
    "block-influence": (
        "Block influence is 1 minus the mean cosine between a layer's input and output: 0 means that the layer leaves "
        "the direction of the user vector as it is."
    ),
    "block-influence-centred": (
        "Centred block influence is the same after the mean of all users is subtracted. So a direction that all users "
        "share cannot hide a change."
    ),
    "block-influence-standardised": (
        "Standardised block influence first gives every dimension the same scale. So neither the gain of a "
        "normalisation layer nor the size of a dimension counts."
    ),
    columns.ANGULAR: (
        "Angular distance is the angle between input and output as a share of pi: 0 is the same direction, 0.5 is "
        "orthogonal."
    ),
    "cka-drop": "CKA drop is 1 minus the linear CKA of input and output: how much the layer rearranges the users.",
    columns.DROP_ONE: (
        "Loss without the layer: one layer of the trained full model is skipped, nothing is retrained, and NDCG@10 is "
        "measured on validation users. A negative loss means that the model is better without the layer."
    ),
    "taylor": (
        "Taylor is the size of the change of the loss, up or down, that a first-order expansion predicts when the "
        "layer is skipped. The prediction holds for small changes; skipping a layer is often a large one."
    ),
}


def measure_of(name: str) -> Measure:
    """Returns how a measure is drawn; one not known here keeps its name and gets the widest scale."""
    return MEASURES.get(name, Measure(name, -1))


def score_name(name: str) -> str:
    """Returns what a score is called; one not known here keeps its name."""
    return SCORE_NAMES.get(name, name)
