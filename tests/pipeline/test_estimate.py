"""The dry run: what it prints is what will be built, it writes nothing, and it refuses what does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_any_backbone import qwen3
from tiny_study import TINY, TRAINING, write_study

from layerprobe.backbone.options import BackboneOptions
from layerprobe.backbone.prompt import PromptOptions
from layerprobe.backbone.selection import parse_selection
from layerprobe.cli.main import main
from layerprobe.data.splits import Split
from layerprobe.evaluation.ranking import Ranking
from layerprobe.evaluation.ranks import Protocols
from layerprobe.pipeline.dry_run import estimate, plan
from layerprobe.pipeline.dry_run.estimate import Estimator, Need
from layerprobe.pipeline.dry_run.machine import Machine, available_memory
from layerprobe.pipeline.dry_run.plan import planned_models
from layerprobe.pipeline.dry_run.sizes import Sizes
from layerprobe.pipeline.dry_run.step_costs import Cost, CostLine, measure_model, shallow_depths, some_users
from layerprobe.probing.variant import RecipeOptions, build_recommender, parameter_counts
from layerprobe.store.atomic import read_json
from layerprobe.study.parser import load_spec
from layerprobe.study.study import Study
from layerprobe.training import measure
from layerprobe.training.adapters import TuningOptions
from layerprobe.training.checkpoint import RESUME
from layerprobe.training.measure import model_bytes
from layerprobe.training.options import TrainingOptions

FOLDERS = {
    "items: SASRec and floors": "items",
    "teacher: first:4": "teacher",
    "variant: first:0, seed 0": "variants/first-0/seed-0",
    "variant: first:2, seed 0": "variants/first-2/seed-0",
    "distilled: first:2": "distillation/student",
}
ROOMY = Machine("cpu", True, 2**40, 2**40, 2**20, 2**40)


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times as few steps as there may be."""
    monkeypatch.setattr(measure, "TIMED_SECONDS", 0.0)


def study_of(tmp_path: Path, out: Path | None = None, **changes: object) -> Study:
    return Study(load_spec(write_study(tmp_path, **changes), []), out or tmp_path / "study")


def cells(lines: list[str]) -> dict[str, list[str]]:
    """The table by model: state, parameters, trained, steps, seconds per step, time, memory."""
    start = next(number for number, line in enumerate(lines) if line.startswith("model"))
    rows = [line.split("  ") for line in lines[start + 1 : lines.index("", start)]]
    found = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    return {row[0]: row[1:] for row in found}


def everything(folder: Path) -> dict[str, float]:
    return {str(path): path.stat().st_mtime for path in folder.rglob("*")}


def as_on(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "this_machine", lambda *_: machine)


def never(*_arguments: object, **_named: object) -> None:
    raise AssertionError("nothing may be measured here")


def test_the_plan_holds_every_model_with_the_parameters_it_will_have(tmp_path: Path, finished: Path) -> None:
    found = plan.plan(study_of(tmp_path))
    table = cells(found.lines)
    assert list(table) == [*list(FOLDERS)[:2], "layers compared and left out, exits", *list(FOLDERS)[2:]]
    for label, folder in FOLDERS.items():
        parameters = read_json(finished / folder / "metrics.json")["parameters"]
        expected = ["to do", f"{parameters['total']:,}", f"{parameters['trainable']:,}"]
        assert table[label][:3] == expected, label
    users = TINY["data"]["synthetic"]["n_users"]
    steps = -(-users // TRAINING["batch_size"])
    assert {row[3] for label, row in table.items() if label != "layers compared and left out, exits"} == {str(steps)}
    assert found.refusal is None
    assert found.seconds is not None
    assert found.seconds > 0
    assert not (tmp_path / "study").exists()


def test_a_finished_study_costs_nothing_and_is_not_touched(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "measure_model", never)
    monkeypatch.setattr(estimate, "Workbench", never)
    before = everything(finished)
    found = plan.plan(study_of(tmp_path, finished))
    assert found.seconds == 0
    assert {row[0] for row in cells(found.lines).values()} == {"done"}
    assert everything(finished) == before


def test_what_is_left_of_a_half_trained_model_counts_alone(tmp_path: Path, copied: Path) -> None:
    teacher = copied / "teacher"
    (teacher / "done.json").unlink()
    study, label = study_of(tmp_path, copied), "teacher: first:4"
    fresh = cells(plan.plan(study).lines)
    half_trained(teacher / "checkpoint" / RESUME)
    begun = cells(plan.plan(study).lines)
    assert (fresh[label][0], begun[label][0]) == ("begun", "begun")
    assert (fresh[label][3], begun[label][3]) == ("3", "1")
    assert {row[0] for name, row in begun.items() if name != label} == {"done"}


def test_halving_holds_the_variants_it_may_stop_half_trained_and_no_others(tmp_path: Path, copied: Path) -> None:
    probe = {"depths": [0, 1, 2], "seeds": [0, 1]}
    plain, halved = (
        Study(load_spec(write_study(tmp_path, probe={**probe, **more}, training={**TRAINING, "epochs": 2}), []), copied)
        for more in ({}, {"halving": {"after": 1}})
    )
    planned = planned_models(halved)
    sizes = {each.label: Estimator(halved, halved.data.split).size(each).bytes.trained for each in planned}
    may_stop = [label for label in sizes if label.startswith(("variant: first:1", "variant: first:2"))]
    assert len(may_stop) == 2 * 2
    disks = [Estimator(each, each.data.split).disk(planned) for each in (plain, halved)]
    largest = max(sizes.values())
    # Three numbers of each trained one are kept of a half-trained model; without halving there is one of those.
    assert disks[1] - disks[0] == 3 * (sum(sizes[label] for label in may_stop) - largest)


def half_trained(path: Path) -> None:
    """A resume file's header after two of three steps."""
    from layerprobe.store.atomic import write_tensors

    progress = '{"step": 2, "epoch": 0, "best_epoch": 0, "best_valid": 0, "train_seconds": 1, "log_rows": 2}'
    write_tensors(path, {"model.x": torch.zeros(1)}, {"progress": progress, "spec": "{}"})


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        (replace(ROOMY, memory=1000, host=1000), "needs at least"),
        (replace(ROOMY, memory=60_000, host=60_000), "needs about"),
        (replace(ROOMY, disk=10_000), "on disk and 0 MiB are free"),
        (replace(ROOMY, shared=False, device="a GPU", memory=1000), "and a GPU has 0 MiB left"),
    ],
)
def test_a_plan_that_does_not_fit_is_printed_and_refused_in_one_line(
    machine: Machine,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    as_on(machine, monkeypatch)
    assert main(["run", str(write_study(tmp_path)), "--out", str(tmp_path / "study"), "--dry-run"]) == 2
    printed = capsys.readouterr()
    assert set(cells(printed.out.splitlines())) >= set(FOLDERS)
    errors = [line for line in printed.err.splitlines() if line.startswith("layerprobe: error")]
    assert len(errors) == 1
    assert "the plan does not fit" in errors[0]
    assert message in errors[0]
    assert not (tmp_path / "study").exists()


def test_a_shape_far_too_large_is_refused_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(estimate, "measure_model", never)
    monkeypatch.setattr(estimate, "Workbench", never)
    backbone = {"layers": 80, "hidden_size": 65536, "intermediate_size": 262144, "heads": 64, "max_positions": 64}
    study = write_study(tmp_path, backbone=backbone)
    assert main(["run", str(study), "--out", str(tmp_path / "study"), "--dry-run"]) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("layerprobe: error")]
    layer = 4 * 65536**2 + 3 * 65536 * 262144
    assert f"teacher: first:80 needs at least {16 * 80 * layer / 2**40:.1f} TiB of memory" in error
    assert "tuning.method lora" in error
    assert "backbone.layers" in error


def costs(depth: int, offset: float) -> Cost:
    """Costs that are straight lines in depth."""
    return Cost(*(offset + number + 3 * number * depth for number in range(1, 10)))


@pytest.mark.parametrize("depths", [(1, 3), (1, 2), (0, 1)])
@pytest.mark.parametrize("depth", [0, 1, 2, 7, 28])
def test_a_straight_line_is_drawn_on_exactly(depths: tuple[int, int], depth: int) -> None:
    line = CostLine(depths, (costs(depths[0], 10), costs(depths[1], 10)), 0)
    assert line.at(depth) == costs(depth, 10)


def test_costs_do_not_fall_with_depth_and_are_not_below_zero() -> None:
    level, less = costs(0, 5), costs(0, 4)
    assert CostLine((1, 3), (level, less), 0).at(28) == level
    assert CostLine((1, 3), (Cost(*[1.0] * 9), Cost(*[9.0] * 9)), 0).at(0) == Cost(*[0.0] * 9)


def test_gradients_bound_the_peak_where_they_outgrow_what_is_kept() -> None:
    # One layer: 100 bytes kept, 10 of gradients; each more keeps 5 and has gradients of 10.
    kept = [Cost(*[float(100 + 5 * (depth - 1))] * 9) for depth in (1, 3)]
    line = CostLine((1, 3), (kept[0], kept[1]), 10)
    assert line.backward(3, 30) == max(100 + 5 * 2, 30 + 100 - 10)
    assert line.backward(28, 10) == 100 + 5 * 27


@pytest.mark.parametrize(("layers", "expected"), [(1, (0, 1)), (2, (1, 2)), (3, (1, 3)), (28, (1, 3))])
def test_two_shallow_depths_are_measured(layers: int, expected: tuple[int, int]) -> None:
    assert shallow_depths(layers) == expected


def test_some_users_are_whole_users_at_even_distances(split: Split) -> None:
    few = some_users(split, 5)
    rows = split.evaluated[[int(place) for place in np.linspace(0, len(split.evaluated) - 1, 5)]]
    assert few.sequences.lengths.tolist() == split.sequences.lengths[rows].tolist()
    assert few.queries("test").targets.tolist() == [
        split.sequences.items[split.sequences.offsets[r + 1] - 1] for r in rows
    ]
    assert len(some_users(split, 1000).evaluated) == len(split.evaluated)


@pytest.mark.parametrize("method", ["full", "lora", "frozen"])
@pytest.mark.parametrize("prompt", [PromptOptions(), PromptOptions(kind="text"), PromptOptions(kind="learned")])
@pytest.mark.parametrize("text", ["first:0", "first:1", "keep:0,3"])
def test_sizes_are_those_of_the_models_that_will_be_built(
    method: str, prompt: PromptOptions, text: str, tmp_path: Path, recipe: RecipeOptions, item_table: torch.Tensor
) -> None:
    backbone = BackboneOptions(checkpoint=str(qwen3(tmp_path)), keep="drop:2")
    tuning = TuningOptions(method=method)  # pyright: ignore[reportArgumentType]
    asked = RecipeOptions(backbone, tuning, prompt, recipe.recommender)
    selection = parse_selection(text, 4)
    built = build_recommender(asked, item_table, selection, 0)
    sizes = Sizes.of(asked, len(item_table) - 1, item_table.shape[1])
    found = sizes.at(selection)
    assert {value.device.type for value in sizes.full.parameters()} == {"meta"}
    assert found.parameters == parameter_counts(built)
    assert found.bytes == model_bytes(built)
    assert sizes.at(None).parameters == parameter_counts(build_recommender(asked, item_table, None, 0))


def test_quantized_weights_are_counted_by_their_bits(tmp_path: Path, recipe: RecipeOptions) -> None:
    backbone = BackboneOptions(checkpoint=str(qwen3(tmp_path)), dtype="bfloat16")
    half = RecipeOptions(backbone, TuningOptions(method="frozen"), PromptOptions(), recipe.recommender)
    linear = 5 * (8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 12)  # query, key and value, output; three maps of the MLP
    weights = Sizes.of(half, 12, 6).at(None).bytes.weights
    for bits, size in (("8bit", 1.0), ("4bit", 0.5 + 4 / 64)):
        quantized = replace(backbone, dtype="float32", quantize=bits)
        found = Sizes.of(replace(half, backbone=quantized), 12, 6).at(None).bytes.weights
        assert found == weights - int(linear * (2 - size))


def test_a_dry_run_of_a_checkpoint_reads_none_of_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {
        "backbone": {"checkpoint": str(qwen3(tmp_path / "qwen3")), "gradient_checkpointing": True},
        "tuning": {"method": "lora", "rank": 2, "alpha": 2},
        "prompt": {"kind": "text"},
        "training": {**TRAINING, "supervision": "last", "max_tokens": 400},
        "distill": {"weights": {"multiple": 0.0}},
    }
    monkeypatch.setattr("layerprobe.backbone.load.read_layers", never)
    found = plan.plan(study_of(tmp_path, **changes))
    table = cells(found.lines)
    assert table["distilled: the decided selection, or the next one that can be distilled"][0] == "to do"
    assert found.refusal is None


def test_a_need_is_compared_with_the_memory_it_lies_in() -> None:
    cpu, gpu = replace(ROOMY, memory=100, host=100, base=7), replace(ROOMY, shared=False, memory=100, host=50)
    assert not Need(60, 40).lacking(cpu)
    assert Need(60, 41).lacking(cpu)
    assert Need(60, 40).shown(cpu) == 107
    assert not Need(100, 50).lacking(gpu)
    assert Need(101).lacking(gpu)
    assert Need(0, 51).lacking(gpu)
    assert Need(60, 40).shown(gpu) == 60


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        (
            "0::/a/b",
            {"a/memory.max": "100", "a/memory.current": "40",
             "a/memory.stat": "anon 9\ninactive_file 5\nactive_file 7"},
            72,
        ),
        ("0::/a", {"a/memory.max": "max", "a/memory.current": "40", "memory.max": "90", "memory.current": "50"}, 40),
        ("0::/", {"memory.max": "80", "memory.current": "30"}, 50),
        (
            "4:memory:/a\n2:cpu:/a",
            {"memory/a/memory.limit_in_bytes": "100", "memory/a/memory.usage_in_bytes": "30",
             "memory/a/memory.stat": "total_inactive_file 10"},
            80,
        ),
    ],
)  # fmt: skip
def test_the_limit_of_a_container_counts(own: str, files: dict[str, str], expected: int, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(text)
    (tmp_path / "own").write_text(own)
    assert available_memory(tmp_path / "cgroup", tmp_path / "own") == expected


def test_without_a_container_the_machine_counts(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("0::/")
    assert available_memory(tmp_path, tmp_path / "own") > 2**20
    assert available_memory(tmp_path, tmp_path / "absent") > 2**20


def test_passes_that_hold_less_take_less_memory_of_the_teachers_too(
    split: Split, item_table: torch.Tensor, recipe: RecipeOptions
) -> None:
    model = build_recommender(recipe, item_table, "first:2", 0)
    ranking = Ranking(split, Protocols(sampled=None), [10], 8)
    whole, cut = (
        measure_model(model, TrainingOptions(batch_size=40, max_tokens=bound), ranking) for bound in (None, 16)
    )
    assert cut.backward < 0.5 * whole.backward
    assert cut.teacher_bytes < 0.5 * whole.teacher_bytes
