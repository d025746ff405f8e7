"""Exits: user vectors read from every `hidden[k]` of one trained model; no layer is retrained.

`exit-raw` applies the head to `hidden[k]` as it is (as the paper's code did for inner states). `exit-norm` applies the
final norm first. `exit-probe` reads the normed state with a head of its own for every k (`probe_heads`).
`exit-norm` at k = L is the model itself. All are read in one forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch

from layerprobe.data.batches import SequenceBatch
from layerprobe.probing.probe_heads import ProbeHeads
from layerprobe.recommender.model import Recommender
from layerprobe.recommender.sequence_model import InnerProducts

ExitKind = Literal["exit-raw", "exit-norm", "exit-probe"]
EXIT_KINDS: tuple[ExitKind, ...] = ("exit-raw", "exit-norm", "exit-probe")
OWN_HEAD: tuple[ExitKind, ...] = ("exit-raw", "exit-norm")


class ExitScorer:
    """Scores of all exits; `names` are `<kind>-<k>` (see `evaluation.ranks.Scorer`).

    Args:
        model: whose exits are read, in evaluation mode.
        heads: heads of `exit-probe`, on the model's device; None leaves `exit-probe` out.
        kinds: kinds of exits; None means all that are possible.

    Raises:
        ValueError: `kinds` has `exit-probe` and there are no heads, or their number is not L + 1.
    """

    def __init__(
        self, model: Recommender, heads: ProbeHeads | None = None, kinds: tuple[ExitKind, ...] | None = None
    ) -> None:
        kinds = kinds or (OWN_HEAD if heads is None else EXIT_KINDS)
        if "exit-probe" in kinds and (heads is None or len(heads.weights) != model.n_layers + 1):
            got = "none" if heads is None else len(heads.weights)
            raise ValueError(f"exit-probe needs a head for each of {model.n_layers + 1} depths; got {got}")
        self.model, self.heads = model, heads
        depths = range(model.n_layers + 1)
        self.exits: list[tuple[ExitKind, int]] = [(kind, k) for kind in kinds for k in depths]
        self.names = tuple(f"{kind}-{k}" for kind, k in self.exits)
        self.max_len = model.max_len

    def scores(self, batch: SequenceBatch) -> Iterator[InnerProducts]:
        """Yields one matrix per exit, float32 [batch, n_items + 1], from a single forward pass."""
        states = self.model.hidden(batch.to(self.model.device))  # L + 1 states, each [batch, width]
        for kind, k in self.exits:
            yield InnerProducts(self._read(kind, k, states[k]), self.model.item_vectors())

    def _read(self, kind: ExitKind, k: int, states: torch.Tensor) -> torch.Tensor:
        if kind == "exit-probe":
            assert self.heads is not None
            return self.heads.read(self.model.normed(states), k)
        return self.model.read_hidden(states, normed=kind == "exit-norm")
