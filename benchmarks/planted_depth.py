"""Whether a study decides the depth that its data need: needed depth 1, 2 and 3, ten studies of three seeds each.

    OMP_NUM_THREADS=1 python benchmarks/planted_depth.py [--planted 1 2 3] [--seeds 0 1 ... 9] [--write]

Every study trains five models, depths 0 to 4, with three training seeds on built-in data and decides by the default
rule. The seed of a study is that of its data; each training draws its own weights. Studies lie in runs/planted-depth: a
finished one is read again and its decision brought up to date, an unfinished one starts anew. The table comes from
their `decision.json` alone.
`--write` puts it into benchmarks/planted_depth.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from pathlib import Path
from time import process_time
from typing import Any

import torch
from _paired import HERE, machine
from transformers import MistralConfig, MistralModel

from layerprobe.backbone.options import BackboneOptions
from layerprobe.data.synthetic import SyntheticOptions, needed_depth
from layerprobe.pipeline.run import run_stages
from layerprobe.recommender.model import RecommenderOptions
from layerprobe.recommender.sasrec import SASRecOptions
from layerprobe.store.decision import KEEP
from layerprobe.study.spec import DataSpec, EvaluationSpec, ItemsSpec, ProbeSpec, SimilaritySpec, StudySpec
from layerprobe.study.study import Study
from layerprobe.training.options import TrainingOptions

RUNS = HERE.parent / "runs" / "planted-depth"
LAYERS, HEADS, INIT_STD, WINDOW, ASKED = 4, 2, 0.06, 2, 9
TRAININGS = 3
ONE_KIND = {"share_markov": 0.0, "share_induction": 0.0, "popularity_skew": 0.0, "private_min": 5}
NOTES = """
*Right*: the verdict is to keep the planted depth; asked: at least {asked} of 10. A study that decides nothing, or for
a baseline, has a `-`. NDCG@10 is of the test users in the whole catalogue, mean over studies and, in brackets, lowest
and highest study. Seconds are those of the processor for one whole study up to its decision, median: data, SASRec and
five models with three seeds each, exits, similarity, bootstrap.

What is planted, and why fewer layers cannot do:

- 1: `lagged` users, lag 2. The item before the last decides the next one and the last one says nothing, so depth 0,
  which sees the last item alone, is at chance.
- 2: `induction` users. What followed the last item in the user's own history last time; one attention layer cannot
  tell what stood before an item.
- 3: `lagged` users, lag {lag}, read by a backbone whose attention has a window of {window}: each layer sees one
  position back, so depth 3 sees the deciding item and depth 2 does not, and is at chance. `composed` users (h = 3)
  need no window, but are left out for two reasons. Where they own 5, 7 or 9 items their test target can also be told
  by one look-up or by elimination; where they own 11, three layers stayed at chance for 2,800 and 5,000 steps (seed
  100, one run each, beside 30 % and 40 % of induction users), which is more than a study here can spend.

Sizes were chosen on seeds 100 and 101, by whether the deeper models train to the end; the seeds of the table were
not looked at before the sizes stood. The rule, margin and error level are the defaults. The trainings of study s have
the seeds s, s + 100 and s + 200, each with weights of its own.
"""


@dataclass(frozen=True)
class Planted:
    """One planted depth: its data and a budget that trains the models that can learn the rule."""

    depth: int
    data: SyntheticOptions
    width: int
    epochs: int
    window: int | None = None

    @cached_property
    def needed(self) -> int:
        """The depth that suffices by construction."""
        if self.window is None:
            return needed_depth(self.data)
        return ceil((self.data.lag - 1) / (self.window - 1))

    @property
    def sizes(self) -> str:
        """Users, items and training in one line."""
        data = self.data
        items = data.induction_items if data.share_induction else data.lagged_items
        return (
            f"{data.n_users:,} users of {data.max_length} items, catalogue of {items}; width {self.width}, "
            f"{self.epochs} epochs"
        )


LAGGED = SyntheticOptions(
    **ONE_KIND | {"share_lagged": 1.0}, n_users=1500, min_length=24, max_length=24, private_max=5, lagged_items=48
)
INDUCTION = SyntheticOptions(
    **ONE_KIND | {"share_induction": 1.0}, n_users=4000, min_length=32, max_length=32, private_max=7, induction_items=10
)
CASES = (
    Planted(1, LAGGED, width=32, epochs=4),
    Planted(2, INDUCTION, width=64, epochs=4),
    Planted(3, replace(LAGGED, lag=4, lagged_items=24, n_users=2000), width=32, epochs=6, window=WINDOW),
)


def spec(case: Planted, seed: int) -> StudySpec:
    """Returns the study of one planted depth and seed."""
    read = case.data.max_length - 2
    train = TrainingOptions(
        epochs=case.epochs, batch_size=32, learning_rate=0.003, warmup_steps=50, final_rate=0.1, patience=None
    )
    return StudySpec(
        name=f"planted-{case.depth}-seed-{seed}",
        data=DataSpec(synthetic=replace(case.data, seed=seed), seed=seed),
        items=ItemsSpec(
            kind="random",
            sasrec=SASRecOptions(dim=32, blocks=1, heads=1, dropout=0.1, max_len=read),
            training=replace(train, epochs=1, batch_size=64, warmup_steps=10),
        ),
        backbone=backbone(case),
        recommender=RecommenderOptions(max_len=read),
        training=train,
        evaluation=EvaluationSpec(sampled=None, remove_history=False, ks=[10], n_boot=100),
        probe=ProbeSpec(seeds=[seed + 100 * training for training in range(TRAININGS)]),
        similarity=SimilaritySpec(rows=64, n_boot=100, n_permutations=20, measures=["cka"]),
    )


def backbone(case: Planted, seed: int | None = None) -> BackboneOptions:
    """Returns a backbone of random weights; one with a window takes its shape from a checkpoint made here.

    Args:
        case: what is planted.
        seed: draws the weights; None draws them with the training seed.
    """
    if case.window is not None:
        return BackboneOptions(checkpoint=str(windowed(case.width, case.window)), init="random", init_seed=seed)
    return BackboneOptions(
        layers=LAYERS,
        hidden_size=case.width,
        intermediate_size=ceil(case.width * 8 / 3),
        heads=HEADS,
        init_std=INIT_STD,
        init_seed=seed,
        max_positions=case.data.max_length,
    )


def windowed(width: int, window: int) -> Path:
    """Writes, once, a Mistral of four layers with sliding attention in the shape of the other backbones."""
    folder = RUNS / f"mistral-{width}-window-{window}"
    if not (folder / "model.safetensors").exists():  # written last
        torch.manual_seed(0)
        shape = MistralConfig(
            vocab_size=8,
            hidden_size=width,
            intermediate_size=ceil(width * 8 / 3),
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            max_position_embeddings=128,
            sliding_window=window,
            initializer_range=INIT_STD,
        )
        MistralModel(shape).save_pretrained(folder)
    return folder


def decided(case: Planted, seed: int) -> dict[str, Any]:
    """Runs one study up to its decision and returns `decision.json` with the seconds of the whole study."""
    folder, timed = RUNS / f"{case.depth}-seed-{seed}", RUNS / f"{case.depth}-seed-{seed}.json"
    if folder.exists() and not timed.exists():
        shutil.rmtree(folder)
    started = process_time()
    run_stages(Study(spec(case, seed), folder), "decide")
    if not timed.exists():
        timed.write_text(json.dumps({"seconds": process_time() - started}), encoding="utf-8")
    found = json.loads((folder / "decision.json").read_text(encoding="utf-8"))
    return found | json.loads(timed.read_text(encoding="utf-8"))


def kept(found: dict[str, Any]) -> int | None:
    """Returns the number of layers to keep, by the verdict; None where it is another one."""
    return found["depth"] if found["verdict"] == KEEP else None


def row(case: Planted, found: list[dict[str, Any]]) -> str:
    """Returns one line of the table."""
    depths = [kept(one) for one in found]
    values = zip(*([each["value"] for each in one["depths"]] for one in found), strict=True)
    curve = [f"{statistics.mean(each):.3f} ({min(each):.3f} to {max(each):.3f})" for each in values]
    seconds = statistics.median(one["seconds"] for one in found)
    right = f"**{depths.count(case.depth)} of {len(depths)}**"
    decided = " ".join("-" if depth is None else str(depth) for depth in depths)
    return f"| {case.depth} | {right} | {decided} | {' | '.join(curve)} | {seconds:.0f} |"


def table(found: dict[Planted, list[dict[str, Any]]], seeds: list[int]) -> str:
    """Returns the result as Markdown."""
    lines = [
        "# Is the needed depth found?",
        "",
        f"{machine()}. Command: `OMP_NUM_THREADS=1 python benchmarks/planted_depth.py --write`.",
        f"Teacher of {LAYERS} layers, all depths trained on their own with {TRAININGS} seeds; studies "
        f"{' '.join(map(str, seeds))}.",
        "",
        "| planted | right | decided, by study | "
        + " | ".join(f"NDCG@10 at {depth}" for depth in range(LAYERS + 1))
        + " | s per study |",
        "|---:|---:|---|" + "---:|" * (LAYERS + 2),
        *(row(case, each) for case, each in found.items()),
        "",
        *(f"- Planted {case.depth}: {case.sizes}." for case in found),
    ]
    lag = next(case.data.lag for case in CASES if case.window)
    return "\n".join(lines) + "\n" + NOTES.format(asked=ASKED, lag=lag, window=WINDOW)


def main() -> None:
    """Runs the studies, prints and, if asked, writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planted", type=int, nargs="+", choices=[case.depth for case in CASES], default=[1, 2, 3])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--write", action="store_true", help="write benchmarks/planted_depth.md")
    options = parser.parse_args()
    cases = [case for case in CASES if case.depth in options.planted]
    assert all(case.needed == case.depth for case in cases)
    found = {case: [decided(case, seed) for seed in options.seeds] for case in cases}
    text = table(found, options.seeds)
    print(text)
    if options.write:
        (HERE / "planted_depth.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
