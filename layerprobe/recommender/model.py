"""`Recommender`: a backbone between two linear maps, scoring by inner products with a frozen item table.

Takes item vectors and a (cut) backbone; hands on one user vector per read position. The form is E4SRec's body with
SLMRec's head (arXiv 2405.17890): linear in with bias, linear out without, no temperature, no normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from layerprobe.backbone.architecture import final_norm_of, layers_of
from layerprobe.backbone.hidden import captured_hidden
from layerprobe.backbone.prompt import PromptTokens, no_prompt
from layerprobe.data.batches import SequenceBatch
from layerprobe.errors import InputError
from layerprobe.recommender.sequence_model import SequenceModel


@dataclass(frozen=True)
class RecommenderOptions:
    """What surrounds the backbone."""

    max_len: int = 50
    """Newest history items read."""
    input_dropout: float = 0.0
    """Dropout on the mapped item vectors, in [0, 1)."""
    head_dropout: float = 0.0
    """Dropout on the normed state before the head, in [0, 1)."""

    def __post_init__(self) -> None:
        if self.max_len < 1:
            raise InputError(f"recommender.max_len must be at least 1; got {self.max_len}")
        if not (0 <= self.input_dropout < 1 and 0 <= self.head_dropout < 1):
            raise InputError(
                "recommender.input_dropout and head_dropout must lie in [0, 1); "
                f"got {self.input_dropout} and {self.head_dropout}"
            )


class Recommender(SequenceModel):
    """The sequential recommender on a Hugging Face backbone.

    The input is prefix tokens, the user's items, suffix tokens, then right padding; the readout is the last real
    position, or every item position when there is no suffix. Padding comes last under causal attention, so it
    influences nothing and a user's score does not depend on the batch.

    Args:
        network: the backbone, possibly wrapped by an adapter.
        backbone: the Hugging Face model inside `network` (the same object where there is no adapter).
        item_table: frozen item vectors, float32 [n_items + 1, dim], row 0 zero.
    """

    backbone: PreTrainedModel
    item_table: torch.Tensor
    prefix: torch.Tensor
    suffix: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        backbone: PreTrainedModel,
        item_table: torch.Tensor,
        options: RecommenderOptions,
        prompt: PromptTokens | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.options = options
        self.max_len = options.max_len
        object.__setattr__(self, "backbone", backbone)  # not registered twice: it already lies inside `network`
        width = backbone.config.hidden_size
        self.register_buffer("item_table", item_table.detach().float().clone(), persistent=False)
        self.input_adapter = nn.Linear(item_table.shape[1], width)
        self.head = nn.Linear(width, item_table.shape[1], bias=False)
        self.input_dropout = nn.Dropout(options.input_dropout)
        self.head_dropout = nn.Dropout(options.head_dropout)
        prompt = prompt or no_prompt()
        self.register_buffer("prefix", prompt.prefix, persistent=False)
        self.register_buffer("suffix", prompt.suffix, persistent=False)
        self._check_length()

    def _check_length(self) -> None:
        needed = self.max_len + len(self.prefix) + len(self.suffix)
        limit = self.backbone.config.max_position_embeddings
        if needed > limit:
            raise InputError(
                f"prompt and history must fit the backbone's {limit} positions; they need {needed} "
                f"({len(self.prefix)} + {self.max_len} + {len(self.suffix)}): lower recommender.max_len"
            )

    @property
    def n_layers(self) -> int:
        """Depth of the backbone."""
        return len(layers_of(self.backbone))

    def item_vectors(self) -> torch.Tensor:
        """Returns the frozen item table, [n_items + 1, dim]."""
        return self.item_table

    def read(self, batch: SequenceBatch) -> torch.Tensor:
        """Returns the user vector of each read position, [read, dim]."""
        inputs, row, pos = self._inputs(batch)
        states = self.network(inputs_embeds=inputs, use_cache=False).last_hidden_state
        return self._head(states[row, pos])

    def hidden(self, batch: SequenceBatch) -> torch.Tensor:
        """Returns `hidden[0..L]` at the read positions, all before the final norm, [L + 1, read, width]."""
        return self.read_with_hidden(batch)[1]

    def hidden_at_items(self, batch: SequenceBatch) -> torch.Tensor:
        """Returns `hidden[0..L]` at the items that are read, [L + 1, read, width].

        The same as `hidden` unless a prompt suffix follows: there the readout starts from a token all users share, so
        `hidden[0]` would be one and the same vector.
        """
        inputs, row, _ = self._inputs(batch)
        with captured_hidden(self.backbone, row, batch.pos + len(self.prefix)) as found:
            self.network(inputs_embeds=inputs, use_cache=False)
        return found.stacked()

    def read_with_hidden(self, batch: SequenceBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns `read(batch)` and `hidden(batch)` of the same forward pass."""
        inputs, row, pos = self._inputs(batch)
        with captured_hidden(self.backbone, row, pos) as found:
            states = self.network(inputs_embeds=inputs, use_cache=False).last_hidden_state
        return self._head(states[row, pos]), found.stacked()

    def read_hidden(self, states: torch.Tensor, normed: bool = True) -> torch.Tensor:
        """Maps pre-norm states [..., width] to user vectors [..., dim], through the final norm unless told not to.

        `read_hidden(hidden(batch)[-1])` equals `read(batch)`.
        """
        return self._head(final_norm_of(self.backbone)(states) if normed else states)

    def _head(self, states: torch.Tensor) -> torch.Tensor:
        return self.head(self.head_dropout(states)).float()

    def _inputs(self, batch: SequenceBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns the input vectors [batch, length, width] and where to read them (row, position)."""
        items = self.input_dropout(self.input_adapter(self.item_table[batch.items]))
        if not len(self.prefix) and not len(self.suffix):
            return items, batch.row, batch.pos
        if len(self.suffix) and len(batch.row) != len(batch):
            raise InputError(
                "a prompt suffix stands after the whole history, so it needs supervision 'last'; got 'all'"
            )
        parts = [self._tokens(self.prefix, len(batch)), items, self._tokens(self.suffix, len(batch))]
        row, pos = batch.row, batch.pos + len(self.prefix)
        if not len(self.suffix):
            return torch.cat(parts[:2], dim=1), row, pos
        return _suffix_after_last(parts, batch.lengths), row, pos + len(self.suffix)

    def _tokens(self, ids: torch.Tensor, n_rows: int) -> torch.Tensor:
        return self.backbone.get_input_embeddings()(ids)[None].expand(n_rows, -1, -1)


def _suffix_after_last(parts: list[torch.Tensor], lengths: torch.Tensor) -> torch.Tensor:
    """Joins prefix, items and suffix so that the suffix follows each row's last real item and padding comes last."""
    prefix, items, suffix = parts
    joined = torch.cat(parts, dim=1)  # [batch, prefix + longest + suffix, width]
    place = torch.arange(joined.shape[1], device=joined.device)[None, :]
    end = prefix.shape[1] + lengths[:, None]
    gap = items.shape[1] - lengths[:, None]
    in_suffix = (place >= end) & (place < end + suffix.shape[1])
    behind = place >= end + suffix.shape[1]
    source = torch.where(in_suffix, place + gap, torch.where(behind, place - suffix.shape[1], place))
    return joined.gather(1, source[:, :, None].expand(-1, -1, joined.shape[2]))
