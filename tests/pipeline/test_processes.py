"""Several processes of one launch give the study that one process gives; a killed launch goes on with any number."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from tiny_study import TINY, TRAINING, write_study

from layerprobe import columns, processes
from layerprobe.cli.main import main
from layerprobe.errors import InputError
from layerprobe.store.atomic import read_json

REPOSITORY = Path(__file__).resolve().parents[2]
LONGER = {**TRAINING, "epochs": 2, "learning_rate": 0.01, "stride": 8, "max_tokens": 256}
SASREC = {**TINY["items"]["sasrec"], "dropout": 0.0, "attention_dropout": 0.0, "block_dropout": 0.0}
STUDY: dict[str, Any] = {
    "items": {"sasrec": SASREC, "training": LONGER},
    "training": LONGER,
    "recommender": {"max_len": 16},
    "prompt": {"kind": "learned", "vectors": 2},
    "probe": {"depths": [2]},
    # Odd on purpose: 80 users make 12 batches, the last of them of 3 users, and no number of processes divides 25.
    "evaluation": {**TINY["evaluation"], "batch_size": 7},
}
MODELS = ("items", "teacher", "variants/first-2/seed-0", "distillation/student")
CONFIGS = REPOSITORY / "configs" / "accelerate"
ON_CPU = {"use_cpu": True, "mixed_precision": "no"}
pytestmark = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="a launch of two processes needs two cores")


def launched(folder: Path, *arguments: str, config: str = "cpu") -> subprocess.Popen[str]:
    """Starts two processes of `layerprobe ARGUMENTS` on a free port, as one of the shipped configurations says."""
    told = yaml.safe_load((CONFIGS / f"{config}.yaml").read_text())
    place = folder / f"{config}.yaml"
    place.write_text(yaml.safe_dump({**told, **ON_CPU}))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(place)]
    command += ["--main_process_port", "0", "-m", "layerprobe", *arguments]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("ACCELERATE_", "LAYERPROBE_"))
    } | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.PIPE, text=True)


def finish(started: subprocess.Popen[str]) -> str:
    """Waits for a launch, which must succeed, and returns what it said."""
    _, said = started.communicate(timeout=300)
    assert started.returncode == 0, said
    return said


def kill_when(started: subprocess.Popen[str], path: Path, text: str) -> None:
    """Kills the launcher as soon as `text` stands in the file `path`; on Linux its processes must end with it."""
    end = time.monotonic() + 300
    while not (path.exists() and text in path.read_text()):
        assert started.poll() is None, started.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.01)
    workers = psutil.Process(started.pid).children(recursive=True)
    assert len(workers) >= 2
    started.kill()
    if sys.platform != "linux":
        for worker in workers:
            worker.kill()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive, "a second launch would find these still writing"
    started.communicate()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's YAML."""
    return write_study(tmp_path_factory.mktemp("spec"), **STUDY)


@pytest.fixture(scope="module")
def alone(study: Path) -> Path:
    """Folder of the study that one process finished. Read only."""
    folder = study.parent / "alone"
    assert main(["run", str(study), "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def cut(study: Path) -> Path:
    """Folder of a launch that was killed when its two processes had trained the teacher's first epoch. Read only."""
    folder = study.parent / "cut"
    started = launched(study.parent, "run", str(study), "--out", str(folder))
    kill_when(started, folder / "teacher" / "log.jsonl", '"epoch": 1, "valid_ndcg@10"')
    assert not (folder / "teacher" / "done.json").exists()
    return folder


def log(folder: Path) -> pd.DataFrame:
    return pd.read_json(folder / "log.jsonl", lines=True).drop(columns="seconds")


def curve(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "curve.csv").drop(columns=list(columns.CLOCK))


def assert_same_study(found: Path, expected: Path) -> None:
    """Losses agree up to the order in which floats are added; ranks, and so the curve, agree exactly."""
    for model in MODELS:
        rows = log(expected / model)
        assert rows["loss"].dropna().iloc[-1] < 0.97 * rows["loss"].dropna().iloc[0], f"{model} learned nothing"
        pd.testing.assert_frame_equal(log(found / model), rows, rtol=1e-4, obj=model)
        ranks = (pd.read_parquet(folder / model / "ranks.parquet") for folder in (found, expected))
        pd.testing.assert_frame_equal(*ranks, obj=model)
        assert read_json(found / model / "metrics.json")["best_epoch"] > 0
    pd.testing.assert_frame_equal(curve(found), curve(expected), rtol=0.05)  # an untrained exit has near ties
    exact = [table.loc[~table[columns.KIND].str.startswith("exit")] for table in (curve(found), curve(expected))]
    pd.testing.assert_frame_equal(*exact)
    names = ({str(path.relative_to(folder)) for path in folder.rglob("*")} for folder in (found, expected))
    assert len(set(map(frozenset, names))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("config", ["cpu", "fsdp"])
def test_two_processes_give_the_study_of_one_after_a_kill_too(config: str, alone: Path, cut: Path, study: Path) -> None:
    """With `fsdp` each holds a slice of the recommenders; the killed launch held whole ones, and both may go on."""
    folder = shutil.copytree(cut, study.parent / config)
    said = finish(launched(study.parent, "run", str(study), "--out", str(folder), config=config))
    assert said.count("stage teach") == 1  # the main process alone speaks
    assert_same_study(folder, alone)


@pytest.mark.slow
def test_one_process_goes_on_where_two_were_killed(alone: Path, cut: Path, study: Path) -> None:
    folder = shutil.copytree(cut, study.parent / "one")
    assert main(["run", str(study), "--out", str(folder)]) == 0
    assert_same_study(folder, alone)


@pytest.mark.slow
def test_two_processes_refuse_another_study_in_one_line(alone: Path, tmp_path: Path) -> None:
    other = write_study(tmp_path, **{**STUDY, "training": {**LONGER, "learning_rate": 0.02}})
    before = {path: path.read_bytes() for path in alone.rglob("*") if path.is_file()}
    started = launched(tmp_path, "run", str(other), "--out", str(alone))
    _, said = started.communicate(timeout=300)
    assert started.returncode != 0
    lines = [line for line in said.splitlines() if line.startswith("layerprobe: error")]
    assert len(lines) == 1
    assert "these keys differ: training.learning_rate" in lines[0]
    assert {path: path.read_bytes() for path in alone.rglob("*") if path.is_file()} == before


def test_more_processes_than_devices_are_refused_in_one_line_before_they_connect(tmp_path: Path) -> None:
    fake = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "6400", "LOCAL_WORLD_SIZE": "6400"}
    nowhere = {"MASTER_ADDR": "192.0.2.1", "MASTER_PORT": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, "-m", "layerprobe", "run", str(write_study(tmp_path)), "--out", str(tmp_path / "study")],
        env={**os.environ, **fake, **nowhere, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    cores = os.cpu_count()
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "layerprobe: error: a launch needs a device per process; 6400 processes were launched on a machine with "
        f"{cores} processor cores: launch at most {cores}"
    ]
    assert not (tmp_path / "study").exists()


def test_without_a_launcher_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOCAL_RANK", "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "8")  # schedulers set it without starting anything
    assert (processes.count(), processes.index(), processes.is_main()) == (1, 0, True)
    processes.join()
    processes.wait()
    values = np.array([1, 2])
    assert processes.summed(values) is values
    assert processes.agreed(lambda: "mine") == "mine"
    done: list[int] = []
    processes.on_main(lambda: done.append(1))
    assert done == [1]


@pytest.mark.parametrize(("rank", "is_main"), [("0", True), ("3", False)])
def test_a_launched_process_knows_its_place(rank: str, is_main: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORLD_SIZE", "4"), ("LOCAL_RANK", "0"), ("RANK", rank)):
        monkeypatch.setenv(name, value)
    assert (processes.count(), processes.index(), processes.is_main()) == (4, int(rank), is_main)


def test_a_launch_on_gpus_is_counted_in_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    for name, value in (("WORLD_SIZE", "8"), ("LOCAL_WORLD_SIZE", "4"), ("LOCAL_RANK", "0"), ("RANK", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="4 processes were launched on a machine with 2 GPUs: launch at most 2"):
        processes.join()


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("ACCELERATE_MIXED_PRECISION", "fp16", "use no or bf16"),
        ("ACCELERATE_USE_DEEPSPEED", "true", "use distributed_type MULTI_GPU or FSDP"),
        ("FSDP_VERSION", "1", "use fsdp_version 2"),
        ("FSDP_OFFLOAD_PARAMS", "true", "leave fsdp_offload_params out"),
        ("FSDP_ACTIVATION_CHECKPOINTING", "true", "use backbone.gradient_checkpointing"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "use training.compile"),
    ],
)
def test_what_a_launcher_asks_for_in_vain_is_refused(
    name: str, value: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"the launcher sets {name}={value}, which is not supported; {advice}"):
        processes.join()


@pytest.mark.parametrize("config", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_shipped_configurations_ask_for_nothing_in_vain(config: str) -> None:
    """As the launcher itself reads them and turns them into the environment of its processes."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    path = str(CONFIGS / f"{config}.yaml")
    asked = launch_command_parser().parse_args(["--config_file", path, "--num_processes", "2", "-m", "layerprobe"])
    told, defaults, _ = _validate_launch_command(asked)
    assert defaults.distributed_type.value == {"cpu": "MULTI_GPU", "gpus": "MULTI_GPU", "fsdp": "FSDP"}.get(
        config, "NO"
    )
    environment = prepare_multi_gpu_env(told)
    for name, wanted, _ in processes.REFUSED:
        assert environment.get(name, "").lower() not in wanted, name
    assert environment["ACCELERATE_MIXED_PRECISION"] == ("no" if config == "cpu" else "bf16")


def test_accelerate_is_kept_from_slicing_models_by_itself(tmp_path: Path) -> None:
    """On GPUs it would wrap SASRec as well; the launch's processes slice recommenders by themselves."""
    code = """
import os
from layerprobe import processes
assert processes.slice_models()
processes.join()
assert processes.slice_models()
assert "ACCELERATE_USE_FSDP" not in os.environ
assert "FSDP_CPU_RAM_EFFICIENT_LOADING" not in os.environ
"""
    fake = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    asked = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
    alone = "import accelerate; accelerate.PartialState = lambda **_: None\n"  # nobody to connect to
    environment = {**os.environ, **fake, **asked, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", alone + code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
