"""pytorch-cka's `cka_from_features` in a process and an environment of its own, asked for a round at a time."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from cka import cka_from_features


def main() -> None:
    """Reads the job whose path is the only argument; answers `float32` and `float64` with seconds and values."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    states = torch.from_numpy(np.load(job["data"]))
    ready = {"float32": states, "float64": states.double()}
    print("ready", flush=True)
    for line in sys.stdin:
        asked = ready[line.strip()]
        wall, processor = time.perf_counter(), time.process_time()
        values = cka_from_features(asked, asked)
        seconds = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - processor}
        print("RESULT " + json.dumps(seconds | {"values": values.double().tolist()}), flush=True)


if __name__ == "__main__":
    main()
