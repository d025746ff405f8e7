"""What reads files and draws figures works where torch is not installed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

NO_TORCH = (
    "layerprobe.columns",
    "layerprobe.errors",
    "layerprobe.cli.main",
    "layerprobe.evaluation.metrics",
    "layerprobe.evaluation.uncertainty",
    "layerprobe.probing.curves",
    "layerprobe.probing.decide",
    "layerprobe.store.atomic",
    "layerprobe.store.provenance",
    "layerprobe.store.run_folder",
)
NEEDS_TORCH = "layerprobe.training.loop"

SNIPPET = """
import importlib, json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "accelerate", "peft"}:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
failed = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        failed[name] = str(error)
print(json.dumps(failed))
"""


def failures_without_torch(names: list[str]) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", SNIPPET, *names], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def failed(modules) -> dict[str, str]:
    reporting = [name for name in modules if name.startswith("layerprobe.reporting.")]
    assert len(reporting) >= 3
    return failures_without_torch([*NO_TORCH, *reporting, NEEDS_TORCH])


def test_reporting_metrics_and_decisions_import_without_torch(failed):
    assert {name: why for name, why in failed.items() if name != NEEDS_TORCH} == {}


def test_the_block_on_torch_works(failed):
    assert "blocked" in failed[NEEDS_TORCH]
