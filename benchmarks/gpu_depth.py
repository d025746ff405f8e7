"""Llama-2-7B shapes at 32, 8 and 4 layers: time, memory and share of the matrix peak of a LoRA step and of scoring.

    python benchmarks/gpu_depth.py                      # one GPU of 40 GB or more; prints a table
    python benchmarks/gpu_depth.py --device cpu --dtype float32 --layers 4 --depths 2 1 --width 32 --intermediate 48 \
        --heads 2 --vocabulary 16 --catalogue 50 --dim 8 --train-batch 4 --score-batch 8 --peak-size 128    # a trial

Weights are random, built in their final type on the device; one depth is freed before the next is built. A step is
forward, loss at every item over the whole catalogue, backward, AdamW on LoRA, input map and head. Scoring multiplies
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
    "Paper (Table 7, A100), both with the prompt repeated and one target per user: training 3.95 h / 0.60 h = 6.6 per "
    "epoch at batch 256, inference 0.415 h / 0.052 h = 8.0 at batch 512. Numerator: E4SRec, 32 layers; denominator: "
    "SLMRec, 4 layers. Its own 4 layers without distillation took 0.90 h and 0.083 h, which is 4.4 and 5.0."
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
    pos = torch.arange(first, options.items).repeat(n_users)
    row = torch.arange(n_users).repeat_interleave(options.items - first)
    lengths = torch.full((n_users,), options.items)
    batch = SequenceBatch(items[:, :-1], lengths, row, pos, items[row, pos + 1], torch.full_like(row, -1))
    return batch.to(torch.device(options.device))


def training_step(model: Recommender, batch: SequenceBatch, options: argparse.Namespace) -> Callable[[], None]:
    """Returns a function that does one step in the precision in which training runs on a GPU."""
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-4)
    low = options.dtype == "bfloat16"

    def step() -> None:
        model.train()
        with torch.autocast(torch.device(options.device).type, dtype=torch.bfloat16, enabled=low):
            loss = next_item_loss(model.read(batch), model.item_vectors(), batch.targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def scoring(model: Recommender, batch: SequenceBatch, options: argparse.Namespace) -> Callable[[], None]:
    """Returns a function that scores the whole catalogue for the batch."""
    low = options.dtype == "bfloat16"

    def score() -> None:
        model.eval()
        with torch.no_grad(), torch.autocast(torch.device(options.device).type, dtype=torch.bfloat16, enabled=low):
            _ = model.read(batch) @ model.item_vectors().T

    return score


def measure(model: Recommender, kind: str, options: argparse.Namespace) -> Measured:
    """Times one kind of work, `training step` or `scoring`, after two rounds that are not timed."""
    training, device = kind == "training step", torch.device(options.device)
    users = options.train_batch if training else options.score_batch
    batch = batch_of(users, options, training)
    work = (training_step if training else scoring)(model, batch, options)
    work(), work()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    clock, seconds = clock_of(device), []
    for _ in range(options.rounds):
        started = clock()
        work()
        seconds.append(clock() - started)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    once = options.prefix if model.shares_prefix and training else 0  # in evaluation it is remembered
    each = options.items + (0 if model.shares_prefix else options.prefix)
    return Measured(statistics.median(seconds), once + users * each, users, operations(model, kind, options), peak)


def operations(model: Recommender, kind: str, options: argparse.Namespace) -> int:
    """Returns the operations of one batch, from those of one and of two users: they grow by the same with each."""
    training = kind == "training step"
    count, users = (step_operations, options.train_batch) if training else (read_operations, options.score_batch)
    model.train(training)
    one, two = (count(model, batch_of(n, options, training)) for n in (1, 2))
    return one + (users - 1) * (two - one)


def measure_depth(options: argparse.Namespace, depth: int) -> dict[tuple[str, str], Measured]:
    """Measures one depth, then frees it."""
    models = recommenders(options, depth)
    found = {
        (kind, prompt): measure(model, kind, options)
        for kind in ("training step", "scoring")
        for prompt, model in models.items()
    }
    del models
    gc.collect()
    if torch.device(options.device).type == "cuda":
        torch.cuda.empty_cache()
    return found


def table(options: argparse.Namespace, found: dict[int, dict[tuple[str, str], Measured]], peak: float) -> str:
    """Returns the result as Markdown; each ratio is the full depth's seconds over this depth's, all else equal."""
    lines = [
        "# Depth on one device",
        "",
        f"Llama of {options.layers} layers, width {options.width:,}, MLP {options.intermediate:,}, {options.heads} "
        f"heads, vocabulary {options.vocabulary:,}; {options.dtype}; LoRA rank 16 on the MLP. Prompt of "
        f"{options.prefix} tokens, histories of {options.items}; catalogue of {options.catalogue:,} with {options.dim} "
        f"dimensions. {options.train_batch} users per step, each item a target; {options.score_batch} users per "
        f"scoring. Medians of {options.rounds} rounds.",
        f"{device_name(options)}; matrix peak {peak / 1e12:.3g} TFLOP/s, measured. {machine()}.",
        "",
        "| work | prompt | layers | milliseconds | full depth / this | users per s | tokens per s | share of peak "
        "| peak memory, GiB |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for kind, prompt in found[options.layers]:
        full = found[options.layers][kind, prompt].seconds
        for depth in found:
            one = found[depth][kind, prompt]
            memory = "not measured" if one.peak_bytes is None else f"{one.peak_bytes / GIB:.1f}"
            lines.append(
                f"| {kind} | {prompt} | {depth} | {one.seconds * 1e3:.4g} | {full / one.seconds:.3g} "
                f"| {one.users / one.seconds:,.0f} | {one.tokens / one.seconds:,.0f} "
                f"| {one.operations / one.seconds / peak:.1%} | {memory} |"
            )
    return "\n".join([*lines, "", PAPER]) + "\n"


def device_name(options: argparse.Namespace) -> str:
    """Returns the name of the device measured on."""
    device = torch.device(options.device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def parse() -> argparse.Namespace:
    """Returns the options; refuses to start without a GPU unless another device is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shape = {
        "layers": 32, "width": 4096, "intermediate": 11_008, "heads": 32, "vocabulary": 32_000, "prefix": 69,
        "items": 30, "catalogue": 12_101, "dim": 128, "train-batch": 32, "score-batch": 256, "rounds": 7,
        "peak-size": 8192,
    }  # fmt: skip
    for name, default in shape.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--depths", type=int, nargs="+", default=[8, 4], help="depths beside the full one")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    options = parser.parse_args()
    if torch.device(options.device).type == "cuda" and not torch.cuda.is_available():
        print(
            "gpu_depth: needs an NVIDIA GPU, and torch finds none; for a trial give --device cpu and a small shape",
            file=sys.stderr,
        )
        raise SystemExit(2)
    return options


def main() -> None:
    """Measures and prints the table."""
    options = parse()
    device = torch.device(options.device)
    peak = matrix_peak(options.peak_size, clock_of(device), device=device, dtype=getattr(torch, options.dtype))
    depths = [options.layers, *options.depths]
    print(table(options, {depth: measure_depth(options, depth) for depth in depths}, peak))


if __name__ == "__main__":
    main()
