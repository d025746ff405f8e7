"""Ranking every exit of an 8-layer recommender in one pass against ranking the model, its last exit, alone.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/exits.py [--rounds 5] [--write]

What is ranked: all targets of the test part, whole catalogue and sampled negatives, from the histories to the table of
ranks. The last exit with its norm must count exactly as the model alone does. What one more exit adds is a product
with the catalogue (seven tenths of it at 12,101 items, by a profile) and counting, so its share is largest where the
model is narrow, the histories short and the catalogue large. `--write` puts the table into benchmarks/exits.md.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import process_time

import pandas as pd
import torch
from _histories import BEAUTY, MOVIELENS, Lengths, described, drawn
from _paired import HERE, Pair, in_turns, machine, options_of

from layerprobe.backbone.load import load_backbone
from layerprobe.backbone.options import BackboneOptions
from layerprobe.backbone.prompt import PromptTokens
from layerprobe.data.batches import query_batch
from layerprobe.data.splits import Split
from layerprobe.evaluation.ranks import Protocols, Scorer, rank_targets
from layerprobe.probing.exits import OWN_HEAD, ExitScorer
from layerprobe.recommender.model import Recommender, RecommenderOptions
from layerprobe.recommender.sasrec import SASRec, SASRecOptions
from layerprobe.recommender.sequence_model import ModelScorer

PREFIX, LAYERS, MAX_LEN, DIM, BATCH, ASKED = 69, 8, 50, 64, 64, 1.3


@dataclass(frozen=True)
class Case:
    """One size: catalogue and lengths, users ranked, negatives drawn, and the backbone's width, MLP and heads."""

    like: Lengths
    users: int
    sampled: int
    width: int
    inner: int
    heads: int


CASES = (
    Case(BEAUTY, 512, 999, 256, 688, 8),
    Case(BEAUTY, 256, 999, 512, 1376, 8),
    Case(MOVIELENS, 64, 900, 256, 688, 8),
    Case(MOVIELENS, 32, 900, 512, 1376, 8),
)


def build(case: Case) -> Recommender:
    """Returns an untrained Llama-shaped recommender with a shared prompt of 69 tokens."""
    shape = BackboneOptions(
        layers=LAYERS, hidden_size=case.width, intermediate_size=case.inner, heads=case.heads, max_positions=128
    )
    backbone = load_backbone(shape)
    table = torch.randn(case.like.items + 1, DIM, generator=torch.Generator().manual_seed(0))
    prompt = PromptTokens(prefix=torch.zeros(PREFIX, dtype=torch.int64))
    torch.manual_seed(0)
    return Recommender(backbone, backbone, table, RecommenderOptions(max_len=MAX_LEN), prompt).eval()


def ranking(scorer: Scorer, split: Split, sampled: int) -> Callable[[], dict[str, pd.DataFrame]]:
    """Returns a function that ranks every test target for every output of the scorer."""
    return lambda: rank_targets(scorer, split, ["test"], Protocols(sampled=sampled), BATCH)


def forward(model: Recommender, split: Split) -> Callable[[], None]:
    """Returns a function that runs the backbone over the same histories and scores nothing."""
    queries = split.queries("test")
    order = (queries.ends - queries.starts).argsort(kind="stable")

    def run() -> None:
        with torch.no_grad():
            for start in range(0, len(order), BATCH):
                model.read(query_batch(split, queries, order[start : start + BATCH], MAX_LEN))

    return run


def measure(case: Case, rounds: int) -> dict[str, list[float]]:
    """Times ranking of one output, of all normed exits and of all exits, and the forward pass alone, in turns."""
    model, split = build(case), drawn(case.like, case.users)
    every, alone = ExitScorer(model), ModelScorer(model)
    works = {
        "alone": ranking(alone, split, case.sampled),
        "normed": ranking(ExitScorer(model, kinds=("exit-norm",)), split, case.sampled),
        "all": ranking(every, split, case.sampled),
        "forward": forward(model, split),
    }
    pd.testing.assert_frame_equal(works["all"]()[f"exit-norm-{LAYERS}"], works["alone"]()["model"])
    return in_turns(works, rounds, process_time)


def sasrec_users_per_second(rounds: int) -> float:
    """Returns users per second of ranking a small SASRec over Beauty's catalogue: scoring and counting dominate."""
    torch.manual_seed(0)
    model, split = SASRec(BEAUTY.items, SASRecOptions(max_len=MAX_LEN)).eval(), drawn(BEAUTY, 4096)
    times = in_turns({"rank": ranking(ModelScorer(model), split, 999)}, rounds, process_time)["rank"]
    return len(split.evaluated) / statistics.median(times)


def row(case: Case, times: dict[str, list[float]]) -> str:
    """Returns one line of the table."""
    alone, normed, every, forward = (statistics.median(times[name]) for name in ("alone", "normed", "all", "forward"))
    pair = Pair(times["all"], times["alone"])
    low, high = pair.range
    extra = (every - alone) / ((LAYERS + 1) * len(OWN_HEAD) - 1) / case.users
    return (
        f"| {case.like.items:,} | {case.width} | {case.users:,} | {forward:.2f} | {alone:.2f} | {normed:.2f} | "
        f"{every:.2f} | {normed / alone:.2f} | **{pair.ratio:.2f}** | {low:.2f} to {high:.2f} | {extra * 1e6:.0f} |"
    )


def table(found: dict[Case, dict[str, list[float]]], users_per_second: float) -> str:
    """Returns the result as Markdown."""
    exits, rounds = LAYERS + 1, len(next(iter(found.values()))["all"])
    lines = [
        "# Ranking all exits in one pass",
        "",
        f"{LAYERS} layers, {exits} depths (0 to {LAYERS}) read in {len(OWN_HEAD)} ways: {exits} normed exits, "
        f"{exits * len(OWN_HEAD)} in all. Prompt of {PREFIX} tokens, shared; newest {MAX_LEN} items; item vectors "
        f"of {DIM}; float32; batches of {BATCH} users alike in length. Whole catalogue and sampled negatives (999; 900 "
        f"of the small catalogue). Processor seconds, medians of {rounds} rounds in turns.",
        f"Asked: all exits at most {ASKED} times the last one alone. The last normed exit counts exactly as the model.",
        f"{machine()}. Command: `OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/exits.py --rounds {rounds} --write`.",
        "",
        "| items | width | users | forward alone, s | last exit, s | normed exits, s | all exits, s | normed / last "
        "| all / last | per round | one more exit, µs per user |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        *(row(case, times) for case, times in found.items()),
        "",
        *(f"- {case.like.items:,} items: {described(drawn(case.like, case.users))}." for case in found),
        "",
        f"A SASRec (dim {DIM}, 2 blocks) over {BEAUTY.items:,} items ranks {users_per_second:,.0f} users per second.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures, prints and, if asked, writes the table."""
    options = options_of(__doc__, "exits.md", 5).parse_args()
    found = {case: measure(case, options.rounds) for case in CASES}
    text = table(found, sasrec_users_per_second(options.rounds))
    print(text)
    if options.write:
        (HERE / "exits.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
