"""Benchmarks run as a user runs them, at tiny sizes: the one that needs a GPU, and that of similarity; all import."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from layerprobe.backbone.load import load_backbone
from layerprobe.backbone.selection import parse_selection

TINY = (
    "--layers 3 --depths 1 --width 16 --intermediate 24 --heads 2 --vocabulary 8 --prefix 5 --items 4 --catalogue 70 "
    "--dim 8 --train-batch 17 --score-batch 3 --rounds 1 --peak-size 64"
)
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
COLUMNS = ("work", "prompt", "layers", "milliseconds", "ratio", "users", "tokens", "share", "memory")


@pytest.mark.parametrize("script", sorted(path.stem for path in BENCHMARKS.glob("[a-z]*.py")))
def test_every_benchmark_finds_what_it_imports(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, script, raising=False)
    assert callable(importlib.import_module(script).main)
    sys.modules.pop(script)


def run(root: Path, *arguments: str, script: str = "gpu_depth.py") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "benchmarks" / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def rows(request: pytest.FixtureRequest, root: Path) -> list[dict[str, str]]:
    done = run(root, *TINY.split(), "--device", "cpu", "--dtype", request.param)
    assert done.returncode == 0, done.stderr
    assert "3.95 h / 0.60 h" in done.stdout
    cells = [line.strip("|").split("|") for line in done.stdout.splitlines() if line.startswith("|")]
    return [dict(zip(COLUMNS, map(str.strip, row), strict=True)) for row in cells[2:]]


def test_every_work_prompt_and_depth_has_its_row(rows: list[dict[str, str]]) -> None:
    expected = [
        (work, prompt, depth)
        for work in ("training step", "scoring")
        for prompt in ("shared", "repeated")
        for depth in ("3", "1")
    ]
    assert [(row["work"], row["prompt"], row["layers"]) for row in rows] == expected


def test_ratios_and_rates_follow_from_the_times(rows: list[dict[str, str]]) -> None:
    full = {(row["work"], row["prompt"]): float(row["milliseconds"]) for row in rows if row["layers"] == "3"}
    read = {  # tokens: the prompt once per step, never again, or once per user
        ("training step", "shared"): 5 + 17 * 4,
        ("training step", "repeated"): 17 * (5 + 4),
        ("scoring", "shared"): 3 * 4,
        ("scoring", "repeated"): 3 * (5 + 4),
    }
    for row in rows:
        kind, milliseconds = (row["work"], row["prompt"]), float(row["milliseconds"])
        users = 17 if row["work"] == "training step" else 3
        assert float(row["ratio"]) == pytest.approx(full[kind] / milliseconds, rel=0.01)
        assert float(row["users"].replace(",", "")) == pytest.approx(1e3 * users / milliseconds, rel=0.01, abs=1)
        assert float(row["tokens"].replace(",", "")) == pytest.approx(1e3 * read[kind] / milliseconds, rel=0.01, abs=1)
        assert float(row["share"].rstrip("%")) >= 0
        assert row["memory"] == "not measured"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, so it would run for minutes")
def test_without_a_gpu_it_says_so_in_one_line(root: Path) -> None:
    done = run(root)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "needs an NVIDIA GPU" in done.stderr


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read as Linux gives it")
def test_similarity_measures_every_way_and_says_that_the_peer_is_skipped(root: Path) -> None:
    sizes = "--states 3 --rows 40 --dim 8 --many-states 2 --many-rows 100 --rounds 1 --without-peer"
    done = run(root, *sizes.split(), script="similarity.py")
    assert done.returncode == 0, done.stderr
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines() if line[:1] == "|"
    ]
    names = [row[0] for row in rows if row[0] and set(row[0]) != {"-"}]
    assert names == [
        "layerprobe, `cka_matrix`",
        "torch_cka 0.21's formula",
        "layerprobe, `cka_pairs`",
        "layerprobe, `cka_biased_pairs`",
        "layerprobe, `rbf_cka_pairs`",
        "pytorch-cka 1.1.3, `cka_from_features`",
        "`cka_matrix`",
        "`CKASums`",
        "`cka_pairs`",
    ]
    formula, skipped = (next(row for row in rows if row[0] == names[place]) for place in (1, 5))
    assert float(formula[-1]) < 1e-5  # the same values in float32
    assert skipped[1] == "skipped: left out by `--without-peer`"


def test_simulated_studies_have_the_truth_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    simulated = importlib.import_module("_studies")
    world = simulated.World(10, 0.05, (0.03,) * 6)
    generator, levels = np.random.default_rng(0), world.levels(0.2)
    drawn = [simulated.draw(world, 2, 2000, generator).metric(10, levels) for _ in range(150)]
    values = np.stack(drawn).mean(axis=(0, 1, 2))
    np.testing.assert_allclose(values, [0.04] * 5 + [0.05], rtol=0.03)
    # The spread of one training's mean over its users is the stated share, beyond what the users explain.
    pairs = np.stack([metric.mean(axis=1) for metric in drawn])  # [studies, seeds, models]
    between = (pairs[:, 0, -1] - pairs[:, 1, -1]).var() / 2
    within = np.mean([(metric[0, :, -1] - metric[1, :, -1]).var() / 2 / 2000 for metric in drawn])
    assert (between - within) ** 0.5 == pytest.approx(0.03 * 0.05, rel=0.25)


def test_every_table_of_wrong_verdicts_has_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    errors = importlib.import_module("decision_errors")
    monkeypatch.setattr(errors, "N_BOOT", 100)
    monkeypatch.setattr(errors, "USERS", 400)
    monkeypatch.setattr(errors, "SIMULATED", 100)
    sections = errors.table(number=1).split("\n## ")[1:]
    rows = [[line for line in section.splitlines() if line.startswith("|")][2:] for section in sections]
    assert list(map(len, rows)) == [24, 9, 6, 8, len(errors.WAYS), 6, len(errors.RARE_LOSSES)]
    assert all(len(row.split("|")) == 11 for row in rows[0])


def test_one_seed_fails_where_two_seeds_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    errors = importlib.import_module("decision_errors")
    one, two = (errors.rates(errors.Row(seeds, 0.03, simulated=500), 60) for seeds in (1, 2))
    assert min(one[:4]) > 0.15
    assert max(two[:4]) < 0.15
    assert one[4] < 0.7 < two[4]


def test_planted_depths_are_what_data_and_window_need(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a window, depth 3 reads the item that decides and depth 2 gives the same numbers whatever it is."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    planted = importlib.import_module("planted_depth")
    monkeypatch.setattr(planted, "RUNS", tmp_path)
    assert [(case.depth, case.needed) for case in planted.CASES] == [(1, 1), (2, 2), (3, 3)]
    asked = planted.spec(planted.CASES[0], 7)  # three seeds, whatever the default is, each with its own weights
    assert (asked.probe.seeds, asked.backbone.init_seed, asked.data.seed) == ([7, 107, 207], None, 7)
    case = planted.CASES[2]
    inputs = torch.randn(1, 10, case.width, generator=torch.Generator().manual_seed(0))
    changed = inputs.clone()
    changed[0, -case.data.lag] += 1
    for depth, sees in ((2, False), (3, True)):
        model = load_backbone(planted.backbone(case, seed=0), parse_selection(f"first:{depth}", planted.LAYERS))
        last, other = (model(inputs_embeds=each).last_hidden_state[0, -1] for each in (inputs, changed))
        assert torch.equal(last, other) is not sees
