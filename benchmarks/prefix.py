"""Shared prefix against repeated prompt: training steps and scoring of one recommender, in turns, in one process.

    python benchmarks/prefix.py [--rounds 9] [--write]

The repeated form is what the paper's released code does: 69 prompt tokens before every user's items. Both forms give
the same numbers (tests/recommender/test_prefix.py). `--write` puts the table into benchmarks/prefix.md.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from _paired import HERE, Pair, machine, options_of, paired

from layerprobe.backbone.load import load_backbone
from layerprobe.backbone.options import BackboneOptions
from layerprobe.backbone.prompt import PromptTokens
from layerprobe.data.batches import SequenceBatch, history_batch
from layerprobe.recommender.losses import next_item_loss
from layerprobe.recommender.model import Recommender, RecommenderOptions

PREFIX, ITEMS, LAYERS, WIDTH, BATCH, CATALOGUE, DIM = 69, 20, 8, 256, 128, 12_101, 64
ASKED = {"training step": 3.0, "scoring": 4.0}


def build(shared: bool) -> Recommender:
    """Returns a Llama-shaped recommender with a prompt of 69 tokens."""
    shape = BackboneOptions(layers=LAYERS, hidden_size=WIDTH, intermediate_size=688, heads=8, max_positions=128)
    backbone = load_backbone(shape)
    table = torch.randn(CATALOGUE + 1, DIM, generator=torch.Generator().manual_seed(0))
    prompt = PromptTokens(prefix=torch.zeros(PREFIX, dtype=torch.int64), shared=shared)
    torch.manual_seed(0)
    return Recommender(backbone, backbone, table, RecommenderOptions(max_len=ITEMS), prompt)


def users() -> SequenceBatch:
    """Returns 128 histories of 20 items with a target each."""
    generator = np.random.default_rng(0)
    histories = list(generator.integers(1, CATALOGUE + 1, size=(BATCH, ITEMS)))
    targets = torch.from_numpy(generator.integers(1, CATALOGUE + 1, size=BATCH))
    return dataclasses.replace(history_batch(histories, ITEMS), targets=targets)


def training_step(model: Recommender, batch: SequenceBatch):  # noqa: ANN201 - a closure
    """Returns a function that does one step: forward, loss over the catalogue, backward, AdamW."""
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-4)

    def step() -> None:
        model.train()
        next_item_loss(model.read(batch), model.item_vectors(), batch.targets).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def scoring(model: Recommender, batch: SequenceBatch):  # noqa: ANN201 - a closure
    """Returns a function that scores the whole catalogue for the batch."""

    def score() -> None:
        model.eval()
        with torch.no_grad():
            _ = model.read(batch) @ model.item_vectors().T

    return score


def table(found: dict[str, Pair]) -> str:
    """Returns the result as Markdown."""
    lines = [
        "# Shared prefix against repeated prompt",
        "",
        f"Prompt of {PREFIX} tokens, {ITEMS} items, {LAYERS} layers, width {WIDTH}, {BATCH} users per batch, "
        f"{CATALOGUE:,} items, float32.",
        f"{machine()}. Command: `python benchmarks/prefix.py --write`.",
        "",
        "| | repeated, s | shared, s | ratio of medians | ratio per round | asked |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, pair in found.items():
        slow, fast = (float(np.median(times)) for times in (pair.slow, pair.fast))
        low, high = pair.range
        lines.append(
            f"| {name} | {slow:.3f} | {fast:.3f} | **{pair.ratio:.1f}** | {low:.1f} to {high:.1f} | {ASKED[name]:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures, prints and, if asked, writes the table."""
    options = options_of(__doc__, "prefix.md", 9).parse_args()
    repeated, shared, batch = build(False), build(True), users()
    found = {"scoring": paired(scoring(repeated, batch), scoring(shared, batch), options.rounds)}
    found["training step"] = paired(training_step(repeated, batch), training_step(shared, batch), options.rounds)
    text = table(found)
    print(text)
    if options.write:
        (HERE / "prefix.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
