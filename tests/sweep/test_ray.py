"""A sweep on a Ray cluster of two local nodes gives the study of the local one, also when a node dies midway.

Ray is no part of the development installation: `pip install -e '.[ray]'`, then `pytest tests/sweep/test_ray.py`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_study import TRAINING, write_study

from layerprobe.store.atomic import read_json

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
STUDY: dict[str, Any] = {
    "training": {**TRAINING, "epochs": 12, "stride": 4},
    "probe": {"depths": [0, 1, 2, 3], "halving": {"after": 6, "keep": 0.6}},
}
FILES = ("checkpoint/model.safetensors", "ranks.parquet", "spec.yaml")


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", **more}


def started(study: Path, out: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "layerprobe", "probe", str(study), "--out", str(out), *arguments]
    return subprocess.Popen(command, env=environment(**more), stderr=subprocess.PIPE, text=True)


def said(run: subprocess.Popen[str], code: int = 0) -> str:
    _, lines = run.communicate(timeout=500)
    assert run.returncode == code, lines
    return lines


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of two nodes with a processor each, on this machine."""
    from ray.cluster_utils import Cluster

    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()


def wait_for_two_in_training(out: Path, run: subprocess.Popen[str]) -> None:
    """Waits until two models are in the middle of their epochs: each node has room for one."""
    end = time.monotonic() + 300
    while True:
        logs = [path.read_text() for path in out.glob("variants/*/*/log.jsonl")]
        if len([log for log in logs if 3 <= log.count("valid_ndcg@10") <= 5]) >= 2:
            return
        assert run.poll() is None, said(run)
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_node_killed_midway_leaves_the_study_complete_and_equal_to_the_local_one(
    cluster: Any, tmp_path: Path
) -> None:
    study, local, out = write_study(tmp_path, **STUDY), tmp_path / "local", tmp_path / "ray"
    said(started(study, local))
    run = started(study, out, "--executor", "ray", RAY_ADDRESS=cluster.address)
    wait_for_two_in_training(out, run)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    lines = said(run)
    assert "sweep: 3 of 4 done, 1 stopped by halving" in lines
    resumed = {int(step) for step in re.findall("resumed at step ([0-9]+)", lines)}
    assert len(resumed) > 1, "all went on from the choice alone: no model was in its training when its node died"
    folders = sorted(path.relative_to(local) for path in local.glob("variants/*/*"))
    assert len(folders) == 4
    for folder in folders:
        name = f"variant {folder.parent.name.replace('-', ':')} seed 0"
        if (local / folder / "halted.json").exists():
            assert read_json(out / folder / "halted.json") == read_json(local / folder / "halted.json")
            continue
        assert f"{name}: done" in lines  # the workers' own lines reach the driver
        for file in FILES:
            assert (out / folder / file).read_bytes() == (local / folder / file).read_bytes()
    assert not list(out.rglob("*.tmp"))


def test_no_cluster_is_said_in_one_line(tmp_path: Path) -> None:
    run = started(write_study(tmp_path), tmp_path / "study", "--executor", "ray", RAY_ADDRESS="127.0.0.1:1")
    lines = said(run, 2).strip().splitlines()
    assert len(lines) == 1
    assert "reaches no Ray cluster at 127.0.0.1:1" in lines[0]
    assert "ray start --head" in lines[0]
