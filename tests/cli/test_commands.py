"""The other commands, as a user runs them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from layerprobe.cli.main import main
from layerprobe.export.student import load_student


def some_ids(student: Path, n: int) -> list[str]:
    return list(pd.read_parquet(student / "items.parquet")["item"][:n])


def test_recommend_prints_k_titles_with_falling_scores(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    student = finished / "student"
    assert main(["recommend", str(student), "--history", ",".join(some_ids(student, 3)), "--k", "7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    items = pd.read_parquet(student / "items.parquet").set_index("item")["title"]
    assert len(lines) == 7
    scores = [float(line.split()[1]) for line in lines]
    assert scores == sorted(scores, reverse=True)
    for line in lines:
        _, _, item, *title = line.split()
        assert " ".join(title) == items[item]


@pytest.mark.parametrize(
    ("history", "k", "message"),
    [("no-such-item", "5", "unknown: no-such-item"), ("", "5", "at least one; got none"), (None, "0", "k must lie in")],
)
def test_bad_requests(
    history: str | None, k: str, message: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = finished / "student"
    asked = some_ids(student, 1)[0] if history is None else history
    assert main(["recommend", str(student), "--history", asked, "--k", k]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_that_is_no_student(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", str(tmp_path), "--history", "a"]) == 2
    assert "layerprobe export" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["recommender.safetensors", "items.parquet"])
def test_half_a_student_is_refused(
    name: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished / "student", tmp_path / "student")
    (tmp_path / "student" / name).unlink()
    assert main(["recommend", str(tmp_path / "student"), "--history", "a"]) == 2
    assert f"{name} is missing" in capsys.readouterr().err


def test_a_student_without_its_head_is_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from layerprobe.store.atomic import read_tensors, write_tensors

    shutil.copytree(finished / "student", tmp_path / "student")
    path = tmp_path / "student" / "recommender.safetensors"
    tensors = read_tensors(path)[0]
    write_tensors(path, {name: value for name, value in tensors.items() if name != "head.weight"})
    (tmp_path / "student" / "done.json").unlink()  # as of an older version, without hashes
    assert main(["recommend", str(tmp_path / "student"), "--history", "a"]) == 2
    assert "must hold head.weight" in capsys.readouterr().err


def test_the_student_scores_like_the_trained_model(finished: Path) -> None:
    """The exported folder answers as the distilled ranks say: same target rank for every test user."""
    from layerprobe.data.prepare import load_prepared
    from layerprobe.evaluation.ranks import Protocols, rank_targets
    from layerprobe.recommender.sequence_model import ModelScorer

    student = load_student(finished / "student")
    split = load_prepared(finished / "data").split
    found = rank_targets(ModelScorer(student.model), split, ["test"], Protocols(20, 0, remove_history=False))["model"]
    stored = pd.read_parquet(finished / "distillation" / "student" / "ranks.parquet")
    stored = stored[stored["split"] == "test"].reset_index(drop=True)
    assert (
        found["n_higher"] - stored["n_higher"]
    ).abs().max() <= 1  # merging and saving may swap two near-equal scores
    assert (found["n_higher"] == stored["n_higher"]).mean() > 0.95


def test_backbone_of_the_student_loads_with_stock_tools_in_a_fresh_process(finished: Path) -> None:
    code = (
        "import sys, json; from transformers import AutoModel\n"
        "m, r = AutoModel.from_pretrained(sys.argv[1], output_loading_info=True)\n"
        "print(json.dumps([len(m.layers), [len(r[k]) for k in ('missing_keys', 'unexpected_keys')]]))"
    )
    folder = finished / "student" / "backbone"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [2, [0, 0]]


def test_student_folder_holds_plain_files_only(finished: Path) -> None:
    names = {
        str(path.relative_to(finished / "student")) for path in (finished / "student").rglob("*") if path.is_file()
    }
    assert names == {
        "README.md", "config.json", "student.json", "recommender.safetensors", "items.parquet",
        "backbone/config.json", "backbone/model.safetensors", "done.json",
    }  # fmt: skip
    card = (finished / "student" / "README.md").read_text()
    assert "first:2 of 4 layers" in card
    assert "| teacher |" in card


def test_inspect_weighs_selections(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(finished / "student" / "backbone"), "--selection", "first:1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    attention, mlp, norms = 4 * 8 * 8, 3 * 8 * 12, 2 * 8
    layer, tokens, norm = attention + mlp + norms, 1 * 8, 8
    printed = dict(line.strip().rsplit(maxsplit=1) for line in lines if line.startswith("  "))
    assert printed == {
        "token embeddings": f"{tokens}",
        "attention of the layers": f"{2 * attention}",
        "MLPs of the layers": f"{2 * mlp}",
        "rest of the layers (norms)": f"{2 * norms}",
        "final norm": f"{norm}",
    }
    assert lines[0].split() == ["family", "llama", "(causal)"]
    assert lines[1].split() == ["layers", "2,", str(layer), "each"]
    row = next(line.split() for line in lines if line.startswith("first:1"))
    kept, full = tokens + layer + norm, tokens + 2 * layer + norm
    assert row[:4] == ["first:1", "1", str(kept), f"{kept / full:.1%}"]
    assert row[-1] == "0"


def test_inspect_tells_memory_of_weights_and_of_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import Qwen3Config

    size, layers, vocabulary, heads = 1024, 6, 4096, 8
    Qwen3Config(
        hidden_size=size, intermediate_size=2 * size, num_hidden_layers=layers, vocab_size=vocabulary,
        num_attention_heads=heads, num_key_value_heads=heads, head_dim=size // heads,
    ).save_pretrained(tmp_path)  # fmt: skip
    assert main(["inspect", str(tmp_path), "--selection", "keep:0,1,2,5", "--selection", "every:2"]) == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if " MiB" in line}
    layer = 4 * size**2 + 3 * size * 2 * size + 2 * size + 2 * (size // heads)
    kept = vocabulary * size + 4 * layer + size
    mib = [f"{bytes_ / 2**20:.0f}" for bytes_ in (4 * kept, 2 * kept, 16 * (4 * layer + size) + 4 * vocabulary * size)]
    assert rows["keep:0,1,2,5"][4::2] == [*mib, "0-2,"]
    assert rows["keep:0,1,2,5"][-1] == "5"
    assert rows["every:2"][-3:] == ["0,", "2,", "4"]


def test_inspect_without_a_selection_weighs_the_usual_ones(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(finished / "student" / "backbone")]) == 0
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines() if " MiB" in line]
    assert shown == ["first:2", "first:1", "every:2"]


@pytest.mark.parametrize(
    ("config", "arguments", "message"),
    [
        (None, [], "with config.json and safetensors; none at"),
        (
            {"model_type": "mamba", "num_hidden_layers": 2, "hidden_size": 8, "vocab_size": 3},
            [],
            "got 'mamba'; its modules",
        ),
        ({"model_type": "no-such-model"}, [], "cannot be read"),
        ({"model_type": "llama", "num_hidden_layers": 2}, ["--selection", "first:3"], "0 to 2"),
    ],
)
def test_inspect_of_what_is_no_checkpoint(
    config: dict | None, arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    assert main(["inspect", str(tmp_path), *arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""
    assert len(printed.err.strip().splitlines()) == 1


def test_prepare_writes_a_data_folder_and_prints_the_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.csv"
    log.write_text(
        "user,item,timestamp\n" + "".join(f"u{u},i{(u * 7 + t * 3) % 11},{t}\n" for u in range(6) for t in range(5))
    )
    assert main(["prepare", "--source", "table", "--path", str(log), "--out", str(tmp_path / "data")]) == 0
    printed = capsys.readouterr().out
    assert "read: 6 users" in printed
    assert "order audit of 24 neighbouring pairs" in printed
    assert {path.name for path in (tmp_path / "data").iterdir()} == {
        "interactions.parquet", "items.parquet", "sequences.safetensors", "split.json", "facts.json", "done.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "--source", "table", "--out", "OUT"], "needs --path"),
        (["prepare", "--source", "table", "--path", "absent.csv", "--out", "OUT"], "absent.csv"),
        (["prepare", "--source", "table", "--path", "x", "--out", "OUT", "--colour", "red"], "colour"),
        (["doctor", "--loud"], "--loud"),
        (["fly"], "fly"),
        (["report", "--out", "OUT", "absent.yaml"], "OUT"),
    ],
)
def test_bad_commands(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    errors = capsys.readouterr().err
    assert code == 2
    assert message in errors
    assert not (tmp_path / "OUT").exists()


def test_datasets_lists_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    from layerprobe.data.sources.registry import SOURCES

    assert main(["datasets"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in [*SOURCES, "synthetic"])


def test_doctor_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    from layerprobe import __version__

    assert main(["--version"]) == 0
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.startswith(__version__)
