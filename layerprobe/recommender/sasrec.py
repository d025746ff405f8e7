"""SASRec (Kang and McAuley 2018, arXiv 1808.09781): the source of the item table and the baseline of every figure.

We differ from the paper on purpose: cross-entropy over the full catalogue at all positions instead of one sampled
negative, pre-norm blocks with GELU, learned positions counted from the first item read.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from layerprobe.arguments import checked, require_kind, require_whole
from layerprobe.data.batches import SequenceBatch
from layerprobe.errors import InputError
from layerprobe.ranges import DROPOUT, Range
from layerprobe.recommender.sequence_model import SequenceModel


@dataclass(frozen=True)
@checked
class SASRecOptions:
    """Shape of SASRec."""

    dim: Annotated[int, Range(1, 100_000)] = 64
    """Width of the item vectors and of the blocks."""
    blocks: Annotated[int, Range(1, 1000)] = 2
    """Number of attention blocks."""
    heads: Annotated[int, Range(1, 100_000)] = 1
    """Attention heads; divides dim."""
    dropout: Annotated[float, DROPOUT] = 0.4
    """Dropout on the inputs, in [0, 1)."""
    attention_dropout: Annotated[float, DROPOUT] = 0.2
    """Dropout on the attention weights, in [0, 1)."""
    block_dropout: Annotated[float, DROPOUT] = 0.0
    """Dropout on what a block adds to its input, in [0, 1); the usual 0.4 halved the speed of learning on Beauty."""
    max_len: Annotated[int, Range(1, 100_000)] = 50
    """Newest history items read."""

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise InputError(f"items.sasrec.heads must divide dim; got heads {self.heads} and dim {self.dim}")


class Block(nn.Module):
    """Causal self-attention and a feed-forward net, each on a normed input and added back."""

    def __init__(self, options: SASRecOptions) -> None:
        super().__init__()
        self.heads = options.heads
        self.attention_dropout = options.attention_dropout
        self.attention_norm = nn.LayerNorm(options.dim)
        self.query_key_value = nn.Linear(options.dim, 3 * options.dim)
        self.mix = nn.Linear(options.dim, options.dim)
        self.feed_norm = nn.LayerNorm(options.dim)
        self.feed = nn.Sequential(
            nn.Linear(options.dim, options.dim),
            nn.GELU(),
            nn.Dropout(options.block_dropout),
            nn.Linear(options.dim, options.dim),
        )
        self.drop = nn.Dropout(options.block_dropout)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Maps [batch, pos, dim] to the same shape; position i sees positions up to i."""
        states = states + self.drop(self._attend(self.attention_norm(states)))
        return states + self.drop(self.feed(self.feed_norm(states)))

    def _attend(self, states: torch.Tensor) -> torch.Tensor:
        batch, pos, dim = states.shape
        # One product for query, key and value instead of three.
        parts = self.query_key_value(states).view(batch, pos, 3, self.heads, dim // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each [batch, heads, pos, dim / heads]
        dropout = self.attention_dropout if self.training else 0.0  # the function does not know about eval mode
        mixed = scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        return self.mix(mixed.transpose(1, 2).reshape(batch, pos, dim))  # [batch, pos, dim], the heads side by side


class SASRec(SequenceModel):
    """Item embeddings, learned positions, causal blocks; the same table embeds and scores.

    Batches are right-padded, so padding lies after every real position and the causal mask alone hides it.

    Args:
        n_items: items of the catalogue.
        options: shape; None takes the defaults.
        seed: draws the weights and leaves torch's own random state alone; None draws from that.

    Raises:
        InputError: an argument is of a wrong kind.
    """

    def __init__(self, n_items: int, options: SASRecOptions | None = None, seed: int | None = None) -> None:
        super().__init__()
        require_whole("n_items", n_items, 1)
        if seed is not None:
            require_whole("seed", seed, 0)
        options = SASRecOptions() if options is None else options
        require_kind("options", options, SASRecOptions)
        with nullcontext() if seed is None else torch.random.fork_rng(devices=[]):
            if seed is not None:
                torch.manual_seed(seed)
            self._build(n_items, options)

    def _build(self, n_items: int, options: SASRecOptions) -> None:
        self.max_len = options.max_len
        self.items = nn.Embedding(n_items + 1, options.dim, padding_idx=0)
        self.positions = nn.Embedding(options.max_len, options.dim)
        self.drop = nn.Dropout(options.dropout)
        self.blocks = nn.ModuleList(Block(options) for _ in range(options.blocks))
        self.norm = nn.LayerNorm(options.dim)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.items.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)
        with torch.no_grad():  # drawing has overwritten the zero row of padding
            self.items.weight[0].zero_()

    def read(self, batch: SequenceBatch) -> torch.Tensor:
        """Returns the user vector of each read position, [read, dim]."""
        positions = torch.arange(batch.items.shape[1], device=batch.items.device)
        states = self.drop(self.items(batch.items) + self.positions(positions))  # [batch, pos, dim]
        for block in self.blocks:
            states = block(states)
        return self.norm(states[batch.row, batch.pos])  # [read, dim]; only what is read is normed

    def stacked_layers(self) -> list[nn.Module]:
        """Returns the blocks."""
        return list(self.blocks)

    def item_vectors(self) -> torch.Tensor:
        """Returns the tied item table, [n_items + 1, dim]."""
        return self.items.weight
