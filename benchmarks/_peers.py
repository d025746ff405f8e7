"""What the comparisons with other libraries share: their environments, the data, and processes on fixed cores."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from _paired import HERE

from layerprobe.data.prepare import DataOptions, prepare

RUNS = HERE.parent / "runs" / "benchmarks"
SHAPE = {"dim": 64, "blocks": 2, "heads": 1, "max_len": 50}
PEERS = {"rectools": "RecTools 0.19.0", "recbole": "RecBole 1.2.1", "pytorch_cka": "pytorch-cka 1.1.3"}
CONFIGS = {"ml-100k": "movielens-100k.yaml", "amazon-beauty": "amazon-beauty.yaml"}
TITLES = {"ml-100k": "MovieLens-100K", "amazon-beauty": "Amazon Beauty"}
NEEDED = (
    "give --data DIR (or set LAYERPROBE_DATA): a folder with ml-100k and amazon-beauty, each holding interactions.csv "
    "or .csv.gz with the columns user, item, timestamp"
)


@dataclass(frozen=True)
class Data:
    """One prepared log: its name, counts, and the file that every runner reads."""

    name: str
    path: Path
    users: int
    items: int
    rows: int
    sampled: int


def arguments(description: str, out: str) -> argparse.ArgumentParser:
    """Returns the options that all comparisons have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("LAYERPROBE_DATA"), help="folder of the logs")
    parser.add_argument("--datasets", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--threads", type=int, default=1, help="threads and cores of every measured process")
    parser.add_argument("--core", type=int, help="first core to use; the last ones if not given")
    parser.add_argument("--python", help="Python 3.10 or 3.11 for the peers' environments")
    parser.add_argument("--note", default="", help="a sentence on this run for the head of the table")
    parser.add_argument("--write", action="store_true", help=f"write {out}")
    return parser


def require_data(options: argparse.Namespace) -> None:
    """Ends the script where there is no data: with 0 if none was named (`make bench`), with 2 if it is not there."""
    if options.data is None:
        print(f"skipped: {NEEDED}")
        sys.exit(0)
    for name in options.datasets:
        if not list((options.data / name).glob("interactions.*")):
            print(f"{options.data / name} has no interactions file: {NEEDED}", file=sys.stderr)
            sys.exit(2)


def pin(options: argparse.Namespace) -> None:
    """Keeps this process, and so every process it starts, on as many cores as threads."""
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    torch.set_num_threads(options.threads)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        first = len(cores) - options.threads if options.core is None else cores.index(options.core)
        os.sched_setaffinity(0, cores[max(0, first) :][: options.threads])


def prepared(data: Path, name: str) -> Data:
    """Orders and splits a log as every study does and stores it for the runners."""
    folder = RUNS / "data" / name
    sequences = prepare(DataOptions("table", data / name), folder).split.sequences
    path = folder / "sequences.npz"
    np.savez(path, items=sequences.items, offsets=sequences.offsets, n_items=sequences.n_items)
    recipe = yaml.safe_load((HERE.parent / "configs" / CONFIGS[name]).read_text(encoding="utf-8"))
    sampled = recipe["evaluation"]["sampled"]
    return Data(name, path, sequences.n_users, sequences.n_items, len(sequences.items), sampled)


def recipe(name: str) -> dict:
    """Returns our SASRec options and training options of a data set, in the shape of the comparison."""
    items = yaml.safe_load((HERE.parent / "configs" / CONFIGS[name]).read_text(encoding="utf-8"))["items"]
    return {"sasrec": items["sasrec"] | SHAPE, "training": items["training"]}


def interpreter(runner: str, python: str | None) -> str:
    """Returns the Python of a runner; makes a peer's environment in runs/benchmarks where there is none yet."""
    if runner == "layerprobe":
        return sys.executable
    wanted = (HERE / "peers" / f"{runner}.txt").read_text(encoding="utf-8")
    folder = RUNS / f"venv-{runner}"
    found, stamp = folder / "bin" / "python", folder / "installed.txt"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        print(f"installing {PEERS[runner]} into {folder}: some minutes, once", file=sys.stderr)
        base = python or shutil.which("python3.11") or shutil.which("python3.10") or sys.executable
        subprocess.run([base, "-m", "venv", "--clear", folder], check=True)
        install = [found, "-m", "pip", "install", "--quiet", "--requirement", HERE / "peers" / f"{runner}.txt"]
        subprocess.run(install, check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return str(found)


def command(runner: str, python: str | None, folder: Path, job: dict) -> list[str]:
    """Writes the job of a runner into a fresh folder and returns the command that does it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps(SHAPE | job | {"folder": str(folder)}), encoding="utf-8")
    return [interpreter(runner, python), str(HERE / "peers" / f"{runner}_sasrec.py"), str(folder / "job.json")]
