"""Losses of next-item prediction: the full softmax without the users x items matrix, and two over a draw of items.

Takes user vectors, item vectors and targets; hands on one number. The draws come from `data.sampled_items`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import torch
from torch.nn import LinearCrossEntropyOptions
from torch.nn.functional import cross_entropy, embedding, linear_cross_entropy, logsigmoid

from layerprobe.arguments import checked
from layerprobe.data.batches import SequenceBatch
from layerprobe.data.sampled_items import SampledItems
from layerprobe.errors import InputError
from layerprobe.ranges import Range
from layerprobe.recommender.sequence_model import SequenceModel

MIN_CHUNKED = 64
LARGE_CATALOGUE = 4_000
CHUNK_ROWS, CHUNK_LOGITS = 64, 2**25
"""Above LARGE_CATALOGUE items so many rows of logits are made at a time, and 128 MiB of them at most. Measured on one
thread: 760 rows, 12,101 items, .06 s where torch's own choice takes .19; 1,800 rows, 300,000 items, 4.3 and 26 s.
No clear difference at 1,682 items."""
CALIBRATION = 0.75


@dataclass(frozen=True)
@checked
class LossOptions:
    """What the score of a position's target is compared with.

    Raises:
        InputError: an option is out of its range, missing, or set where the kind would ignore it.
    """

    kind: Literal["softmax", "sampled-softmax", "gbce"] = "softmax"
    """`softmax`: all items. `sampled-softmax`, `gbce`: the target and a draw of items, for very large catalogues."""
    negatives: Annotated[int | None, Range(1, 10**7)] = None
    """Items drawn per optimiser step, shared by all its positions; the two sampled kinds need it."""
    sampling: Literal["uniform", "popularity"] = "uniform"
    """`uniform`: without replacement. `popularity`: by training count + 1, with replacement; sampled-softmax alone."""
    calibration: Annotated[float, Range(0, 1)] = CALIBRATION
    """t of gbce, in [0, 1]. 0: plain binary cross-entropy; 1: scores calibrated as if all items were negatives."""

    def __post_init__(self) -> None:
        self._check_negatives()
        if self.sampling == "popularity" and self.kind != "sampled-softmax":
            # gbce puts one power on the target to correct for the share of negatives that is left out. By popularity
            # that share differs between items, so no single power fits: frequent items would score too low.
            raise InputError(f"loss.sampling = popularity needs loss.kind = sampled-softmax; got {self.kind}")
        if self.calibration != CALIBRATION and self.kind != "gbce":
            raise InputError(f"loss.calibration needs loss.kind = gbce; got {self.kind}")

    def _check_negatives(self) -> None:
        if self.is_sampled and self.negatives is None:
            raise InputError(
                f"loss.kind = {self.kind} needs loss.negatives, the items drawn per step; got none: "
                "set it, for example to 1000"
            )
        if not self.is_sampled and self.negatives is not None:
            raise InputError(
                f"loss.negatives needs loss.kind = sampled-softmax or gbce; got {self.negatives} "
                f"with {self.kind}, which uses all items"
            )

    @property
    def is_sampled(self) -> bool:
        """Whether a step needs a draw of items."""
        return self.kind != "softmax"

    def check_catalogue(self, n_items: int) -> None:
        """Checks, before anything is trained, that the catalogue is large enough to draw from.

        Raises:
            InputError: it has fewer items than `negatives`.
        """
        if self.negatives is not None and self.negatives > n_items:
            raise InputError(
                f"loss.negatives must be at most the number of items, {n_items}; got {self.negatives}: set "
                f"it lower, or use loss.kind = softmax, which suits a catalogue of {n_items} items"
            )


FULL_SOFTMAX = LossOptions()


def next_item_loss(
    vectors: torch.Tensor,
    item_vectors: torch.Tensor,
    targets: torch.Tensor,
    options: LossOptions = FULL_SOFTMAX,
    sampled: SampledItems | None = None,
) -> torch.Tensor:
    """Returns the mean loss of the positions, in float32 or better, for the kind that `options` names.

    `softmax`: cross-entropy of `targets` under a softmax over all items. The chunked form of `linear_cross_entropy`
    is used: it never holds the whole matrix of logits (1,800 rows and 12,101 items: 13 MiB instead of 251) and takes
    no longer. `sampled-softmax` and `gbce`: see `sampled_softmax_loss` and `gbce_loss`; they
    hold a matrix [read, n].

    Args:
        vectors: [read, dim], one per position.
        item_vectors: [n_items + 1, dim]; row 0 (padding) takes no part.
        targets: [read], indices 1..n_items.
        options: the kind of loss.
        sampled: the step's draw of `options.negatives` items; None for `softmax`.

    Raises:
        ValueError: `sampled` does not fit `options`, or a target of a sampled kind is unknown (0).
    """
    drawn = None if sampled is None else len(sampled)
    if drawn != options.negatives:
        raise ValueError(f"{options.kind} with {options.negatives} negatives got a draw of {drawn} items")
    if sampled is None:
        chunks = _chunks(len(vectors), len(item_vectors) - 1)
        # Row 0 is padding: without it no probability goes to it, and targets count from 0.
        return linear_cross_entropy(vectors.float(), item_vectors[1:].float(), targets - 1, options=chunks)
    if options.kind == "sampled-softmax":
        return sampled_softmax_loss(vectors, item_vectors, targets, sampled)
    return gbce_loss(vectors, item_vectors, targets, sampled, options.calibration)


def _chunks(n_rows: int, n_items: int) -> LinearCrossEntropyOptions | None:
    """Returns how many rows of logits are made at a time; torch's own choice grows too small with the catalogue."""
    if n_rows < MIN_CHUNKED:
        return None  # one plain product: there is little to hold
    if n_items <= LARGE_CATALOGUE:
        return LinearCrossEntropyOptions()  # torch's own choice
    return LinearCrossEntropyOptions(batch_chunk_size=max(1, min(CHUNK_ROWS, CHUNK_LOGITS // n_items)))


def sampled_softmax_loss(
    vectors: torch.Tensor, item_vectors: torch.Tensor, targets: torch.Tensor, sampled: SampledItems
) -> torch.Tensor:
    """Returns the mean of log Z^ - s+, where Z^ estimates the softmax's sum over all items from a draw.

    Z^ = exp(s+) + sum over drawn j that are not the target of exp(s_j) / E[count_j]. Here s+ is the target's score,
    s_j a drawn item's, E[count_j] the expected number of times that j is drawn. A target is in Z^ with certainty, so
    its score is not corrected, and the draws that equal it are left out of its row. So the mean of Z^ over all draws
    is the full sum Z. The loss itself is not unbiased: log is concave, so it lies below the full cross-entropy on
    average, and the gap closes as the draw grows. A uniform draw of all items is the full cross-entropy.

    Source: Bengio and Senecal, IEEE Trans. Neural Networks 19(4), 2008 (importance sampling of the sum); Yi et al.,
    RecSys 2019 (log Q taken off the logits, with in-batch items); Khrylchenko et al., RecSys 2025, arXiv 2507.09331
    (the target is not sampled and must not be corrected). The latter write the loss as (1 - p) (log of the sum over
    the negatives alone - s+) with p = exp(s+) / Z^ held constant; its gradient is the one of our form. They draw
    among the items other than the target, with Q / (1 - Q(target)); we draw once per step among all items, so that
    all positions share the draw, and take E[count_j] under that draw.

    Args:
        vectors: [read, dim].
        item_vectors: [n_items + 1, dim].
        targets: [read], indices 1..n_items.
        sampled: the step's draw, of either sampling.
    """
    with torch.autocast(vectors.device.type, enabled=False):  # it would take the scores to half precision
        positive, negative, hits = _scores(vectors, item_vectors, targets, sampled)
        corrected = (negative - sampled.log_expected).masked_fill(hits, -torch.inf)  # [read, n]; exp(-inf) adds nothing
        logits = torch.cat([positive[:, None], corrected], dim=1)  # [read, 1 + n], the target in column 0
        return cross_entropy(logits, torch.zeros_like(targets))


def gbce_loss(
    vectors: torch.Tensor,
    item_vectors: torch.Tensor,
    targets: torch.Tensor,
    sampled: SampledItems,
    calibration: float,
) -> torch.Tensor:
    """Returns the mean over positions of -(beta log sigmoid(s+) + sum over negatives of log(1 - sigmoid(s))) / (n + 1).

    Plain binary cross-entropy with few negatives learns probabilities that are far too high; a power beta on the
    target's corrects for the negatives left out. beta = alpha (t (1 - 1 / alpha) + 1 / alpha) = 1 - t (1 - alpha),
    with t the calibration and alpha the share of the negatives that is drawn. t = 0: beta = 1, plain binary
    cross-entropy. t = 1: beta = alpha, and the mean over all draws is alpha / (n + 1) times the sum of binary
    cross-entropies over all items, so both have their minimum at the same scores.

    Source: Petrov and Macdonald, RecSys 2023, arXiv 2308.07192 (gBCE). How we differ: they draw negatives for each
    position, we draw `n` items per step for all positions and leave out the draws that equal a row's target. A row
    so has n or n - 1 negatives, n (n_items - 1) / n_items on average: a share alpha = n / n_items where they have
    n / (n_items - 1). The divisor stays n + 1, so that a row counts the same whether or not its target was drawn.

    Args:
        vectors: [read, dim].
        item_vectors: [n_items + 1, dim].
        targets: [read], indices 1..n_items.
        sampled: the step's draw, uniform without replacement.
        calibration: t, in [0, 1].
    """
    beta = 1 - calibration * (1 - len(sampled) / (len(item_vectors) - 1))
    with torch.autocast(vectors.device.type, enabled=False):
        positive, negative, hits = _scores(vectors, item_vectors, targets, sampled)
        # log(1 - sigmoid(s)) = log sigmoid(-s), which does not round to log 0 for large s
        wrong = logsigmoid(-negative).masked_fill(hits, 0).sum(dim=1)  # [read]
        return -(beta * logsigmoid(positive) + wrong).mean() / (len(sampled) + 1)


def _scores(
    vectors: torch.Tensor, item_vectors: torch.Tensor, targets: torch.Tensor, sampled: SampledItems
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns scores of targets [read], of drawn items [read, n], and where a drawn item is the row's target."""
    if targets.numel() and targets.min() < 1:
        raise ValueError("a loss needs known targets, 1..n_items; got a 0 (unknown)")
    dtype = torch.promote_types(vectors.dtype, torch.float32)
    # One gather for both: the gradient of each gather is as large as the whole table.
    gathered = embedding(torch.cat([targets, sampled.items]), item_vectors).to(dtype)  # [read + n, dim]
    vectors = vectors.to(dtype)
    positive = (vectors * gathered[: len(targets)]).sum(dim=1)  # [read]
    return positive, vectors @ gathered[len(targets) :].T, targets[:, None] == sampled.items  # [read], [read, n] twice


def next_item_objective(
    model: SequenceModel, batch: SequenceBatch, options: LossOptions = FULL_SOFTMAX
) -> dict[str, torch.Tensor]:
    """Returns the terms of plain training: `loss` alone; a sampled kind takes the step's draw from the batch."""
    return {"loss": next_item_loss(model.read(batch), model.item_vectors(), batch.targets, options, batch.sampled)}


def next_item_objective_with(
    options: LossOptions,
) -> Callable[[SequenceModel, SequenceBatch], dict[str, torch.Tensor]]:
    """Returns the objective of plain training with the loss that `options` name."""
    return partial(next_item_objective, options=options)
