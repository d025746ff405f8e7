"""Provenance: what ran, where, with which versions. Written once per study as `provenance.json`."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("layerprobe", "torch", "transformers", "accelerate", "peft", "numpy", "pandas", "pyarrow", "scipy")


def package_versions() -> dict[str, str]:
    """Returns the installed version of each package that can change a number; absent ones read `absent`."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def git_state() -> dict[str, Any]:
    """Returns the commit of the checkout that holds the package and whether it has uncommitted changes."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # an installed package; git would search the folders above and name another commit
        return {"commit": None, "dirty": None}
    commit = _git(root, "rev-parse", "HEAD")
    status = _git(root, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        completed = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # git is absent, or refuses the folder: no reason to stop a study
        return None
    return completed.stdout.strip()


def provenance(device: str, seeds: list[int]) -> dict[str, Any]:
    """Returns versions, git state, machine, device and seeds as plain values."""
    return {
        "versions": package_versions(),
        "git": git_state(),
        "python": platform.python_version(),
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "device": device,
        "seeds": seeds,
    }
