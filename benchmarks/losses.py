"""Losses over large catalogues: CPU seconds of one step, in turns, and peak memory in processes of their own.

    python benchmarks/losses.py [--rounds 5] [--write]

A step is the draw of items where there is one, the loss of 1,800 positions, and the gradients of user and item vectors.
What the optimiser does with the item vectors comes on top and is the same for all. One thread is used,
so that CPU seconds suffer little from other load. `--write` puts the table into
benchmarks/losses.md.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import torch
from _paired import HERE, Pair, machine, options_of, paired
from torch.nn.functional import cross_entropy

from layerprobe.data.sampled_items import ItemSampler
from layerprobe.recommender.losses import LossOptions, next_item_loss

ROWS, DIM, DRAWN, MIB = 1_800, 64, 1_000, 2**20
BEAUTY, LARGE = 12_101, 300_000
NAMES = {
    "plain": "softmax, whole matrix of logits",
    "full": "`softmax` (the default, in chunks)",
    "sampled": f"`sampled-softmax`, {DRAWN:,} negatives",
}
PAIRS = ((BEAUTY, "plain", "full"), (BEAUTY, "full", "sampled"), (LARGE, "full", "sampled"))


def step(kind: str, n_items: int) -> Callable[[], None]:
    """Returns a function that does one step of this kind over random vectors."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(ROWS, DIM, generator=generator, requires_grad=True)
    items = (torch.randn(n_items + 1, DIM, generator=generator) * 0.1).requires_grad_()
    targets = torch.randint(1, n_items + 1, (ROWS,), generator=generator)
    sampler = ItemSampler(n_items, min(DRAWN, n_items), "uniform", None, 0)
    options = LossOptions("sampled-softmax", negatives=sampler.n)
    steps = count()

    def run() -> None:
        vectors.grad = items.grad = None
        if kind == "plain":
            loss = cross_entropy(vectors @ items[1:].T, targets - 1)
        elif kind == "full":
            loss = next_item_loss(vectors, items, targets)
        else:
            loss = next_item_loss(vectors, items, targets, options, sampler.draw(next(steps)))
        loss.backward()

    return run


def status(name: str) -> int:
    """Returns a memory figure of this process in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def peak_of(kind: str, n_items: int) -> int:
    """Returns the largest memory during one step, above what vectors and libraries take before it, in bytes."""
    step(kind, 200)()  # what a first call loads and keeps is no part of a step
    work, held = step(kind, n_items), status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    work()
    return status("VmHWM") - held


def peak_in_child(kind: str, n_items: int) -> float:
    """Measures `peak_of` in a fresh process; in MiB."""
    arguments = [sys.executable, __file__, "--peak", kind, str(n_items)]
    return int(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout) / MIB


def table(pairs: dict[tuple[int, str, str], Pair], peaks: dict[tuple[int, str], float]) -> str:
    """Returns the result as Markdown."""
    rounds = len(next(iter(pairs.values())).slow)
    lines = [
        "# Losses over large catalogues",
        "",
        f"{ROWS:,} positions, {DIM} dimensions, float32; one step is draw, loss and the gradients of user and item "
        f"vectors. CPU seconds of one thread, medians of {rounds} rounds; each row is a pair "
        "that was timed in turns. Peak memory: above what lay in memory before the step; "
        f"the gradient of the item vectors takes {4 * DIM * BEAUTY / MIB:.0f} MiB of it at {BEAUTY:,} items and "
        f"{4 * DIM * LARGE / MIB:.0f} MiB at {LARGE:,}.",
        f"{machine()}, load average {os.getloadavg()[0]:.0f} (above 2, the times are rough). "
        f"Command: `python benchmarks/losses.py --rounds {rounds} --write`.",
        "",
        "| items | slow | fast | slow, s | fast, s | ratio of medians | ratio per round | slow, MiB | fast, MiB |",
        "|---:|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for (n_items, slow, fast), pair in pairs.items():
        low, high = pair.range
        seconds = f"{statistics.median(pair.slow):.3f} | {statistics.median(pair.fast):.3f}"
        memory = f"{peaks[n_items, slow]:,.0f} | {peaks[n_items, fast]:,.0f}"
        ratio = f"**{pair.ratio:.1f}** | {low:.1f} to {high:.1f}"
        lines.append(f"| {n_items:,} | {NAMES[slow]} | {NAMES[fast]} | {seconds} | {ratio} | {memory} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures, prints and, if asked, writes the table."""
    parser = options_of(__doc__, "losses.md", 5)
    parser.add_argument("--peak", nargs=2, metavar=("KIND", "ITEMS"), help="print the peak memory of one step, no more")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(peak_of(options.peak[0], int(options.peak[1])))
        return
    cases = sorted({(n_items, kind) for n_items, *kinds in PAIRS for kind in kinds})
    peaks = {case: peak_in_child(case[1], case[0]) for case in cases}
    pairs = {
        (n_items, slow, fast): paired(step(slow, n_items), step(fast, n_items), options.rounds, time.process_time)
        for n_items, slow, fast in PAIRS
    }
    text = table(pairs, peaks)
    print(text)
    if options.write:
        (HERE / "losses.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
