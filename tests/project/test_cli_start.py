"""`layerprobe --help` answers at once: it loads no heavy library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "transformers", "accelerate", "peft", "numpy", "pandas", "pyarrow", "scipy", "matplotlib"}

SNIPPET = """
import json, sys
from layerprobe.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print()
print(json.dumps([code or 0, sorted({name.split(".")[0] for name in sys.modules})]))
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("run", "--help"), ("recommend", "--help"), ("plan", "--help")]
)
def test_help_loads_no_heavy_library(arguments):
    done = run(sys.executable, "-c", SNIPPET, *arguments)
    assert done.returncode == 0, done.stderr
    code, loaded = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    assert "layerprobe" in loaded
    assert HEAVY & set(loaded) == set()


def test_the_installed_command_and_the_module_print_the_same_help():
    script = Path(sys.executable).with_name("layerprobe")
    if not script.exists():
        pytest.skip("the package is not installed beside this python: run the tests with `make test`")
    installed, module = run(str(script), "--help"), run(sys.executable, "-m", "layerprobe", "--help")
    assert (installed.returncode, module.returncode) == (0, 0)
    assert installed.stdout == module.stdout
    assert "demo" in installed.stdout


def test_no_command_prints_the_help_and_is_the_users_mistake():
    done = run(sys.executable, "-m", "layerprobe")
    assert done.returncode == 2
    assert "demo" in done.stdout + done.stderr
