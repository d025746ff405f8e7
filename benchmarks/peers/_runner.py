"""What every runner does alike: reads its job, stops the clock while it ranks, and answers rounds on request.

A runner is a process of its own, in its library's own environment. All of them rank with layerprobe's `rank_targets`,
so that a figure means the same for each; of layerprobe this file uses only what needs numpy, pandas and torch alone.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from layerprobe.data.batches import SequenceBatch
from layerprobe.data.sequences import Sequences
from layerprobe.data.splits import Part, Split
from layerprobe.evaluation.metrics import metric_values
from layerprobe.evaluation.ranks import Protocols, Scorer, rank_targets

UNKNOWN = -1e9
"""Score of an item that the peer's model has no vector for, because it never saw it in training."""


def read_job() -> dict[str, Any]:
    """Reads the job whose path is the only argument, and sets the number of threads."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    return job


def do_job(modes: Mapping[str, Callable[[Split, dict[str, Any]], None]]) -> None:
    """Does the job that the only argument names: `train` or `rank`."""
    job = read_job()
    modes[job["mode"]](read_split(job), job)


def read_split(job: dict[str, Any]) -> Split:
    """Reads the sequences that all runners share."""
    stored = np.load(job["data"])
    return Split(Sequences(stored["items"], stored["offsets"], int(stored["n_items"])))


def ndcg(scorer: Scorer, split: Split, part: Part, remove_history: bool = True) -> float:
    """Returns NDCG@10 over the whole catalogue."""
    ranks = rank_targets(scorer, split, [part], Protocols(sampled=None, remove_history=remove_history))["model"]
    return float(metric_values(ranks, "ndcg", 10).mean())


class Vectors:
    """A scorer out of a peer's vectors: one per user, [n_users, dim], and one per catalogue index, [n_items + 1, dim].

    `known` marks the catalogue indices that the peer has a vector for.
    """

    names = ("model",)
    max_len = 1

    def __init__(self, split: Split, users: torch.Tensor, items: torch.Tensor, known: torch.Tensor) -> None:
        self.offsets, self.users, self.items = torch.from_numpy(split.sequences.offsets), users, items
        self.unknown = ~known

    def scores(self, batch: SequenceBatch) -> Iterator[torch.Tensor]:
        """Yields the inner products of the batch's users with the catalogue."""
        rows = torch.searchsorted(self.offsets, batch.flat, right=True) - 1
        scores = self.users[rows] @ self.items.T
        scores[:, self.unknown] = UNKNOWN
        yield scores


class Curve:
    """Seconds of training, without evaluation, and valid NDCG@10 after each epoch; the file is written each time."""

    def __init__(self, split: Split, job: dict[str, Any]) -> None:
        self.split, self.job, self.facts = split, job, {}
        self.clock = "cpu_seconds" if job["threads"] == 1 else "seconds"
        self.epochs: list[dict[str, float]] = []
        self.spent = {"seconds": 0.0, "cpu_seconds": 0.0}
        self.best, self.best_epoch, self.test = 0.0, 0, 0.0
        self._since: dict[str, float] | None = None

    @property
    def started(self) -> bool:
        """Whether the clock was ever started."""
        return self._since is not None

    def start(self) -> None:
        """Starts the clock, or starts it again after an evaluation."""
        self._since = _now()

    def epoch_done(self, scorer: Callable[[Part], Scorer]) -> bool:
        """Stops the clock, ranks, and starts it again; returns whether budget or patience is used up."""
        self.spent = {name: self.spent[name] + now - (self._since or {})[name] for name, now in _now().items()}
        valid = ndcg(scorer("valid"), self.split, "valid")
        self.epochs.append({"epoch": len(self.epochs) + 1, **self.spent, "valid": valid})
        if valid > self.best:
            self.best, self.best_epoch = valid, len(self.epochs)
            self.test = ndcg(scorer("test"), self.split, "test")
        print(f"epoch {len(self.epochs)}: {self.spent[self.clock]:.1f} s, valid {valid:.4f}", file=sys.stderr)
        self.save()
        self.start()
        return (
            self.spent[self.clock] >= self.job["budget"] or len(self.epochs) - self.best_epoch >= self.job["patience"]
        )

    def save(self, **facts: Any) -> None:
        """Writes the result file, with `facts` kept from here on."""
        self.facts |= facts
        result = {"epochs": self.epochs, "best_epoch": self.best_epoch, "best_valid": self.best, "test": self.test}
        result |= {"budget": self.job["budget"], "patience": self.job["patience"], "threads": self.job["threads"]}
        Path(self.job["out"]).write_text(json.dumps(result | self.facts), encoding="utf-8")


def _now() -> dict[str, float]:
    return {"seconds": time.perf_counter(), "cpu_seconds": time.process_time()}


def answer_rounds(ways: dict[str, Callable[[], float]]) -> None:
    """Runs the way named on each line of standard input; answers with seconds and the number it came to."""
    print("ready", flush=True)
    for line in sys.stdin:
        since = _now()
        value = ways[line.strip()]()
        seconds = {name: now - since[name] for name, now in _now().items()}
        print("RESULT " + json.dumps(seconds | {"ndcg": value}), flush=True)
