"""The states that layers are compared on: one row per sampled validation user, at every depth.

Takes a model and a split, hands on `hidden` [L + 1, users, dim]. Nothing here reads a test target or a test history.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Literal

import numpy as np
import torch

from layerprobe.arguments import checked, require_kind
from layerprobe.data.batches import SequenceBatch, query_batch
from layerprobe.data.splits import Split
from layerprobe.ranges import SEED, Range
from layerprobe.recommender.model import Recommender

Positions = Literal["last-item", "items", "all"]
PLACES: dict[Positions, str] = {
    "last-item": "last item",
    "items": "a random item",
    "all": "a random position, prompt included,",
}


@dataclass(frozen=True)
@checked
class SampleOptions:
    """Which users, and where in their histories.

    Raises:
        InputError: a number is below its least value, or the position is not known.
    """

    rows: Annotated[int, Range(5, 1_000_000)] = 2048
    """Most users, a seeded sample of the evaluated ones; at least 5."""
    positions: Positions = "last-item"
    """Where states are read, once per user. `last-item`: at the readout, or before a prompt's suffix. `items`: at a
    random item. `all`: at a random position, tokens of the prompt included."""
    seed: Annotated[int, SEED] = 0
    """Seed of the sample and of the positions."""
    batch_size: Annotated[int, Range(1, 1_000_000)] = 256
    """Users per forward pass."""


@dataclass(frozen=True, eq=False)
class SampledStates:
    """States of a model, one row per user.

    Attributes:
        hidden: `hidden[0..L]` before the final norm, float32 [L + 1, users, dim].
        users: their rows in the split, ascending, int64 [users].
        label: what a row is, in words.
    """

    hidden: torch.Tensor
    users: np.ndarray
    label: str


def sampled_users(split: Split, rows: int, seed: int) -> np.ndarray:
    """Returns the rows of the users that layers are compared on: a seeded sample of validation users, ascending."""
    evaluated = split.users("valid")
    generator = np.random.default_rng(seed)
    # The beginning of one permutation: a smaller sample with the same seed is a part of a larger one.
    return np.sort(evaluated[generator.permutation(len(evaluated))[:rows]])


def sampled_states(model: Recommender, split: Split, options: SampleOptions) -> SampledStates:
    """Returns the states of a sample of validation users at one position each.

    One position each, even where any item or prompt position may be used: rows of one user depend on each other, and
    intervals over users would be too narrow.

    Args:
        model: in evaluation mode.
        split: the log; its validation histories are read.
        options: which users, and where.
    """
    users = sampled_users(split, options.rows, options.seed)
    # A share of the history per user, drawn once for all: positions do not depend on the batches.
    shares = torch.from_numpy(np.random.default_rng(options.seed).random(len(users)))
    parts = []
    with torch.inference_mode():
        for batch, place in valid_batches(split, users, model.max_len, options.batch_size):
            batch = batch.to(model.device)
            if options.positions == "last-item":
                parts.append(model.hidden_at_items(batch).cpu())  # [L + 1, batch, dim]
                continue
            is_item, before = options.positions == "items", model.prompt.n_before
            counts = batch.lengths if is_item else model.n_places(batch)
            pos = (shares[place].to(model.device) * counts).long() + (before if is_item else 0)
            parts.append(model.hidden_anywhere(batch, pos).cpu())
    label = f"{PLACES[options.positions]} of {len(users):,} validation histories"
    return SampledStates(torch.cat(parts, dim=1), users, label)  # [L + 1, users, dim]


def states(model: Recommender, split: Split, options: SampleOptions | None = None) -> SampledStates:
    """Returns `hidden[0..L]` of a sample of validation users; `sampled_states` with its input checked.

    Args:
        model: a recommender; it is put into evaluation mode.
        split: the log.
        options: which users, and where in their histories.

    Raises:
        InputError: an argument is of a wrong kind.
    """
    options = SampleOptions() if options is None else options
    require_kind("model", model, Recommender, instead="a SASRec has no layers to compare")
    require_kind("split", split, Split, instead="take the .split of what prepare returns")
    require_kind("options", options, SampleOptions)
    return sampled_states(model.eval(), split, options)


def valid_batches(split: Split, users: np.ndarray, max_len: int, size: int) -> Iterator[tuple[SequenceBatch, slice]]:
    """Yields the validation histories of `users` in batches of about `size`, each with its place in the sample.

    One history per user: the longest, where a user has several validation targets.
    """
    part = replace(split, asked=users)
    make = partial(query_batch, part, part.queries("valid").newest(), max_len=max_len)
    for chunk in np.array_split(np.arange(len(users)), -(-len(users) // size)):
        yield make(chunk), slice(chunk[0], chunk[-1] + 1)
