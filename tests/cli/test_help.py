"""`--help` of a command names what can be given, the keys included or the way to list them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from layerprobe.cli.main import main
from layerprobe.data.prepare import DataOptions
from layerprobe.data.synthetic import SyntheticOptions
from layerprobe.stages.registry import STAGES


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def keys(options: Any, prefix: str = "") -> dict[str, Any]:
    found = {}
    for entry in fields(options):
        value = getattr(options, entry.name)
        found |= keys(value, f"{prefix}{entry.name}.") if is_dataclass(value) else {f"{prefix}{entry.name}": value}
    return found


def test_help_of_prepare_lists_every_data_key_with_its_meaning_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    printed = help_of(capsys, "prepare")
    data = {name: value for name, value in keys(DataOptions("", "")).items() if name not in ("source", "path")}
    every = data | keys(SyntheticOptions(), "synthetic.")
    assert len(every) > 25
    for name, value in every.items():
        (text,) = [part for part in printed.split(" --")[1:] if part.split()[0] == name]
        assert f"default: {'null' if value is None else value})" in text, name
        assert len(text.split("(type:")[0].split()) > 4, name  # its name, its value and what it means
    assert "Rows a user must have, at least 1. In [1, 1,000,000,000]." in printed
    assert printed.count("usage:") == 1


def test_help_of_prepare_loads_no_torch() -> None:
    code = (
        "import sys\nfrom layerprobe.cli.main import main\ntry: main(['prepare', '--help'])\n"
        "except SystemExit: print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", ["run", "lr", *(stage.name for stage in STAGES)])
def test_help_of_a_study_says_how_to_list_its_keys(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "`layerprobe run STUDY.yaml --print_config` prints every key" in help_of(capsys, command)
