"""Which selections could be the best: multiple comparisons with the best.

Source: Hsu, Multiple Comparisons, 1996, chapter 4. Each selection in turn is compared with all others; it is ruled out
where one of them is shown to be better, by one-sided bounds that hold for its comparisons together. The truly best one
is ruled out with a probability of at most the error level, so the selections that remain hold it with the rest. We take
the critical values from the bootstrap instead of the multivariate t.
"""

from __future__ import annotations

from layerprobe.backbone.selection import LayerSelection
from layerprobe.probing.verdicts.evidence import Evidence


def could_be_best(evidence: Evidence) -> set[LayerSelection]:
    """Returns the selections that no other one is shown to be better than; never empty."""
    models = evidence.models
    best = {max(models, key=lambda selection: models[selection].value)}
    for selection in models:
        others = [(other, selection) for other in models if other != selection]
        if float(evidence.bounds(others).lower.max()) <= 0:
            best.add(selection)
    return best
