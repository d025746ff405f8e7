"""`layerprobe prepare` on a large log: seconds per step, seconds in all and peak memory, each run in a fresh process.

    python benchmarks/prepare.py [--interactions 10000000] [--users 1000000] [--items 300000] [--write]

The log is drawn with a seed and written, as CSV and as Parquet, to a temporary folder (600 MB at full size) before any
clock runs: item popularity follows Zipf's law, users are of lognormal activity, ids are strings, rows stand in no
order. Every run is the command a user types. `--interactions 100000 --users 10000 --items 3000` takes seconds.
`--write` puts the table into benchmarks/prepare.md.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet
from _paired import HERE, machine

MIB = 2**20
FIRST_TIME, LAST_TIME = 1_400_000_000, 1_600_000_000
CORE = ["--preprocess.filter=k-core", "--preprocess.min_user=5", "--preprocess.min_item=5"]
FILTERS = {"5-core without repeats": [*CORE, "--preprocess.drop_repeats=true"], "no filter": []}
FORMATS = ("csv", "parquet")
STEP = re.compile(r"(?P<step>.*?): (?P<left>\d.*|users.*), (?P<seconds>[\d.]+) s")


@dataclass(frozen=True)
class Size:
    """How much is drawn."""

    interactions: int
    users: int
    items: int


@dataclass(frozen=True)
class Run:
    """What one command took; `steps` are (name, what it left, seconds), `busy` is processor time of all threads."""

    steps: list[tuple[str, str, float]]
    seconds: float
    busy: float
    peak: int


def write_log(folder: Path, size: Size) -> None:
    """Writes `log.csv` and `log.parquet`; every user and every item has at least one row."""
    generator = np.random.default_rng(0)
    table = pa.table(
        {
            "user": _ids(_drawn(generator.lognormal(size=size.users), size.interactions, generator), "U", generator),
            "item": _ids(_drawn(1 / np.arange(1, size.items + 1), size.interactions, generator), "B", generator),
            "timestamp": generator.integers(FIRST_TIME, LAST_TIME, size=size.interactions),
            "rating": generator.integers(1, 11, size=size.interactions) / 2,
        }
    )
    arrow_csv.write_csv(table, folder / "log.csv")
    parquet.write_table(table, folder / "log.parquet")


def _drawn(weights: np.ndarray, n_rows: int, generator: np.random.Generator) -> np.ndarray:
    """Draws `n_rows` codes, each at least once, the rest by weight, and shuffles them."""
    edges = np.cumsum(weights)
    more = np.searchsorted(edges, edges[-1] * generator.random(n_rows - len(weights)), side="right")
    return generator.permutation(np.concatenate([np.arange(len(weights)), np.minimum(more, len(weights) - 1)]))


def _ids(codes: np.ndarray, letter: str, generator: np.random.Generator) -> pa.Array:
    """Turns codes into ids of 11 characters whose order says nothing about the codes."""
    names = [f"{letter}{number * 7919:010d}" for number in generator.permutation(codes.max() + 1)]
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names)).cast(pa.string())


def run(log: Path, options: list[str], out: Path) -> Run:
    """Runs the command in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "layerprobe",
        "prepare",
        "--source=table",
        f"--path={log}",
        f"--out={out}",
        *options,
    ]
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=HERE.parent
    ) as child:
        assert child.stderr is not None
        said = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)  # the peak of this child, not of the largest one so far
        child.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{said}")
    found = [STEP.fullmatch(line) for line in said.splitlines()]
    steps = [(step["step"], step["left"], float(step["seconds"])) for step in found if step]
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Run(steps, seconds, usage.ru_utime + usage.ru_stime, peak)


def table(found: dict[tuple[str, str], Run], size: Size, sizes: dict[str, int], load: float) -> str:
    """Returns the result as Markdown: one block per filter, one column per format."""
    files = " and ".join(f"{sizes[kind] / MIB:,.0f} MiB as {kind}" for kind in FORMATS)
    lines = [
        "# Preparing a large log",
        "",
        f"A log of {size.interactions:,} interactions, {size.users:,} users and {size.items:,} items: {files}. "
        "Asked: about a minute and less than 4,096 MiB.",
        f"{machine()}, load average {load:.1f} before the first run. Command: "
        f"`{' '.join(['python benchmarks/prepare.py', *sys.argv[1:]])}`.",
        "",
        _row("seconds", [f"{title}, {kind}" for title, kind in found]),
        "|---|" + "---:|" * len(found),
    ]
    names = dict.fromkeys(name for one in found.values() for name, _, _ in one.steps)
    for name in names:
        lines.append(_row(name, [_cell(one, name) for one in found.values()]))
    lines.append(_row("**whole command**", [f"**{one.seconds:.1f}**" for one in found.values()]))
    lines.append(_row("processor time, all threads", [f"{one.busy:.1f}" for one in found.values()]))
    lines.append(_row("**peak memory, MiB**", [f"**{one.peak / MIB:,.0f}**" for one in found.values()]))
    left = next(iter(found.values())).steps
    return "\n".join([*lines, "", "What the steps left, filtered:", "", *(f"- {a}: {b}" for a, b, _ in left)]) + "\n"


def _row(name: str, cells: list[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"


def _cell(one: Run, name: str) -> str:
    return next((f"{seconds:.1f}" for step, _, seconds in one.steps if step == name), "")


def main() -> None:
    """Measures, prints and, if asked, writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=300_000)
    parser.add_argument("--write", action="store_true", help="write benchmarks/prepare.md")
    options = parser.parse_args()
    size = Size(options.interactions, options.users, options.items)
    if min(size.users, size.items) < 1 or size.interactions < max(size.users, size.items):
        parser.error("every user and every item needs an interaction: draw at least as many")
    load = os.getloadavg()[0]  # what else the machine does stretches the seconds, hardly the processor's time
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_log(folder, size)
        sizes = {kind: (folder / f"log.{kind}").stat().st_size for kind in FORMATS}
        found = {
            (title, kind): run(folder / f"log.{kind}", arguments, folder / f"{len(arguments)}-{kind}")
            for title, arguments in FILTERS.items()
            for kind in FORMATS
        }
    text = table(found, size, sizes, load)
    print(text)
    if options.write:
        (HERE / "prepare.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
