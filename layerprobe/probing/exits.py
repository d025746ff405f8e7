"""Exits: user vectors read from every `hidden[k]` of one trained model; no layer is retrained.

`exit-raw` applies the head to `hidden[k]` as it is (as the paper's code did for inner states). `exit-norm` applies the
final norm first. `exit-probe` reads the normed state with a head of its own for every k (`probe_heads`).
`exit-norm` at k = L is the model itself. All are read in one forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import pandas as pd
import torch

from layerprobe.arguments import require_kind, require_parts, require_whole
from layerprobe.data.batches import SequenceBatch
from layerprobe.data.splits import PARTS, Part, Split
from layerprobe.errors import InputError
from layerprobe.evaluation.ranking import require_same_items, usual_protocols
from layerprobe.evaluation.ranks import Protocols, rank_targets
from layerprobe.probing.probe_heads import ProbeHeadOptions, ProbeHeads, fit_probe_heads
from layerprobe.recommender.model import Recommender
from layerprobe.recommender.sequence_model import InnerProducts
from layerprobe.training.options import TrainingOptions, train_batches

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


def exits(
    model: Recommender,
    split: Split,
    heads: ProbeHeads | None = None,
    protocols: Protocols | None = None,
    *,
    parts: Sequence[Part] = PARTS,
    batch_size: int = 256,
) -> dict[str, pd.DataFrame]:
    """Ranks every exit of one trained model from a single forward pass; no layer is retrained.

    Args:
        model: a trained recommender.
        split: the log.
        heads: what `exit-probe` reads with (`fit_heads`); None leaves that kind out.
        protocols: as for `rank`.
        parts: `valid`, `test`, or both.
        batch_size: users scored at a time.

    Returns:
        Ranks per exit, by name: `exit-raw-0` to `exit-raw-L`, `exit-norm-0` to `exit-norm-L`, and so on.

    Raises:
        InputError: an argument is of a wrong kind, or there is not one head per depth.
    """
    require_kind("model", model, Recommender, instead="exits are read from a recommender with layers")
    require_kind("split", split, Split, instead="take the .split of what prepare returns")
    if heads is not None:
        require_kind("heads", heads, ProbeHeads, instead="fit them with fit_heads")
        if len(heads.weights) != model.n_layers + 1:
            raise InputError(f"heads must be {model.n_layers + 1}, one per depth; got {len(heads.weights)}")
    require_same_items(model, split)
    require_parts(parts, PARTS)
    require_whole("batch_size", batch_size, 1)
    protocols = usual_protocols(split) if protocols is None else protocols
    require_kind("protocols", protocols, Protocols)
    return rank_targets(ExitScorer(model.eval(), heads), split, list(parts), protocols, batch_size)


def fit_heads(
    model: Recommender,
    split: Split,
    options: ProbeHeadOptions | None = None,
    training: TrainingOptions | None = None,
    seed: int = 0,
) -> ProbeHeads:
    """Fits a linear head per depth to a frozen model's states at the training targets.

    Args:
        model: a trained recommender; it is not changed.
        split: the log; its training part is read.
        options: passes and step size.
        training: loss, targets and batch size, as the model was trained with.
        seed: seed of the order of examples.

    Raises:
        InputError: an argument is of a wrong kind, or the training options do not fit the model.
    """
    options = ProbeHeadOptions() if options is None else options
    training = TrainingOptions() if training is None else training
    require_kind("model", model, Recommender, instead="heads read a recommender with layers")
    require_kind("split", split, Split, instead="take the .split of what prepare returns")
    require_kind("options", options, ProbeHeadOptions)
    require_kind("training", training, TrainingOptions)
    require_whole("seed", seed, 0)
    require_same_items(model, split)
    batches = train_batches(split, model.max_len, training, seed, model.extra_positions)
    return fit_probe_heads(model.eval(), batches, options, training.loss)
