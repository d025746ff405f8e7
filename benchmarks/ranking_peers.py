"""Users ranked per second over the full catalogue: layerprobe, RecBole's and RecTools' own evaluation of SASRec.

    python benchmarks/ranking_peers.py --data DIR [--rounds 5] [--write]

DIR and the environments are those of sasrec_peers.py. From a loaded model and a prepared data set to the number
NDCG@10 of all test targets. All libraries wait in processes of their own and are asked in turns, so that what else the
machine does hits them alike.
"""

from __future__ import annotations

import json
import statistics
import subprocess

from _paired import HERE, machine
from _peers import RUNS, TITLES, Data, arguments, command, pin, prepared, recipe, require_data

OURS, RECBOLE, RECTOOLS = (
    "layerprobe, full",
    "RecBole 1.2.1, Trainer.evaluate",
    "RecTools 0.19.0, recommend k=10 and NDCG",
)
ASKED = {RECBOLE: 1.0, RECTOOLS: 3.0}
NOTES = """
Medians over the rounds; the ratio is how many times as many users layerprobe (`full`) ranks in the same time, median
and range of one round. Seconds are processor seconds (wall seconds where `--threads` is above 1), one thread on one
core each, since other work shares the machine. The models have width 64, 2 blocks, 1 head, read 50 items and are not
trained, but for one batch in RecTools, which ranks fitted models alone: the work is the same.

`full` is the catalogue without the user's history, as RecTools does it with `filter_viewed=True`; RecBole's sequential
evaluation keeps the history among the candidates, as the row `history kept` does. Batches as each library has them by
default: layerprobe 512 users, RecBole 4,096, RecTools 256. The last row ranks by both protocols from one pass.
"""


class Process:
    """A runner that waits for rounds."""

    def __init__(self, runner: str, data: Data, python: str | None, threads: int) -> None:
        folder = RUNS / "ranking" / data.name / runner
        job = {"mode": "rank", "data": str(data.path), "threads": threads, "seed": 0, "sampled": data.sampled}
        job |= recipe(data.name) if runner == "layerprobe" else {}
        arguments = command(runner, python, folder, job)
        self.log = (folder / "log.txt").open("w", encoding="utf-8")
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        self._until("ready")

    def _until(self, start: str) -> str:
        for line in self.process.stdout or ():
            if line.startswith(start):
                return line[len(start) :]
        raise SystemExit(f"a runner ended early; its messages are in {self.log.name}")

    def ask(self, way: str) -> dict[str, float]:
        """Does one round."""
        assert self.process.stdin is not None
        self.process.stdin.write(way + "\n")
        self.process.stdin.flush()
        return json.loads(self._until("RESULT "))

    def close(self) -> None:
        """Ends the process by ending its input."""
        self.process.communicate()
        self.log.close()


def measure(data: Data, rounds: int, threads: int, python: str | None) -> dict[str, list[float]]:
    """Returns seconds per round of every way, after one round that is not measured."""
    processes = {name: Process(name, data, python, threads) for name in ("layerprobe", "recbole", "rectools")}
    sampled = f"full and sampled-{data.sampled}"
    ways = {
        OURS: ("layerprobe", "full"),
        RECBOLE: ("recbole", "own"),
        RECTOOLS: ("rectools", "own"),
        "layerprobe, full, history kept": ("layerprobe", "full, history kept"),
        f"layerprobe, {sampled}": ("layerprobe", sampled),
    }
    clock = "cpu_seconds" if threads == 1 else "seconds"
    found: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, (runner, asked) in ways.items():
            answer = processes[runner].ask(asked)
            if number:
                found[way].append(answer[clock])
    for process in processes.values():
        process.close()
    return found


def table(data: Data, found: dict[str, list[float]]) -> list[str]:
    """Returns the section of one data set."""
    lines = [
        f"## {TITLES[data.name]}: {data.users:,} users, {data.items:,} items",
        "",
        "| | seconds | users per second | layerprobe's ratio (per round) | asked |",
        "|---|---:|---:|---:|---:|",
    ]
    for way, seconds in found.items():
        ratios = [one / ours for one, ours in zip(seconds, found[OURS], strict=True)]
        middle, median = statistics.median(ratios), statistics.median(seconds)
        ratio = "" if way == OURS else f"**{middle:.1f}** ({min(ratios):.1f} to {max(ratios):.1f})"
        lines.append(f"| {way} | {median:.2f} | {data.users / median:,.0f} | {ratio} | {ASKED.get(way, '')} |")
    return [*lines, ""]


def main() -> None:
    """Measures, prints and, if asked, writes the table."""
    parser = arguments(__doc__ or "", "benchmarks/ranking_peers.md")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    require_data(options)
    pin(options)
    lines = ["# Full ranking beside RecBole and RecTools", "", f"{machine()}. {options.rounds} rounds."]
    lines += [f"Command: `python benchmarks/ranking_peers.py --data DIR --write`. {options.note}".rstrip(), ""]
    for name in options.datasets:
        data = prepared(options.data, name)
        lines += table(data, measure(data, options.rounds, options.threads, options.python))
    text = "\n".join(lines) + NOTES
    print(text)
    if options.write:
        (HERE / "ranking_peers.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
