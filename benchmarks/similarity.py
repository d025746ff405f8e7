"""CKA of all pairs of states: seconds beside two other libraries, and seconds and memory over many users.

    python benchmarks/similarity.py [--rounds 5] [--write]

The states are a random walk, each the one before plus noise, in float32. pytorch-cka runs in an environment of its own
in runs/benchmarks, which the first run makes; where that fails (no network) its rows are skipped and say so. What
torch_cka 0.21 computes is restated here from its formula. Processor seconds of one thread; with `--threads` above 1
wall seconds. `--write` puts the table into benchmarks/similarity.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from _paired import HERE, machine, options_of
from _peers import PEERS, RUNS, interpreter, pin
from losses import MIB, status

from layerprobe.similarity.cka import cka_biased_pairs, cka_matrix, cka_pairs
from layerprobe.similarity.cka_sums import CKASums
from layerprobe.similarity.kernels import rbf_cka_pairs

OURS, FORMULA = "layerprobe, `cka_matrix`", "torch_cka 0.21's formula"
PEER32, PEER64 = (f"{PEERS['pytorch_cka']}, `cka_from_features`{note}" for note in ("", ", given float64"))
ASKED = {PEER32: 2, FORMULA: 20}
BATCH = 512
NOTES = """
Medians over the rounds, all in turns; the ratio is how many times as long as `cka_matrix` a row takes, median and range
of one round. *Difference*: the largest one to the values of `cka_matrix`. Layerprobe computes in float64 whatever it
is given; float32 products would save about a third, and were not taken since small cases then lose digits.
pytorch-cka computes in the precision of the states and cuts negative values off. torch_cka's formula, float32: for
every ordered pair both Gram matrices' HSICs anew, by traces of products of rows x rows matrices; timed on the first
state against all, times the number of states. The last three rows give the part of every row in every pair besides,
from which the intervals are made.
"""


def options() -> argparse.Namespace:
    """Reads the command line; small sizes make a trial of seconds."""
    parser = options_of(__doc__, "similarity.md", 5)
    sizes = {"states": 17, "rows": 2048, "dim": 256, "many-states": 9, "many-rows": 20_000}
    for name, value in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--threads", type=int, default=1, help="threads and cores of every measured process")
    parser.add_argument("--core", type=int, help="first core to use; the last ones if not given")
    parser.add_argument("--python", help="Python for the peer's environment")
    parser.add_argument("--without-peer", action="store_true", help="leave pytorch-cka out")
    parser.add_argument("--many", choices=MANY, help=argparse.SUPPRESS)
    return parser.parse_args()


def walk(n_states: int, n_rows: int, dim: int) -> torch.Tensor:
    """Returns states that drift apart, made in place so that no freed memory hides what is measured after."""
    states = torch.empty(n_states, n_rows, dim).normal_(generator=torch.Generator().manual_seed(0))
    for index in range(1, n_states):
        states[index] += states[index - 1]
    return states


def by_traces(states: torch.Tensor) -> np.ndarray:
    """Returns CKA of the first state with each by torch_cka's formula."""

    def hsic(k: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        n, one = len(k), torch.ones(len(k))
        middle = (one @ k @ one) * (one @ q @ one) / ((n - 1) * (n - 2))
        return ((k @ q).trace() + middle - 2 / (n - 2) * (one @ k @ q @ one)) / (n * (n - 3))

    def gram(state: torch.Tensor) -> torch.Tensor:
        return (state @ state.T).fill_diagonal_(0)

    first, values = gram(states[0]), []
    own = hsic(first, first)
    for state in states:
        other = gram(state)
        values.append(hsic(first, other) / (own.sqrt() * hsic(other, other).sqrt()))
    return torch.stack(values).double().numpy()


class Peer:
    """pytorch-cka in its process; `skipped` says why it is not there."""

    def __init__(self, states: torch.Tensor, chosen: argparse.Namespace) -> None:
        self.skipped = "left out by `--without-peer`" if chosen.without_peer else ""
        if chosen.without_peer:
            return
        try:
            python = interpreter("pytorch_cka", chosen.python)
        except subprocess.CalledProcessError:
            self.skipped = "its environment could not be made"
            return
        folder = RUNS / "similarity"
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "states.npy", states.numpy())
        job = {"data": str(folder / "states.npy"), "threads": chosen.threads}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        command = [python, str(HERE / "peers" / "pytorch_cka_similarity.py"), str(folder / "job.json")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._until("ready")

    def _until(self, start: str) -> str:
        for line in self.process.stdout or ():
            if line.startswith(start):
                return line[len(start) :]
        raise SystemExit("the process of pytorch-cka ended early")

    def ask(self, precision: str, clock: str) -> tuple[float, np.ndarray]:
        """Does one round; returns seconds and values."""
        assert self.process.stdin is not None
        self.process.stdin.write(precision + "\n")
        self.process.stdin.flush()
        answer = json.loads(self._until("RESULT "))
        return answer[clock], np.array(answer["values"])

    def close(self) -> None:
        """Ends the process by ending its input."""
        if not self.skipped:
            self.process.communicate()


Round = Callable[[], tuple[float, object]]


def ways_of(states: torch.Tensor, peer: Peer, threads: int) -> dict[str, Round]:
    """Returns what is timed: functions that do one round and return its seconds and its values."""
    clock, name = (time.process_time, "cpu_seconds") if threads == 1 else (time.perf_counter, "seconds")

    def timed(work: Callable[[], object], factor: int = 1) -> Round:
        def run() -> tuple[float, object]:
            started = clock()
            found = work()
            return factor * (clock() - started), found

        return run

    peers: dict[str, Round] = {
        PEER32: lambda: peer.ask("float32", name),
        PEER64: lambda: peer.ask("float64", name),
    }
    return {
        OURS: timed(lambda: cka_matrix(states)),
        **({} if peer.skipped else peers),
        FORMULA: timed(lambda: by_traces(states), len(states)),
        "layerprobe, `cka_pairs`": timed(lambda: cka_pairs(states)),
        "layerprobe, `cka_biased_pairs`": timed(lambda: cka_biased_pairs(states)),
        "layerprobe, `rbf_cka_pairs`": timed(lambda: rbf_cka_pairs(states)),
    }


def differences(values: dict[str, object]) -> dict[str, float]:
    """Returns the largest difference of each way that gives debiased linear values to ours."""
    ours = np.asarray(values[OURS])
    found = {name: np.asarray(values[name]) for name in (PEER32, PEER64) if name in values}
    far = {name: float(np.abs(value - ours.clip(0, 1)).max()) for name, value in found.items()}
    return far | {FORMULA: float(np.abs(np.asarray(values[FORMULA]) - ours[0]).max())}


def all_pairs(states: torch.Tensor, peer: Peer, chosen: argparse.Namespace) -> Iterator[str]:
    """Measures in turns after one round that is not measured; yields the rows of the table."""
    ways = ways_of(states, peer, chosen.threads)
    values = {name: way()[1] for name, way in ways.items()}
    rounds = [{name: way()[0] for name, way in ways.items()} for _ in range(chosen.rounds)]
    far = differences(values)
    for name in ways:
        seconds = statistics.median(one[name] for one in rounds)
        ratios = [one[name] / one[OURS] for one in rounds]
        ratio = f"**{statistics.median(ratios):.1f}** ({min(ratios):.1f} to {max(ratios):.1f})" if name != OURS else ""
        difference = f"{far[name]:.0e}" if name in far else ""
        yield f"| {name} | {seconds:.2f} | {ratio} | {ASKED.get(name, '')} | {difference} |"
    if peer.skipped:
        yield f"| {PEER32} | skipped: {peer.skipped} | | {ASKED[PEER32]} | |"


def in_batches(states: torch.Tensor) -> np.ndarray:
    """Returns CKA of all pairs from batches of users."""
    sums = CKASums()
    for start in range(0, states.shape[1], BATCH):
        sums.add(states[:, start : start + BATCH])
    return sums.matrix()


MANY: dict[str, Callable[[torch.Tensor], object]] = {
    "cka_matrix": cka_matrix,
    "CKASums": in_batches,
    "cka_pairs": cka_pairs,
}


def measure_many(chosen: argparse.Namespace) -> None:
    """Prints seconds of one way over many rows and the peak above what lay in memory before (Linux)."""
    work = MANY[chosen.many]
    work(walk(2, 64, 8))  # what a first call loads and keeps is no part of it
    states, clock = walk(chosen.many_states, chosen.many_rows, chosen.dim), time.process_time
    clock = clock if chosen.threads == 1 else time.perf_counter
    held = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    started = clock()
    work(states)
    print(json.dumps({"seconds": clock() - started, "bytes": status("VmHWM") - held}))


def many_rows(chosen: argparse.Namespace) -> Iterator[str]:
    """Measures each way in processes of their own; yields the rows of the table."""
    given = chosen.many_states * chosen.many_rows * chosen.dim * 4 / MIB
    grams = chosen.many_states * chosen.many_rows**2 * 8 / MIB
    for name in MANY:
        command = [sys.executable, __file__, "--many", name, "--threads", str(chosen.threads)]
        for size in ("dim", "many_states", "many_rows"):
            command += ["--" + size.replace("_", "-"), str(getattr(chosen, size))]
        runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(chosen.rounds)]
        answers = [json.loads(done.stdout) for done in runs]
        seconds, peak = (statistics.median(answer[key] for answer in answers) for key in ("seconds", "bytes"))
        yield f"| `{name}` | {seconds:.1f} | {peak / MIB:,.0f} | {given:,.0f} | {grams:,.0f} |"


def table(chosen: argparse.Namespace) -> str:
    """Measures and returns the result as Markdown."""
    states = walk(chosen.states, chosen.rows, chosen.dim)
    peer = Peer(states, chosen)
    first = list(all_pairs(states, peer, chosen))
    peer.close()
    many = walk(chosen.many_states, chosen.many_rows, chosen.dim)
    apart = float(np.abs(in_batches(many) - cka_matrix(many)).max())
    lines = [
        "# CKA of all pairs of states",
        "",
        f"{machine()}. {chosen.rounds} rounds. Command: `python benchmarks/similarity.py --write`.",
        "",
        f"## {chosen.states} states, {chosen.rows:,} rows, dim {chosen.dim}",
        "",
        "| | seconds | ratio (per round) | asked | difference |",
        "|---|---:|---:|---:|---:|",
        *first,
        NOTES,
        f"## {chosen.many_states} states, {chosen.many_rows:,} rows, dim {chosen.dim}",
        "",
        "| | seconds | peak beyond the states, MiB | the states, MiB | Gram matrices would take, MiB |",
        "|---|---:|---:|---:|---:|",
        *many_rows(chosen),
        "",
        f"Each in its own process, medians. `CKASums` gets {BATCH} rows at a time and differs from `cka_matrix`",
        f"by at most {apart:.0e}. `cka_pairs` gives the part of every row in every pair besides.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures, prints and, if asked, writes the table."""
    chosen = options()
    pin(chosen)
    if chosen.many:
        return measure_many(chosen)
    text = table(chosen)
    print(text)
    if chosen.write:
        (HERE / "similarity.md").write_text(text, encoding="utf-8")
    return None


if __name__ == "__main__":
    main()
