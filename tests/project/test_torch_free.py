"""What reads files and draws figures works where torch is not installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

NO_TORCH = (
    "layerprobe.columns",
    "layerprobe.errors",
    "layerprobe.cli.main",
    "layerprobe.evaluation.metrics",
    "layerprobe.evaluation.uncertainty",
    "layerprobe.probing.budget",
    "layerprobe.probing.curves",
    "layerprobe.probing.decide",
    "layerprobe.probing.looks",
    "layerprobe.probing.pareto",
    "layerprobe.probing.planning",
    "layerprobe.store.atomic",
    "layerprobe.store.provenance",
    "layerprobe.store.run_folder",
)
NEEDS_TORCH = "layerprobe.training.loop"

BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "accelerate", "peft"}:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
"""
SNIPPET = f"""{BLOCK}
import importlib, json
failed = {{}}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        failed[name] = str(error)
print(json.dumps(failed))
"""
COMMAND = f"""{BLOCK}
from layerprobe.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def failures_without_torch(names: list[str]) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", SNIPPET, *names], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def failed(modules) -> dict[str, str]:
    reporting = [name for name in modules if name.startswith(("layerprobe.reporting.", "layerprobe.publishing."))]
    assert len(reporting) >= 3
    return failures_without_torch([*NO_TORCH, *reporting, NEEDS_TORCH])


def test_reporting_metrics_and_decisions_import_without_torch(failed):
    assert {name: why for name, why in failed.items() if name != NEEDS_TORCH} == {}


def test_a_log_is_prepared_without_torch(tmp_path: Path) -> None:
    log, out = tmp_path / "log.csv", tmp_path / "data"
    log.write_text("user,item,timestamp\nu,a,1\nu,b,2\nu,c,3\n")
    command = ["prepare", "--source", "table", "--path", str(log), "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *command], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert (out / "sequences.safetensors").exists()


def test_the_block_on_torch_works(failed):
    assert "blocked" in failed[NEEDS_TORCH]
