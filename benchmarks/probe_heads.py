"""Fitting a head per depth to a frozen 8-layer recommender against one evaluation of it.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/probe_heads.py [--rounds 3] [--write]

One evaluation is what every variant goes through after its training: validation and test targets ranked among the whole
catalogue and the sampled negatives. The heads are fitted to the training histories of the same users with the default
options, and give a whole depth curve where an evaluation gives a point. `--write` writes benchmarks/probe_heads.md.
"""

from __future__ import annotations

import statistics
from time import process_time

from _histories import BEAUTY, MOVIELENS, described, drawn
from _paired import HERE, Pair, in_turns, machine, options_of
from exits import BATCH, LAYERS, MAX_LEN, Case, build

from layerprobe.data.splits import PARTS
from layerprobe.evaluation.ranks import Protocols, rank_targets
from layerprobe.probing.exits import ExitScorer
from layerprobe.probing.probe_heads import ProbeHeadOptions, fit_probe_heads
from layerprobe.recommender.sequence_model import ModelScorer
from layerprobe.training.options import TrainingOptions, train_batches

CASES = (Case(BEAUTY, 1024, 999, 256, 688, 8), Case(MOVIELENS, 128, 900, 256, 688, 8))
ASKED = "about the price of one evaluation"


def measure(case: Case, rounds: int) -> dict[str, list[float]]:
    """Times one evaluation, the fit of all heads, and an evaluation of all exits, in turns."""
    model, split = build(case).requires_grad_(False), drawn(case.like, case.users)
    batches = train_batches(split, MAX_LEN, TrainingOptions(batch_size=BATCH), seed=0, extra=model.extra_positions)
    protocols = Protocols(sampled=case.sampled)
    heads = fit_probe_heads(model, batches)
    works = {
        "evaluation": lambda: rank_targets(ModelScorer(model), split, PARTS, protocols, BATCH),
        "fit": lambda: fit_probe_heads(model, batches),
        "exits": lambda: rank_targets(ExitScorer(model, heads), split, PARTS, protocols, BATCH),
    }
    return in_turns(works, rounds, process_time)


def row(case: Case, times: dict[str, list[float]]) -> str:
    """Returns one line of the table."""
    evaluation, fit, exits = (statistics.median(times[name]) for name in ("evaluation", "fit", "exits"))
    pair = Pair(times["fit"], times["evaluation"])
    low, high = pair.range
    return (
        f"| {case.like.items:,} | {case.users:,} | {evaluation:.1f} | {fit:.1f} | **{pair.ratio:.2f}** | "
        f"{low:.2f} to {high:.2f} | {exits:.1f} |"
    )


def main() -> None:
    """Measures, prints and, if asked, writes the table."""
    options = options_of(__doc__, "probe_heads.md", 3).parse_args()
    found = {case: measure(case, options.rounds) for case in CASES}
    lines = [
        "# A head for every depth",
        "",
        f"{LAYERS} layers of width 256, {LAYERS + 1} heads, {ProbeHeadOptions().epochs} passes over the training "
        f"histories, newest {MAX_LEN} items, shared prompt; float32. Processor seconds, medians of {options.rounds} "
        f"rounds in turns. Asked: {ASKED}.",
        f"{machine()}. Command: `OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/probe_heads.py --write`.",
        "",
        "| items | users | one evaluation, s | fitting heads, s | fit / evaluation | per round | ranking exits, s |",
        "|---:|---:|---:|---:|---:|---:|---:|",
        *(row(case, times) for case, times in found.items()),
        "",
        *(f"- {case.like.items:,} items: {described(drawn(case.like, case.users))}." for case in found),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.write:
        (HERE / "probe_heads.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
