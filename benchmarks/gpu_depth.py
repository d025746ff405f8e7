"""Llama-2-7B shapes at 32, 8 and 4 layers: time, memory and share of the matrix peak of a LoRA step and of scoring.

    python benchmarks/gpu_depth.py                      # one GPU of 40 GB or more; prints a table
    python benchmarks/gpu_depth.py --device cpu --dtype float32 --layers 4 --depths 2 1 --width 32 --intermediate 48 \
        --heads 2 --vocabulary 16 --catalogue 50 --dim 8 --train-batch 4 --score-batch 8     # a trial in seconds

Weights are random, built in their final type on the device; one depth is freed before the next is built. A step is
forward, loss at every item over the whole catalogue, backward, AdamW on LoRA, input map and head. Scoring is the product
with the whole catalogue. The prompt is read once for all users (shared) or once per user (repeated, as in the paper's
code). Memory is the peak that tensors take, weights included; it is measured on a GPU alone.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from _paired import machine
from _peak import matrix_peak, read_operations, step_operations
from transformers import LlamaConfig, PreTrainedModel

from layerprobe.backbone.load import load_backbone
from layerprobe.backbone.options import BackboneOptions
from layerprobe.backbone.prompt import PromptTokens
from layerprobe.data.batches import SequenceBatch
from layerprobe.recommender.losses import next_item_loss
from layerprobe.recommender.model import Recommender, RecommenderOptions
from layerprobe.training.adapters import TuningOptions, adapt, unwrapped

GIB = 2**30
PAPER = (
    "Paper (Table 7, A100): training 3.95 h / 0.60 h = 6.6 per epoch at batch 256, inference 0.415 h / 0.052 h = 8.0 at "
    "batch 512. Numerator: E4SRec with 32 layers; denominator: SLMRec with 4; both repeat the prompt and have one target "
    "per user. Their own 4 layers without distillation took 0.90 h and 0.083 h: 4.4 and 5.0."
)


@dataclass(frozen=True)
class Measured:
    """What one kind of work at one depth took.

    Attributes:
        seconds: median of the rounds.
        tokens: prompt tokens and items that the backbone reads.
        users: users in the batch.
        operations: floating-point operations of matrix products.
        peak_bytes: peak memory of tensors; None where it is not measured.
    """

    seconds: float
    tokens: int
    users: int
    operations: int
    peak_bytes: int | None


def clock_of(device: torch.device) -> Callable[[], float]:
    """Returns a clock that first waits for the device."""

    def clock() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock


def build_backbone(options: argparse.Namespace, depth: int) -> PreTrainedModel:
    """Returns the first `depth` layers of the shape, random, on the device and in the type asked for."""
    config = LlamaConfig(
        vocab_size=options.vocabulary,
        hidden_size=options.width,
        intermediate_size=options.intermediate,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.heads,
        bos_token_id=None,
        eos_token_id=None,
        dtype=options.dtype,
    )
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        asked = BackboneOptions(checkpoint=folder, init="random", keep=f"first:{depth}", dtype=options.dtype)
        with torch.device(options.device):
            return load_backbone(asked)


def recommenders(options: argparse.Namespace, depth: int) -> dict[str, Recommender]:
    """Returns one LoRA recommender per way of reading the prompt; they share the backbone."""
    network = adapt(build_backbone(options, depth), TuningOptions(method="lora"))
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(options.catalogue + 1, options.dim, generator=generator)
    prefix = torch.randint(0, options.vocabulary, (options.prefix,), generator=generator)
    surround = RecommenderOptions(max_len=options.items)
    return {
        name: Recommender(network, unwrapped(network), table, surround, PromptTokens(prefix, shared=shared)).to(
            options.device
        )
        for name, shared in (("shared", True), ("repeated", False))
    }


def batch_of(n_users: int, options: argparse.Namespace, every: bool) -> SequenceBatch:
    """Returns full histories, read at every item or at the last one alone."""
    generator = np.random.default_rng(0)
    items = torch.from_numpy(generator.integers(1, options.catalogue, (n_users, options.items + 1), endpoint=True))
    first = 0 if every else options.items - 1
    row, pos = (part.reshape(-1) for part in torch.meshgrid(torch.arange(n_users), torch.arange(first, options.items)))
    lengths = torch.full((n_users,), options.items)
    batch = SequenceBatch(items[:, :-1], lengths, row, pos, items[row, pos + 1], torch.full_like(row, -1))
    return batch.to(torch.device(options.device))
