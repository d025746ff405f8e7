"""Useful targets per second of a training step: ours against the algorithm of the paper's released code.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/release_algorithm.py [--data FOLDER] [--rounds 5] [--write]

The release trains on one target per user, the last training item; in front of every user stand the 69 prompt tokens,
and the history is padded on the left to 30 items; cross-entropy over all items. It is stated again below in plain code.
Ours: a target at every position, batches of users alike in length, the prompt read once per step. Both have the same
backbone shape, item vectors, catalogue and optimiser, and train every weight. A useful target is a supervised position.

Histories are drawn with the lengths of Amazon Beauty; `--data FOLDER`, written by `layerprobe prepare`, adds the same
on real ones. `--write` puts the table into benchmarks/release_algorithm.md.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np
import torch
from _histories import BEAUTY, described, drawn, prepared
from _paired import HERE, Pair, in_turns, machine, options_of
from _peak import matrix_peak, step_operations
from torch import nn
from torch.nn.functional import cross_entropy

from layerprobe.backbone.load import load_backbone
from layerprobe.backbone.options import BackboneOptions
from layerprobe.backbone.prompt import PromptTokens
from layerprobe.data.batches import SequenceBatch
from layerprobe.data.splits import Split
from layerprobe.data.train_batches import TrainBatches
from layerprobe.recommender.losses import next_item_loss
from layerprobe.recommender.model import Recommender, RecommenderOptions
from layerprobe.recommender.sasrec import SASRec, SASRecOptions
from layerprobe.recommender.sequence_model import SequenceModel

PREFIX, LAYERS, WIDTH, INNER, HEADS, DIM = 69, 8, 256, 688, 8, 64
MAX_LEN, RELEASE_LEN, USERS, STEPS, ASKED, PEAK_SIZE = 50, 30, 64, 8, 10, 2048
SHAPE = BackboneOptions(layers=LAYERS, hidden_size=WIDTH, intermediate_size=INNER, heads=HEADS, max_positions=128)


class Release(nn.Module):
    """The released code's model: prompt, left-padded items, last position, linear map, product with all items."""

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.backbone = load_backbone(SHAPE)
        self.register_buffer("table", table)
        self.input_map = nn.Linear(DIM, WIDTH)
        self.score = nn.Linear(WIDTH, DIM, bias=False)

    def loss(self, items: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Returns the cross-entropy of one target per user; `items` is [users, 30], padded on the left with 0."""
        prompt = self.backbone.get_input_embeddings()(torch.zeros(len(items), PREFIX, dtype=torch.int64))
        inputs = torch.cat([prompt, self.input_map(self.table[items])], dim=1)
        mask = torch.cat([torch.ones(len(items), PREFIX, dtype=torch.int64), (items > 0).long()], dim=1)
        states = self.backbone(inputs_embeds=inputs, attention_mask=mask, use_cache=False).last_hidden_state
        return cross_entropy(self.score(states[:, -1]) @ self.table[1:].T, targets - 1)


def release_batch(split: Split, users: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the newest 30 items before each user's last training item, padded on the left, and that item."""
    ends = split.train_ends[users] - 1
    source = ends[:, None] + np.arange(-RELEASE_LEN, 0)
    real = source >= split.sequences.offsets[users][:, None]
    items = np.where(real, split.sequences.items[np.maximum(source, 0)], 0)
    return torch.from_numpy(items), torch.from_numpy(split.sequences.items[ends])


def optimized(model: nn.Module, losses: list[Callable[[], torch.Tensor]]) -> Callable[[], None]:
    """Returns a function that does one step per loss: forward, backward, AdamW."""
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-4)
    model.train()

    def run() -> None:
        for loss in losses:
            loss().backward()
            optimizer.step()
            optimizer.zero_grad()

    return run


def our_steps(model: SequenceModel, batches: list[SequenceBatch]) -> Callable[[], None]:
    """Returns a function that does one step of our training on each batch."""
    return optimized(model, [partial(our_loss, model, batch) for batch in batches])


def our_loss(model: SequenceModel, batch: SequenceBatch) -> torch.Tensor:
    """Returns the loss of a training step."""
    return next_item_loss(model.read(batch), model.item_vectors(), batch.targets)


@dataclass(frozen=True)
class Steps:
    """What some training steps do.

    Attributes:
        name: whose they are.
        seconds: of all steps together, per round.
        users, targets, tokens: in all steps; tokens are prompt and items that are read, padding left out.
        operations: floating-point operations of their matrix products; None where they are not counted.
    """

    name: str
    seconds: list[float]
    users: int
    targets: int
    tokens: int
    operations: int | None


def first_batches(split: Split, users: int) -> list[SequenceBatch]:
    """Returns the first batches of an epoch, whose order is random; `users` is their mean number of users."""
    batches = TrainBatches(split, MAX_LEN, users, "all", seed=0)
    return [batches.build(one) for one in batches.plan(0)[:STEPS]]


def steps_of(name: str, model: SequenceModel, batches: list[SequenceBatch], seconds: list[float]) -> Steps:
    """Returns what our steps do on these batches."""
    prompt = PREFIX * len(batches) if isinstance(model, Recommender) else 0
    return Steps(
        name,
        seconds,
        sum(len(batch) for batch in batches),
        sum(len(batch.targets) for batch in batches),
        prompt + sum(int(batch.lengths.sum()) for batch in batches),
        sum(step_operations(model, batch) for batch in batches),
    )


def measure(split: Split, rounds: int) -> list[Steps]:
    """Times one step of the release and some of ours, in turns."""
    table = torch.randn(split.sequences.n_items + 1, DIM, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    release, backbone = Release(table), load_backbone(SHAPE)
    prompt = PromptTokens(prefix=torch.zeros(PREFIX, dtype=torch.int64))
    ours = Recommender(backbone, backbone, table, RecommenderOptions(max_len=MAX_LEN), prompt)
    users = np.random.default_rng(0).permutation(split.evaluated)[:USERS]
    items, targets = release_batch(split, users)
    batches = first_batches(split, USERS)
    works = {"release": optimized(release, [lambda: release.loss(items, targets)]), "ours": our_steps(ours, batches)}
    times = in_turns(works, rounds, process_time)
    tokens = PREFIX * USERS + int((items > 0).sum())
    stated = Steps("the release's algorithm", times["release"], USERS, len(targets), tokens, None)
    return [stated, steps_of("ours", ours, batches, times["ours"])]


def measure_sasrec(split: Split, rounds: int) -> Steps:
    """Times steps of SASRec, whose item table is trained."""
    torch.manual_seed(0)
    model = SASRec(split.sequences.n_items, SASRecOptions(dim=DIM, blocks=2, max_len=MAX_LEN))
    batches = first_batches(split, 2 * USERS)
    seconds = in_turns({"ours": our_steps(model, batches)}, rounds, process_time)["ours"]
    return steps_of("SASRec, ours", model, batches, seconds)


def row(data: str, steps: Steps, release: Steps, peak: float) -> str:
    """Returns one line of the table; the ratio is that of targets per second."""
    seconds = statistics.median(steps.seconds)
    share = "" if steps.operations is None else f"{steps.operations / seconds / peak:.0%}"
    pair = Pair([t / release.targets for t in release.seconds], [t / steps.targets for t in steps.seconds])
    low, high = pair.range
    ratio = "| 1 | " if steps is release else f"| **{pair.ratio:.0f}** | {low:.0f} to {high:.0f}"
    return (
        f"| {data} | {steps.name} | {steps.users:,} | {steps.targets:,} | {seconds:.2f} "
        f"| {steps.targets / seconds:,.0f} | {steps.tokens / seconds:,.0f} {ratio} | {share} |"
    )


def table(found: dict[str, tuple[Split, list[Steps]]], peak: float) -> str:
    """Returns the result as Markdown."""
    rounds = len(next(iter(found.values()))[1][0].seconds)
    lines = [
        "# Training: ours against the release's algorithm",
        "",
        f"{LAYERS} layers, width {WIDTH}, all weights trained with AdamW; prompt of {PREFIX} tokens; item vectors of "
        f"{DIM}; float32. The release: {USERS} users per step, one target each, {PREFIX} + {RELEASE_LEN} positions per "
        f"user. Ours: {STEPS} steps of {USERS} users on average, at most {MAX_LEN} items. SASRec: dim {DIM}, 2 blocks, "
        f"{STEPS} steps of {2 * USERS} users.",
        f"A useful target is a supervised position. Asked: {ASKED} times as many per second. Processor seconds, "
        f"medians of {rounds} rounds in turns.",
        f"Matrix peak: {peak / 1e9:.0f} GFLOP/s, measured on a product of two float32 matrices of {PEAK_SIZE:,} rows; "
        "its share counts the matrix products of forward and backward.",
        f"{machine()}. Command: `OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/release_algorithm.py "
        f"{'--data FOLDER ' if 'real' in found else ''}--rounds {rounds} --write`.",
        "",
        "| data | steps of | users | targets | seconds | targets / s | tokens / s | ratio | per round | of peak |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for data, (_, steps) in found.items():
        lines += [row(data, one, steps[0], peak) for one in steps]
    lines += ["", *(f"- {data}: {described(split)}." for data, (split, _) in found.items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures, prints and, if asked, writes the table."""
    parser = options_of(__doc__, "release_algorithm.md", 5)
    parser.add_argument("--data", type=Path, help="data folder of Amazon Beauty, or another, from `layerprobe prepare`")
    options = parser.parse_args()
    splits = {"drawn": drawn(BEAUTY)}
    if options.data is not None:
        splits["real"] = prepared(options.data)
    found = {name: (split, measure(split, options.rounds)) for name, split in splits.items()}
    found["drawn"][1].append(measure_sasrec(splits["drawn"], options.rounds))
    text = table(found, matrix_peak(PEAK_SIZE, process_time))
    print(text)
    if options.write:
        (HERE / "release_algorithm.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
