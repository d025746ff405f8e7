"""`recommend` and `doctor`."""

from __future__ import annotations

import argparse
import platform
from pathlib import Path


def recommend_command(known: argparse.Namespace, _rest: list[str]) -> int:
    """Prints rank, score, id and title of the top items."""
    from layerprobe.training.log import quiet_libraries

    quiet_libraries()
    from layerprobe.export.student import load_student

    student = load_student(Path(known.student))
    history = [item.strip() for item in known.history.split(",") if item.strip()]
    top = student.recommend(history, known.k)
    for rank, (item, title, score) in enumerate(top.itertuples(index=False), 1):
        print(f"{rank:>3}  {score:8.4f}  {item}  {title}")
    return 0


def doctor_command(_known: argparse.Namespace, _rest: list[str]) -> int:
    """Prints versions and devices; exits with 1 if a required package is missing."""
    from layerprobe.store.provenance import git_state, package_versions

    versions = package_versions()
    print(f"python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for name, version in versions.items():
        print(f"{name} {version}")
    print(f"commit {git_state()['commit']}")
    if versions["torch"] != "absent":
        import torch

        print(f"device {'cuda: ' + torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu'}")
    return 1 if "absent" in versions.values() else 0
