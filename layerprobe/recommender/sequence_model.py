"""`SequenceModel`: what training, ranking and probing ask of a model. SASRec and the LLM recommender both are one.

A model turns a batch into one vector per read position; a score is its inner product with an item vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import nn

from layerprobe.data.batches import SequenceBatch


class SequenceModel(nn.Module, ABC):
    """A network that reads user vectors out of histories.

    Attributes:
        max_len: newest history items the model reads.
        shards: whether the model may be sliced over several devices: its item vectors are not parameters.
        may_idle: whether it has parameters to train that a loss may leave out.
        is_sharded: whether it is sliced, so that all processes have to read the same batches together.
    """

    max_len: int
    shards: bool = False
    may_idle: bool = False
    is_sharded: bool = False

    @abstractmethod
    def read(self, batch: SequenceBatch) -> torch.Tensor:
        """Returns the user vector of each read position, float32 [read, dim]."""

    @abstractmethod
    def item_vectors(self) -> torch.Tensor:
        """Returns the item vectors, float32 [n_items + 1, dim]; row 0 is padding and is never scored."""

    def stacked_layers(self) -> list[nn.Module]:
        """Returns the layers that repeat: what torch.compile is put on."""
        return []

    @property
    def extra_positions(self) -> int:
        """Positions that every row of a training batch carries beside its items, such as a repeated prompt."""
        return 0

    @property
    def device(self) -> torch.device:
        """Device of the item vectors, and so of the model."""
        return self.item_vectors().device


class InnerProducts:
    """Scores [batch, n_items + 1] of user vectors, each row computed when it is asked for (`evaluation.counts.Scores`).

    Args:
        vectors: [batch, dim].
        item_vectors: [n_items + 1, dim].
    """

    def __init__(self, vectors: torch.Tensor, item_vectors: torch.Tensor) -> None:
        self.vectors, self.item_vectors = vectors, item_vectors
        self.shape = (len(vectors), len(item_vectors))
        self.device = vectors.device

    def __getitem__(self, rows: slice) -> torch.Tensor:
        """Returns the scores of these rows."""
        return self.vectors[rows] @ self.item_vectors.T  # [rows, n_items + 1]


class ModelScorer:
    """Ranks a `SequenceModel` by its inner products with the whole catalogue (see `evaluation.ranks.Scorer`)."""

    def __init__(self, model: SequenceModel, name: str = "model") -> None:
        self.model = model
        self.names = (name,)
        self.max_len = model.max_len

    def scores(self, batch: SequenceBatch) -> Iterator[InnerProducts]:
        """Yields one matrix, float32 [batch, n_items + 1]."""
        yield InnerProducts(self.model.read(batch.to(self.model.device)), self.model.item_vectors())


def trainable_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Returns the parameters that training changes, by name: what a checkpoint holds."""
    return {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}


def load_trainable_state(model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Writes stored parameters back into a model built the same way.

    Raises:
        ValueError: a name or shape differs; nothing is loaded partly.
    """
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    wrong = sorted(set(parameters) ^ set(state))
    wrong += [name for name in parameters if name in state and parameters[name].shape != state[name].shape]
    if wrong:  # before anything is written: a model loaded in part would still give scores
        raise ValueError(f"stored parameters must fit the model exactly; these do not: {', '.join(wrong[:5])}")
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(state[name])
