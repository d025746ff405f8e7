"""SASRec of layerprobe, RecTools and RecBole: seconds of training to the same valid NDCG@10, and what each ends at.

    python benchmarks/sasrec_peers.py --data DIR [--budget 1200] [--write]

DIR holds ml-100k and amazon-beauty, each with interactions.csv or .csv.gz (user, item, timestamp). Without --data and
without LAYERPROBE_DATA the script says so in one line and ends with 0, so that `make bench` goes on. Each library runs
in an environment of its own, made once in runs/benchmarks. One after the other, ours before and after the peers.
A result that is there already is kept with --reuse; it and everything else lies in runs/benchmarks/sasrec.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
from pathlib import Path

from _paired import HERE, machine
from _peers import PEERS, RUNS, TITLES, Data, arguments, command, pin, prepared, recipe, require_data

ORDER = ("layerprobe", "rectools", "recbole", "layerprobe again")
ASKED = {"rectools": 1.5, "recbole": 20.0}
NOTES = """
Counted are processor seconds (wall seconds where `--threads` is above 1) from the start of the first epoch: making
batches, steps, each library's own bookkeeping, and for layerprobe its checkpoints. Not counted: imports, reading and
preparing data, building the model, and every evaluation. One thread on one core each, since other work shares the
machine: wall seconds (in the CSV file) then depend on that work, processor seconds hardly.

*Level* is the best valid NDCG@10 of the peer within its budget; both curves are read after each epoch, and the time is
that of the first epoch at or above the level. NDCG@10 is over the full catalogue without the user's history, in every
row by layerprobe's `rank_targets` from the library's own user and item vectors. *Own check* is test NDCG@10 of the
last model by the library's own evaluation, then by ours under its rules (RecBole keeps the history as candidates).
Items that RecTools never saw in training have no vector there and rank last.

All: width 64, 2 blocks, 1 head, 50 newest items, last item test, the one before it valid. Beyond that RecTools and
RecBole have their defaults: RecTools softmax loss, batches of 128 users, dropout 0.2, Adam at 0.001, inner width 64;
RecBole cross-entropy over all items, one example per prefix (so it learns from all of a user's transitions, the others
from the newest 50), batches of 2,048 examples, dropout 0.5, Adam at 0.001, inner width 256; data loaders without
workers. Both stop at the budget, or after {patience} epochs without a better valid NDCG@10. Layerprobe has the recipe
of its study specification (`configs/`): AdamW at 0.003 (MovieLens) or 0.002 (Beauty) with warm-up and cosine, batches
of 64 or 128 users on average, dropout 0.4. The ratio is thus of recipe and speed together; the seconds per epoch are
of speed alone.
"""


def measure(data: Data, options: argparse.Namespace) -> dict[str, dict]:
    """Runs every candidate on one data set; returns the results that there are."""
    found = {}
    for name in ORDER:
        runner = name.split()[0]
        folder = RUNS / "sasrec" / data.name / name.replace(" ", "-")
        if runner in options.candidates and not (options.reuse and finished(folder)):
            job = {"mode": "train", "data": str(data.path), "threads": options.threads, "seed": 0}
            job |= {"budget": options.budget, "patience": options.patience, "out": str(folder / "result.json")}
            job |= recipe(data.name) if runner == "layerprobe" else {}
            with (RUNS / f"{data.name}-{runner}.log").open("w", encoding="utf-8") as log:
                subprocess.run(command(runner, options.python, folder, job), check=True, stdout=log, stderr=log)
        if (folder / "result.json").exists():
            found[name] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return found


def finished(folder: Path) -> bool:
    """Returns whether the folder holds the result of a candidate that ran to its end."""
    path = folder / "result.json"
    return path.exists() and json.loads(path.read_text(encoding="utf-8")).get("finished", False)


def clock(result: dict) -> str:
    """Returns the column that is compared."""
    return "cpu_seconds" if result["threads"] == 1 else "seconds"


def reached(result: dict, level: float) -> float | None:
    """Returns the seconds at which a curve first stood at `level`; None where it never did."""
    return next((row[clock(result)] for row in result["epochs"] if row["valid"] >= level), None)


def ended_by(name: str, result: dict) -> str:
    """Returns why a training ended."""
    if not result.get("finished"):
        return "cut off"
    if name.startswith("layerprobe"):
        return "recipe"
    spent = result["epochs"][-1][clock(result)]
    return f"budget of {result['budget']:.0f} s" if spent >= result["budget"] else "patience"


def curve_table(found: dict[str, dict]) -> list[str]:
    """Returns a row per candidate: what it did and where it ended."""
    lines = [
        "| | epochs | s per epoch | s in all | ended by | best valid NDCG@10 (epoch) | test NDCG@10 | own check |",
        "|---|---:|---:|---:|---|---:|---:|---:|",
    ]
    for name, result in found.items():
        last = result["epochs"][-1]
        spent, n = last[clock(result)], len(result["epochs"])
        check = f"{result['own_metric']:.5f} / {result['same_by_ours']:.5f}" if "own_metric" in result else ""
        lines.append(
            f"| {PEERS.get(name, name)} | {n} | {spent / n:.1f} | {spent:.0f} | {ended_by(name, result)} | "
            f"{result['best_valid']:.4f} ({result['best_epoch']}) | **{result['test']:.4f}** | {check} |"
        )
    return lines


def level_table(found: dict[str, dict]) -> list[str]:
    """Returns a row per peer and level: when each first stood there."""
    lines = [
        "| level | valid NDCG@10 | peer, s | layerprobe, s (again) | ratio | asked |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for peer in (name for name in PEERS if name in found):
        for share in (1.0, 0.95):
            level = share * found[peer]["best_valid"]
            theirs = reached(found[peer], level)
            ours = [reached(found[name], level) for name in found if name.startswith("layerprobe")]
            shown = " ".join(["never" if ours[0] is None else f"{ours[0]:.1f}", *(f"({x:.1f})" for x in ours[1:] if x)])
            ratio = "" if None in ours else f"**{theirs / (sum(ours) / len(ours)):.1f}**"
            what = "best" if share == 1 else f"{share:.0%} of the best"
            lines.append(
                f"| {what} of {PEERS[peer]} | {level:.4f} | {theirs:.1f} | {shown} | {ratio} | {ASKED[peer]} |"
            )
    return lines


def write(found: dict[str, dict[str, dict]], text: str) -> None:
    """Writes the table and the curves."""
    (HERE / "sasrec_peers.md").write_text(text, encoding="utf-8")
    with (HERE / "sasrec_peers.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["data", "candidate", "epoch", "cpu_seconds", "seconds", "valid_ndcg@10"])
        for data, results in found.items():
            for name, result in results.items():
                for row in result["epochs"]:
                    seconds = [f"{row[column]:.2f}" for column in ("cpu_seconds", "seconds")]
                    rows.writerow([data, name, row["epoch"], *seconds, f"{row['valid']:.5f}"])


def main() -> None:
    """Measures, prints and, if asked, writes the table."""
    parser = arguments(__doc__ or "", "benchmarks/sasrec_peers.md and .csv")
    parser.add_argument("--budget", type=float, default=1200, help="seconds of training of a peer on a data set")
    parser.add_argument("--patience", type=int, default=20, help="epochs without a better valid NDCG@10")
    parser.add_argument("--candidates", nargs="*", choices=("layerprobe", *PEERS), default=["layerprobe", *PEERS])
    parser.add_argument("--reuse", action="store_true", help="keep results that are there already")
    options = parser.parse_args()
    require_data(options)
    pin(options)
    lines = ["# SASRec beside RecTools and RecBole", "", f"{machine()}."]
    lines += [f"Command: `python benchmarks/sasrec_peers.py --data DIR --write`. {options.note}".rstrip(), ""]
    found = {}
    for name in options.datasets:
        data = prepared(options.data, name)
        found[name] = results = measure(data, options)
        lines += [f"## {TITLES[name]}: {data.users:,} users, {data.items:,} items, {data.rows:,} interactions", ""]
        lines += [*curve_table(results), "", *level_table(results), ""]
    text = "\n".join(lines) + NOTES.format(patience=options.patience)
    print(text)
    if options.write:
        write(found, text)


if __name__ == "__main__":
    main()
