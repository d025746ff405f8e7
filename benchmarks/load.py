"""Reading four of 32 layers against reading all and cutting: seconds and peak memory, each in a process of its own.

    python benchmarks/load.py [--rounds 3] [--write]

The file is a Llama of 32 layers, width 1,024, random weights in bfloat16 as most published ones, written to a temporary
folder (1 GB). It is read in float32, as training all weights asks. `--write` puts the table into benchmarks/load.md.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from _paired import HERE, machine, options_of

LAYERS, KEPT, WIDTH, INNER, VOCABULARY = 32, 4, 1024, 2816, 32_000
MIB = 2**20
READ = """
import json, sys, time
from pathlib import Path
import torch
from transformers import AutoModel
from transformers.utils import logging
from layerprobe.backbone.load import load_backbone
from layerprobe.backbone.options import BackboneOptions
from layerprobe.backbone.selection import parse_selection
from layerprobe.backbone.truncate import truncate

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

logging.disable_progress_bar()
folder, kept, layers, how = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
before, started = peak(), time.perf_counter()
if how == "kept":
    model = load_backbone(BackboneOptions(checkpoint=folder, keep=f"first:{kept}"))
else:
    model = truncate(AutoModel.from_pretrained(folder, dtype=torch.float32), parse_selection(f"first:{kept}", layers))
with torch.no_grad():  # touches every kept weight, since a loaded file is only mapped at first
    total = sum(float(value.sum()) for value in model.parameters())
print(json.dumps({"seconds": time.perf_counter() - started, "bytes": peak() - before, "total": total}))
"""


def write_checkpoint(folder: str) -> None:
    """Saves the stock checkpoint."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=16,
        num_key_value_heads=16,
    )
    LlamaForCausalLM(config).bfloat16().save_pretrained(folder)


def measure(folder: str, how: str) -> dict[str, float]:
    """Reads the checkpoint in a fresh process; returns seconds, bytes and the sum of the kept weights."""
    arguments = [sys.executable, "-W", "ignore", "-c", READ, folder, str(KEPT), str(LAYERS), how]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=HERE.parent)
    return json.loads(done.stdout.splitlines()[-1])


def table(found: dict[str, list[dict[str, float]]], size: int) -> str:
    """Returns the result as Markdown."""
    layer = 4 * (4 * WIDTH**2 + 3 * WIDTH * INNER + 2 * WIDTH)
    needed = KEPT * layer + 4 * VOCABULARY * WIDTH + 4 * WIDTH
    lines = [
        f"# Reading {KEPT} of {LAYERS} layers",
        "",
        f"A Llama of width {WIDTH:,} in one file of {size / MIB:,.0f} MiB in bfloat16, read in float32. The "
        f"kept weights take {needed / MIB:,.0f} MiB. Medians of {len(found['kept'])} fresh processes, in turns.",
        f"{machine()}. Command: `python benchmarks/load.py --write`.",
        "",
        "| | seconds | peak memory above start, MiB |",
        "|---|---:|---:|",
    ]
    names = {"whole": "read all layers, then cut", "kept": f"`backbone.keep: first:{KEPT}`"}
    for how, name in names.items():
        seconds, memory = (statistics.median(one[key] for one in found[how]) for key in ("seconds", "bytes"))
        lines.append(f"| {name} | {seconds:.1f} | {memory / MIB:,.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures, prints and, if asked, writes the table."""
    options = options_of(__doc__, "load.md", 3).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(folder)
        size = sum(path.stat().st_size for path in Path(folder).glob("*.safetensors"))
        rounds = [{how: measure(folder, how) for how in ("whole", "kept")} for _ in range(options.rounds)]
    found = {how: [one[how] for one in rounds] for how in ("whole", "kept")}
    totals = {one["total"] for results in found.values() for one in results}
    assert len(totals) == 1, f"both ways must give the same weights; their sums are {totals}"
    text = table(found, size)
    print(text)
    if options.write:
        (HERE / "load.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
