"""Paired timing: both candidates in turns in one process, so that what else the machine does hits both alike."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Pair:
    """Seconds of two candidates, round by round."""

    slow: list[float]
    fast: list[float]

    @property
    def ratio(self) -> float:
        """Median of the slow candidate over that of the fast one."""
        return statistics.median(self.slow) / statistics.median(self.fast)

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest ratio of one round."""
        ratios = [slow / fast for slow, fast in zip(self.slow, self.fast, strict=True)]
        return min(ratios), max(ratios)


def paired(
    slow: Callable[[], object],
    fast: Callable[[], object],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Pair:
    """Times `slow` and `fast` in turns, after one unmeasured round."""
    times = in_turns({"slow": slow, "fast": fast}, rounds, clock)
    return Pair(times["slow"], times["fast"])


def in_turns(
    works: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Returns the seconds of each of `works`, one per round, after one unmeasured round.

    `time.process_time` as `clock` leaves out what other programs on the machine take, and adds up threads.
    """
    for work in works.values():
        work()
    times = [{name: _seconds(work, clock) for name, work in works.items()} for _ in range(rounds)]
    return {name: [one[name] for one in times] for name in works}


def _seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    started = clock()
    work()
    return clock() - started


def options_of(doc: str | None, table: str, rounds: int) -> argparse.ArgumentParser:
    """Returns the parser of a benchmark that measures in rounds and may write its table."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--write", action="store_true", help=f"write benchmarks/{table}")
    return parser


def machine() -> str:
    """Returns processor, threads, library and date in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    today = datetime.now(timezone.utc).date().isoformat()
    return f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, {today}"
