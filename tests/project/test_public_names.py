"""Every public name exists where the package says, and docs/api.md lists the names and no others."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import layerprobe

API = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`(\w+)(?=[`(.])", API))


@pytest.mark.parametrize("name", layerprobe.__all__)
def test_public_name_is_importable(name: str) -> None:
    assert getattr(layerprobe, name) is not None
    assert name in dir(layerprobe)


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = layerprobe.no_such_name


@pytest.mark.parametrize("name", sorted(set(layerprobe.__all__) - {"__version__"}))
def test_docs_list_every_public_name(name: str) -> None:
    assert name in NAMED


@pytest.mark.parametrize("name", sorted(set(layerprobe.__all__) - {"__version__"}))
def test_every_public_name_says_what_it_is(name: str) -> None:
    thing = getattr(layerprobe, name)
    assert inspect.getdoc(thing)
    assert thing.__name__ == name


def test_no_public_name_is_a_folder_of_the_package() -> None:
    """`layerprobe.similarity` is a folder: a function of that name would be hidden once the folder is imported."""
    folders = {path.name for path in Path(layerprobe.__file__).parent.iterdir()}
    assert set(layerprobe.__all__) & folders == set()


def test_every_call_that_the_page_shows_names_what_is_there() -> None:
    study = layerprobe.Study
    members = re.findall(r"`\.(\w+)", API)
    assert {"curve", "decision", "ranks", "teacher", "variant", "run"} <= set(members)
    for member in set(members) - {"split", "catalogue", "facts", "recommend", "hidden", "users"}:
        assert hasattr(study, member), member


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = "import sys, layerprobe; print(sorted({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
