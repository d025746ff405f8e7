"""Exits: user vectors read from every `hidden[k]` of one trained model, nothing retrained, in one forward pass.

`exit-raw` applies the head to `hidden[k]` as it is (what the paper's code did for inner states), `exit-norm` puts the
final norm before it. `exit-norm` at k = L is the model itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from layerprobe.data.batches import SequenceBatch
from layerprobe.recommender.model import Recommender
from layerprobe.recommender.sequence_model import InnerProducts

ExitKind = Literal["exit-raw", "exit-norm"]
EXIT_KINDS: tuple[ExitKind, ...] = ("exit-raw", "exit-norm")


class ExitScorer:
    """Scores of all exits; `names` are `<kind>-<k>` (see `evaluation.ranks.Scorer`).

    Args:
        model: whose exits are read, in evaluation mode.
        kinds: ways to read them.
    """

    def __init__(self, model: Recommender, kinds: tuple[ExitKind, ...] = EXIT_KINDS) -> None:
        self.model = model
        self.exits = [(kind, k) for kind in kinds for k in range(model.n_layers + 1)]
        self.names = tuple(f"{kind}-{k}" for kind, k in self.exits)
        self.max_len = model.max_len

    def scores(self, batch: SequenceBatch) -> Iterator[InnerProducts]:
        """Yields one matrix per exit, float32 [batch, n_items + 1], from a single forward pass."""
        states = self.model.hidden(batch.to(self.model.device))
        for kind, k in self.exits:
            vectors = self.model.read_hidden(states[k], normed=kind == "exit-norm")
            yield InnerProducts(vectors, self.model.item_vectors())
