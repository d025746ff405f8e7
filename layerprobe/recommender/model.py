"""`Recommender`: a backbone between two linear maps, scoring by inner products with a frozen item table.

Takes item vectors and a (cut) backbone; hands on one user vector per read position. The form is E4SRec's body with
SLMRec's head (arXiv 2405.17890): a linear map in with bias, one out without, no temperature, no normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel

from layerprobe import processes
from layerprobe.arguments import checked
from layerprobe.backbone.architecture import architecture_of, final_norm_of, layers_of
from layerprobe.backbone.hidden import at_least_float32, captured_hidden
from layerprobe.backbone.prompt import PromptTokens
from layerprobe.data.batches import SequenceBatch
from layerprobe.errors import InputError
from layerprobe.ranges import DROPOUT, Range
from layerprobe.recommender.prefix import PrefixMemory, cache_for_users, why_repeated
from layerprobe.recommender.sequence_model import SequenceModel


@dataclass(frozen=True)
@checked
class RecommenderOptions:
    """What surrounds the backbone."""

    max_len: Annotated[int, Range(1, 100_000)] = 50
    """Newest history items read."""
    input_dropout: Annotated[float, DROPOUT] = 0.0
    """Dropout on the mapped item vectors, in [0, 1)."""
    head_dropout: Annotated[float, DROPOUT] = 0.0
    """Dropout on the normed state before the head, in [0, 1)."""


@dataclass(frozen=True, eq=False)
class BackboneInput:
    """What the backbone is run on, and where it is read.

    Attributes:
        arguments: keyword arguments of the backbone.
        row, pos: where user vectors are read, [read].
        before: positions before the first item in this input.
    """

    arguments: dict[str, Any]
    row: torch.Tensor
    pos: torch.Tensor
    before: int


class Recommender(SequenceModel):
    """The sequential recommender on a Hugging Face backbone.

    The input is the prompt's prefix, the user's items, the prompt's suffix, then right padding; the readout is the last
    real position, or every item position when there is no suffix and the family is causal. Padding comes last and
    has no influence, so a user's score does not depend on the batch.

    Args:
        network: the backbone, possibly wrapped by an adapter.
        backbone: the Hugging Face model inside `network` (the same object where there is no adapter).
        item_table: frozen item vectors, float32 [n_items + 1, dim], row 0 zero.
        options: what surrounds the backbone.
        prompt: what surrounds the items; None is nothing.
    """

    backbone: PreTrainedModel
    item_table: torch.Tensor
    prefix: torch.Tensor
    suffix: torch.Tensor
    shards = True

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
        self.prompt = prompt or PromptTokens()
        object.__setattr__(self, "backbone", backbone)  # not registered twice: it is already a part of `network`
        self.causal = architecture_of(backbone).causal
        width = backbone.config.hidden_size
        # A buffer, so that it moves with the model but is never trained; not in its checkpoints, since it has a file.
        self.register_buffer("item_table", item_table.detach().float().clone(), persistent=False)
        self.input_adapter = nn.Linear(item_table.shape[1], width)
        self.head = nn.Linear(width, item_table.shape[1], bias=False)
        self.input_dropout = nn.Dropout(options.input_dropout)
        self.head_dropout = nn.Dropout(options.head_dropout)
        self.register_buffer("prefix", self.prompt.prefix, persistent=False)
        self.register_buffer("suffix", self.prompt.suffix, persistent=False)
        self.prefix_vectors = nn.Embedding(self.prompt.learned, width) if self.prompt.learned else None
        self.prefix_memory = PrefixMemory()
        check_length(self.prompt, self.max_len, backbone.config.max_position_embeddings)
        if self.prefix_vectors is not None:
            _draw_like(self.prefix_vectors, backbone)

    @property
    def n_layers(self) -> int:
        """Depth of the backbone."""
        return len(layers_of(self.backbone))

    @property
    def shares_prefix(self) -> bool:
        """Whether the prefix is computed once for all users of a step; `prefix.why_repeated` says why not."""
        if not self.prompt.n_before:
            return False
        # Looked up at each call: training mode changes, and layers are sliced after the model was made.
        checkpointed = any(getattr(module, "gradient_checkpointing", False) for module in self.backbone.modules())
        sliced = any(isinstance(layer, FSDPModule) for layer in layers_of(self.backbone))
        return why_repeated(self.prompt, self.causal, checkpointed and self.training, sliced) is None

    def stacked_layers(self) -> list[nn.Module]:
        """Returns the backbone's layers."""
        return list(layers_of(self.backbone))

    @property
    def extra_positions(self) -> int:
        """Prompt tokens that every row carries; a shared prefix is not among them."""
        # Layers are sliced only after the batches are planned, so the launch is asked, not the layers.
        shared = self.shares_prefix and not processes.slice_models()
        return (0 if shared else self.prompt.n_before) + len(self.suffix)

    def item_vectors(self) -> torch.Tensor:
        """Returns the frozen item table, [n_items + 1, dim]."""
        return self.item_table

    def read(self, batch: SequenceBatch) -> torch.Tensor:
        """Returns the user vector of each read position, [read, dim]."""
        return self._read(self._input(batch))

    def hidden(self, batch: SequenceBatch) -> torch.Tensor:
        """Returns `hidden[0..L]` at the read positions, all before the final norm, [L + 1, read, width]."""
        return self.read_with_hidden(batch)[1]

    def hidden_at_items(self, batch: SequenceBatch) -> torch.Tensor:
        """Returns `hidden[0..L]` at the items that are read, [L + 1, read, width].

        The same as `hidden` unless a prompt suffix follows: then the readout starts from a token that all users share,
        so `hidden[0]` would be the same vector for all of them.
        """
        return self._hidden_at(batch, None)

    def hidden_anywhere(self, batch: SequenceBatch, pos: torch.Tensor) -> torch.Tensor:
        """Returns `hidden[0..L]` at one position of each row, prompt included, [L + 1, batch, width].

        Args:
            batch: histories; what it reads does not matter.
            pos: a place in prefix, items and suffix of each row, counted from the first, below `n_places`, [batch].
        """
        return self._hidden_at(batch, pos)

    def n_places(self, batch: SequenceBatch) -> torch.Tensor:
        """Returns how many positions each row has with its prompt, padding not counted, [batch]."""
        return batch.lengths + self.prompt.n_before + len(self.suffix)

    def _hidden_at(self, batch: SequenceBatch, places: torch.Tensor | None) -> torch.Tensor:
        """Returns the states at the items that are read or, where places are given, anywhere."""
        prepared = self._input(batch, repeat=places is not None)  # a place may lie in the prefix
        row, pos = (batch.row, batch.pos + prepared.before) if places is None else (torch.arange(len(batch)), places)
        with captured_hidden(self.backbone, row.to(self.device), pos.to(self.device)) as states:
            self.network(**prepared.arguments)
        return states.stacked()

    def read_with_all_hidden(self, batch: SequenceBatch) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Returns `read(batch)` and `hidden[0..L]` at every position, [batch, pos, width] each, in one graph.

        The prefix is repeated for every row, so that it has states for each user.
        """
        prepared = self._input(batch, repeat=True)
        with captured_hidden(self.backbone, None, None) as states:
            vectors = self._read(prepared)
        return vectors, states.every()

    def read_with_hidden(self, batch: SequenceBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns `read(batch)` and `hidden(batch)` of the same forward pass."""
        prepared = self._input(batch)
        with captured_hidden(self.backbone, prepared.row, prepared.pos) as states:
            vectors = self._read(prepared)
        return vectors, states.stacked()

    def read_hidden(self, states: torch.Tensor, normed: bool = True) -> torch.Tensor:
        """Maps pre-norm states [..., width] to user vectors [..., dim], through the final norm if `normed`.

        `read_hidden(hidden(batch)[-1])` equals `read(batch)`.
        """
        return self._head(self.normed(states) if normed else states.to(self.backbone.dtype))

    def normed(self, states: torch.Tensor) -> torch.Tensor:
        """Returns pre-norm states [..., width] after the final norm, in the backbone's own precision."""
        return final_norm_of(self.backbone)(states.to(self.backbone.dtype))

    def _read(self, prepared: BackboneInput) -> torch.Tensor:
        # From [batch, pos, width], after the final norm, to [read, width].
        return self._head(self.network(**prepared.arguments).last_hidden_state[prepared.row, prepared.pos])

    def _head(self, states: torch.Tensor) -> torch.Tensor:
        # Float32 from here on, whatever the backbone computes in: in half precision many scores would tie.
        return at_least_float32(self.head(self.head_dropout(states.to(self.head.weight.dtype))))

    def _input(self, batch: SequenceBatch, repeat: bool = False) -> BackboneInput:
        """Returns the backbone's input of a batch; its prefix is already run where it is shared.

        Args:
            batch: what is read.
            repeat: whether to put the prefix before every row even where it could be shared.
        """
        self._check_positions(batch)
        items = self.input_dropout(self.input_adapter(self.item_table[batch.items]))  # [batch, pos, width]
        prefix, shared = self._prefix(), self.shares_prefix and not repeat
        before = 0 if shared else len(prefix)
        parts = [part for part in (prefix[None].expand(len(batch), -1, -1)[:, :before], items) if part.shape[1]]
        pos = batch.pos + before
        if len(self.suffix):
            parts.append(self._tokens(self.suffix)[None].expand(len(batch), -1, -1))
            inputs, pos = _suffix_after_last(parts, batch.lengths + before), pos + len(self.suffix)
        else:
            inputs = torch.cat(parts, dim=1)  # [batch, before + pos, width]
        real = batch.lengths + before + len(self.suffix)
        inputs = inputs.to(self.backbone.dtype)
        return BackboneInput(self._arguments(inputs, prefix if shared else None, real), batch.row, pos, before)

    def _arguments(self, inputs: torch.Tensor, prefix: torch.Tensor | None, real: torch.Tensor) -> dict[str, Any]:
        """Returns the backbone's arguments.

        Args:
            inputs: vectors [batch, length, width].
            prefix: vectors that all rows share before `inputs`, [prefix, width]; None where there are none.
            real: vectors of each row before its padding, [batch].
        """
        arguments: dict[str, Any] = {"inputs_embeds": inputs, "use_cache": False}
        place = torch.arange(inputs.shape[1], device=inputs.device)  # [length]
        if prefix is not None:
            source = self.prefix if self.prefix_vectors is None else self.prefix_vectors.weight
            states = self.prefix_memory.states(self.network, source, prefix.to(inputs.dtype))
            arguments["past_key_values"] = cache_for_users(states, len(inputs))
            arguments["position_ids"] = place[None] + len(prefix)  # counted from the end of the prefix
            arguments["use_cache"] = True
        if not self.causal:  # with causal attention nothing sees the padding behind it
            arguments["attention_mask"] = (place < real[:, None]).long()
        return arguments

    def _check_positions(self, batch: SequenceBatch) -> None:
        """Refuses to read where the input already holds the answer, or where a suffix follows."""
        if self.causal and not len(self.suffix):
            return
        if len(batch.row) == len(batch) and bool((batch.pos == batch.lengths[batch.row] - 1).all()):
            return
        if len(self.suffix):
            raise InputError(
                "a prompt suffix stands after the whole history, so it needs supervision 'last'; got 'all'"
            )
        raise InputError(
            f"{self.backbone.config.model_type} sees later items, so targets at every position would leak: it needs "
            "supervision 'last'; got 'all'"
        )

    def _prefix(self) -> torch.Tensor:
        """Returns the vectors before the items, [prefix, width]."""
        return self._tokens(self.prefix) if self.prefix_vectors is None else self.prefix_vectors.weight

    def _tokens(self, ids: torch.Tensor) -> torch.Tensor:
        return self.backbone.get_input_embeddings()(ids).to(self.input_adapter.weight.dtype)


def check_length(prompt: PromptTokens, max_len: int, limit: int) -> None:
    """Refuses a prompt and history of `max_len` items that do not fit `limit` positions.

    Raises:
        InputError: they do not fit.
    """
    needed = prompt.n_before + max_len + len(prompt.suffix)
    if needed > limit:
        raise InputError(
            f"prompt and history must fit the backbone's {limit} positions; they need {needed} "
            f"({prompt.n_before} + {max_len} + {len(prompt.suffix)}): lower recommender.max_len or shorten the prompt"
        )


def _draw_like(vectors: nn.Embedding, backbone: PreTrainedModel) -> None:
    """Draws learned prefix vectors with the spread of the backbone's token embeddings."""
    tokens = backbone.get_input_embeddings().weight
    # A single row has no spread, and a model on the device `meta` has no values.
    spread = 0.02
    if isinstance(tokens, torch.Tensor) and len(tokens) > 1 and not tokens.is_meta:
        spread = tokens.float().std().item()
    nn.init.normal_(vectors.weight, std=spread)


def _suffix_after_last(parts: list[torch.Tensor], lengths: torch.Tensor) -> torch.Tensor:
    """Joins vectors so that the suffix, the last part, follows each row's last real one and padding comes last.

    Args:
        parts: vectors [batch, n, width]; the last is the suffix, those before it hold the real ones, then padding.
        lengths: real vectors before the suffix, [batch].
    """
    joined = torch.cat(parts, dim=1)  # [batch, length, width]
    n_suffix = parts[-1].shape[1]
    place = torch.arange(joined.shape[1], device=joined.device)[None, :]
    end = lengths[:, None]
    gap = joined.shape[1] - n_suffix - end  # padding between the last real vector and the suffix, [batch, 1]
    in_suffix = (place >= end) & (place < end + n_suffix)
    behind = place >= end + n_suffix
    # A permutation of each row: no vector is lost, so a gather does it in one step with gradients.
    source = torch.where(in_suffix, place + gap, torch.where(behind, place - n_suffix, place))  # [batch, length]
    return joined.gather(1, source[:, :, None].expand(-1, -1, joined.shape[2]))
