"""The cost stage and the budget as a user runs them; the clock is replaced where a number is checked."""

from __future__ import annotations

import gc
import re
import shutil
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from made_decisions import made_decision, made_row
from tiny_study import write_study

from layerprobe import columns
from layerprobe.cli.main import main
from layerprobe.data.splits import Split
from layerprobe.evaluation.serving import answer, make_requests
from layerprobe.probing.variant import RecipeOptions, build_recommender, parameter_counts
from layerprobe.recommender.sequence_model import SequenceModel
from layerprobe.reporting.files.study_files import read_study
from layerprobe.reporting.sections.cost import cost_section
from layerprobe.stages import cost, report
from layerprobe.stages.cost import measured_jobs
from layerprobe.stages.decide import decide_study
from layerprobe.stages.distil import say_other_depth
from layerprobe.store.atomic import read_json, read_tensors
from layerprobe.store.decision import BudgetRow, write_decision
from layerprobe.store.seals.seal import read_seal, write_plain
from layerprobe.study.jobs.students import student_selection
from layerprobe.study.parser import load_spec
from layerprobe.study.study import Study
from layerprobe.training import model_costs
from layerprobe.training.adapters import TuningOptions
from layerprobe.training.model_costs import ServedModel, as_served

FOLDERS = {"first:0": "variants/first-0/seed-0", "first:2": "variants/first-2/seed-0", "first:4": "teacher"}
ASKED = 20
"""Calls that the tiny study asks for."""


@pytest.fixture(autouse=True)
def made_up_costs() -> None:
    """Costs are measured in this file."""


def costs_of(study: Path) -> pd.DataFrame:
    return pd.read_csv(study / "costs" / "costs.csv", keep_default_na=True).fillna({columns.SELECTION: ""})


def depth_of(model: SequenceModel) -> int:
    return getattr(model, "n_layers", -1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Replaces the clock: call i of n users takes n x (depth + 2) x i ms. Holds (depth, users, calls) of each turn."""
    seen: list[tuple[int, int, int]] = []

    def timed(model: SequenceModel, requests: list[Any], _removes: bool) -> np.ndarray:
        depth, n_users = depth_of(model), len(requests[0])
        assert not model.training
        begun = sum(calls for known, users, calls in seen if (known, users) == (depth, n_users))
        seen.append((depth, n_users, len(requests)))
        return n_users * (depth + 2.0) * (1 + begun + np.arange(len(requests)))

    monkeypatch.setattr(model_costs, "time_requests", timed)
    return seen


def test_costs_are_one_row_per_model_and_repeat_its_own_files(finished: Path) -> None:
    costs = costs_of(finished)
    assert list(costs.columns) == list(columns.COSTS)
    models = list(zip(costs["kind"], costs["selection"], costs["depth"].fillna(-1), strict=True))
    assert models == [*(("variant", text, int(text[-1])) for text in FOLDERS), ("sasrec", "", -1)]
    for folder, (_, row) in zip([*FOLDERS.values(), "items"], costs.iterrows(), strict=True):
        metrics = read_json(finished / folder / "metrics.json")
        assert row["parameters"] == metrics["parameters"]["total"]
        for part in columns.PARAMETER_PARTS:
            assert row.fillna(-1)[f"parameters_{part}"] == metrics["parameters"].get(part, -1)
        assert row["train_seconds"] == metrics["train_seconds"]


def test_measured_numbers_hang_together(finished: Path) -> None:
    costs = costs_of(finished).set_index("selection").drop(columns="kind")
    for users in (1, 64):
        assert (costs[f"latency_ms_p50_{users}"] > 0).all()
        assert (costs[f"latency_ms_p50_{users}"] <= costs[f"latency_ms_p95_{users}"]).all()
    float32 = 4
    more = costs.loc["first:4"] - costs.loc["first:2"]
    assert more["weight_bytes"] == float32 * more["parameters_layers"]
    # A step holds weights, two moments and, at the least, the gradients.
    trained = float32 * costs["parameters_trainable"]
    assert (costs["training_bytes"] >= costs["weight_bytes"] + 3 * trained).all()
    # Scores of 64 users and all items; they are there before the history is removed.
    n_scores = 64 * (len(pd.read_parquet(finished / "data" / "items.parquet")) + 1)
    assert (costs["scoring_bytes"] >= float32 * n_scores).all()
    facts = read_json(finished / "costs" / "costs.json")
    assert (facts["device"], facts["threads"]) == ("cpu", torch.get_num_threads())
    assert facts["calls"] == {"1": ASKED, "64": 6}


def test_models_take_turns_and_percentiles_are_of_all_calls(
    copied: Path, tmp_path: Path, clock: list[tuple[int, int, int]]
) -> None:
    command = ["cost", str(write_study(tmp_path, cost={"calls": 40})), "--out", str(copied)]
    assert main(command) == 0
    depths = [0, 2, 4, -1]
    # 40 and 12 calls in 3 rounds: every third one, so 14, 13 and 13, and 4 each.
    expected = [entry for calls in (14, 13, 13) for k in depths for entry in ((k, 1, calls), (k, 64, 4))]
    assert clock == expected
    costs = costs_of(copied)
    scale = np.array(depths) + 2.0
    # i = 1..40: the median lies between 20 and 21, the 95th percentile at 1 + 0.95 x 39.
    np.testing.assert_allclose(costs["latency_ms_p50_1"], scale * 20.5)
    np.testing.assert_allclose(costs["latency_ms_p95_1"], scale * (1 + 0.95 * 39))
    np.testing.assert_allclose(costs["latency_ms_p95_64"], 64 * scale * (1 + 0.95 * 11))
    # 12 calls of 64 users took 64 x scale x (1 + ... + 12) ms.
    np.testing.assert_allclose(costs["users_per_second"], 12 * 64 / (64 * scale * 12 * 13 / 2 / 1000))
    assert main(command) == 0
    assert clock == expected  # the second run measures nothing


def test_another_model_is_measured_anew(
    copied: Path, tmp_path: Path, clock: list[tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_costs, "step_bytes", lambda _engine, _batches: (0, 0))
    study = Study(load_spec(write_study(tmp_path), []), copied)
    cost.run(study)
    assert clock == []
    marker = copied / FOLDERS["first:2"] / "done.json"
    seal = read_seal(marker)
    write_plain(marker, replace(seal, files=seal.files | {"checkpoint/model.safetensors": "0" * 64}))
    cost.run(study)
    assert len(clock) == 3 * 4 * 2


def test_a_training_that_is_not_finished_is_left_out(copied: Path, tmp_path: Path) -> None:
    study = Study(load_spec(write_study(tmp_path, probe={"depths": [0, 2], "seeds": [0, 1]}), []), copied)
    named = [(job.point.kind, job.point.selection, job.point.seed) for job in measured_jobs(study)]
    assert named == [*(("variant", text, 0) for text in FOLDERS), ("sasrec", "", 0)]  # seed 1 is not there
    (copied / FOLDERS["first:2"] / "done.json").unlink()
    assert [job.point.selection for job in measured_jobs(study)] == ["first:0", "first:4", ""]


def test_what_is_timed_has_its_adapter_merged_and_answers_alike(
    recipe: RecipeOptions, item_table: torch.Tensor, split: Split
) -> None:
    tuned = RecipeOptions(recipe.backbone, TuningOptions("lora", rank=2), recipe.prompt, recipe.recommender)
    model = build_recommender(tuned, item_table, "first:2", 0).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_(generator=torch.Generator().manual_seed(1))
    request = make_requests(split, 1, 9)[0]
    before, counted = answer(model, request, False), parameter_counts(model)
    served = as_served(model)
    assert not any("lora" in name for name, _ in served.named_parameters())
    assert torch.equal(answer(served, request, False), before)
    assert parameter_counts(model)["total"] == counted["total"]


def decide(study: Path, folder: Path, *flags: str, **changes: object) -> dict[str, Any]:
    assert main(["decide", str(write_study(folder, **changes)), "--out", str(study), *flags]) == 0
    return read_json(study / "decision.json")


def valid_ndcg(folder: Path) -> float:
    """NDCG@10 of validation users among the whole catalogue, as the model's own file has it."""
    wanted = {"split": "valid", "protocol": "full", "metric": "ndcg", "k": 10}
    rows = read_json(folder / "metrics.json")["metrics"]
    return next(row["value"] for row in rows if wanted.items() <= row.items())


def ranks_of(study: Path, text: str) -> list[Path]:
    """The ranks of a selection's variants, one per seed."""
    first = study / FOLDERS[text] / "ranks.parquet"
    return sorted({first, *study.glob(f"variants/{text.replace(':', '-')}/seed-*/ranks.parquet")})


def test_validation_users_pick_not_test_users(copied: Path, tmp_path: Path) -> None:
    """Depth 0 is best on validation users and depth 2 on test users, so depth 0 is picked."""
    for text, test, valid in (("first:0", 50, 0), ("first:2", 1, 50), ("first:4", 0, 60)):
        for path in ranks_of(copied, text):
            ranks = pd.read_parquet(path)
            ranks["n_higher"] = ranks["split"].map({"test": test, "valid": valid}).astype("int32")
            ranks["n_ties"] = np.int32(0)
            ranks.to_parquet(path)
    below_full = read_json(copied / FOLDERS["first:4"] / "metrics.json")["parameters"]["total"] - 1
    study = Study(load_spec(write_study(tmp_path, budget={"parameters": below_full}), []), copied)
    decide_study(study)
    budget = read_json(copied / "decision.json")["budget"]
    assert (budget["selection"], budget["is_decided"]) == ("first:0", False)
    assert "picked by validation NDCG@10 (1.0000, the highest within the budget)" in budget["sentence"]


def test_a_budget_picks_the_best_within_and_can_be_taken_back(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (copied / "decision.json").read_bytes()
    assert read_json(copied / "decision.json")["budget"] is None
    parameters = {text: read_json(copied / folder / "metrics.json")["parameters"]["total"]
                  for text, folder in FOLDERS.items()}  # fmt: skip
    found = decide(copied, tmp_path, "--budget", f"parameters={parameters['first:4'] - 1}")
    valid = {
        text: np.mean([valid_ndcg(path.parent) for path in ranks_of(copied, text)]) for text in ("first:0", "first:2")
    }
    expected = found["selection"] or max(valid, key=lambda text: (valid[text], -parameters[text]))
    assert found["budget"]["selection"] == expected
    assert found["budget"]["costs"] == {"parameters": parameters[expected]}
    assert f"\nbudget: {found['budget']['sentence']}\n" in capsys.readouterr().out
    study = Study(load_spec(write_study(tmp_path, distill={"weights": {"multiple": 0}}), []), copied)
    kept = {"first:0": "first:1"}.get(expected, expected)  # depth 0 has nothing to distil
    assert student_selection(study).text == kept
    decide(copied, tmp_path)
    assert (copied / "decision.json").read_bytes() == before


def test_a_latency_budget_goes_by_the_p95_of_one_user(
    copied: Path, tmp_path: Path, clock: list[tuple[int, int, int]]
) -> None:
    limit = 4 * (1 + 0.95 * 39)  # depth 2 in 40 calls, see above
    found = decide(copied, tmp_path, "--budget.latency_ms", str(limit - 0.01), cost={"calls": 40})
    assert found["budget"]["selection"] == "first:0"
    assert found["budget"]["costs"] == {"latency_ms": pytest.approx(limit / 2)}
    assert clock


def test_a_budget_nobody_keeps_names_the_nearest_and_loses_nothing(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_json(copied / "decision.json")
    total = read_json(copied / FOLDERS["first:0"] / "metrics.json")["parameters"]["total"]
    study = str(write_study(tmp_path))
    assert main(["decide", study, "--out", str(copied), "--budget", f"parameters={total - 1}"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("layerprobe: error: no studied selection keeps the budget parameters=")
    assert f"the nearest is first:0 with {total:,} parameters" in said
    after = read_json(copied / "decision.json")
    assert after["budget"]["selection"] is None
    assert {**after, "budget": None} == before
    assert cost_section(read_study(copied)).paragraphs[0].startswith("**No studied selection keeps the budget")


def test_a_whole_run_with_a_budget_nobody_keeps_ends_with_everything_else(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = []
    monkeypatch.setattr(report, "run", lambda study: drawn.append(study.folder))
    shutil.rmtree(copied / "student")
    (copied / "distilled.json").unlink()
    assert main(["run", str(write_study(tmp_path)), "--out", str(copied), "--budget", "parameters=1"]) == 2
    assert "error: no studied selection keeps the budget parameters=1;" in capsys.readouterr().err.splitlines()[-1]
    assert read_json(copied / "decision.json")["budget"]["selection"] is None
    assert (copied / "student" / "README.md").exists()
    assert (copied / "distilled.json").exists()
    assert drawn == [copied]


@pytest.mark.usefixtures("clock")
def test_a_model_without_memory_for_it_has_no_costs_and_the_next_run_measures_it(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    timed, errors = model_costs.time_requests, {2: MemoryError("a"), 4: torch.OutOfMemoryError("a")}

    def lacking(model: SequenceModel, *others: Any) -> np.ndarray:
        if depth_of(model) in errors:
            raise errors[depth_of(model)]
        return timed(model, *others)

    command = ["decide", str(write_study(tmp_path, cost={"calls": 40})), "--out", str(copied)]
    monkeypatch.setattr(model_costs, "step_bytes", lambda _engine, _batches: (0, 0))
    with monkeypatch.context() as patched:
        patched.setattr(model_costs, "time_requests", lacking)
        assert main(command) == 0
    said = capsys.readouterr().err
    for depth in errors:  # once, and not tried again in each round
        assert len(re.findall(rf"cost: \w+ first:{depth} seed 0 is left out, out of memory", said)) == 1
    assert list(costs_of(copied)["selection"]) == ["first:0", ""]
    assert main(command) == 0
    assert list(costs_of(copied)["selection"]) == [*FOLDERS, ""]


def test_without_any_measured_variant_the_decision_stands_without_costs(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cost, "serve", lambda models, *_: [None for _ in models])
    monkeypatch.setattr(cost, "trained_bytes", lambda _job, _split: 1)
    before = read_json(copied / "decision.json")
    study = str(write_study(tmp_path, cost={"calls": 40}))
    assert main(["decide", study, "--out", str(copied)]) == 0
    assert read_json(copied / "decision.json") == before
    assert not (copied / "costs" / "costs.csv").exists()
    assert not (copied / "costs" / "front.csv").exists()
    assert main(["decide", study, "--out", str(copied), "--budget", "parameters=5"]) == 2
    assert "error: a budget needs a measured selection" in capsys.readouterr().err


@pytest.mark.usefixtures("clock")
def test_one_model_at_a_time_lies_in_memory(finished: Path, tmp_path: Path) -> None:
    real, loaded = cost.load_trained, []

    def loading(folder: Path, build: Any) -> SequenceModel:
        gc.collect()
        assert not [each for each in loaded if each() is not None]
        model = real(folder, build)
        loaded.append(weakref.ref(model))
        return model

    study = Study(load_spec(write_study(tmp_path), []), finished)
    jobs = measured_jobs(study)[:2]
    models = [ServedModel(job.point.label, partial(loading, job.folder, job.build)) for job in jobs]
    model_costs.serve(models, study.data.split, ASKED, remove_history=False)
    assert len(loaded) == 3 * 2


PICK, DECIDED = (
    {"selection": "first:2", "depth": 2, "layers": (0, 1)},
    {"selection": "first:1", "depth": 1, "layers": (0,)},
)
NONE = {"selection": "first:0", "depth": 0, "layers": ()}
ALLOWED = {"latency_ms": 1.0, "parameters": None, "is_decided": False, "costs": {}, "sentence": ""}
NEXT = "which has no layers to distil: the next depth that can be distilled is used"
SHARES = "which shares no inner block with its teacher; to distil"
SET = "set distill.weights.multiple 0 and distill.selection first:1"


@pytest.mark.parametrize(
    ("decided", "pick", "asked", "said"),
    [
        (DECIDED, PICK, {"selection": "first:4"}, "first:4, as set by distill.depth or distill.selection, not the "
         "budget's pick, first:2"),
        (DECIDED, PICK, {"selection": "keep:0,1"}, None),
        (DECIDED, PICK, {}, None),
        (DECIDED, None, {"depth": 4}, None),
        (DECIDED, None, {}, f"first:2 in place of the decided first:1, {SHARES} it, {SET}"),
        (PICK, DECIDED, {}, f"first:2 in place of the budget's pick, first:1, {SHARES} the pick, {SET}; "
         "the budget holds for its pick, not for this student"),
        (NONE, None, {}, f"first:2 in place of the decided first:0, {NEXT}"),
        (DECIDED, NONE, {}, f"first:2 in place of the budget's pick, first:0, {NEXT}; the budget holds for its "
         "pick, not for this student"),
    ],
)  # fmt: skip
def test_a_student_of_other_layers_says_why(
    decided: dict, pick: dict | None, asked: dict, said: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Study(load_spec(write_study(tmp_path, distill=asked), []), tmp_path / "study")
    budget = None if pick is None else BudgetRow(**ALLOWED, **pick)
    rows = (made_row(decided["selection"], decided["depth"]), made_row("first:4", 4))
    write_decision(study.folder, made_decision(**decided, depths=rows, budget=budget))
    say_other_depth(study, student_selection(study))
    assert capsys.readouterr().err == ("" if said is None else f"student: {said}\n")


def test_weights_are_those_that_were_trained(finished: Path, tmp_path: Path) -> None:
    """What is timed is loaded from the checkpoint, not built anew."""
    study = Study(load_spec(write_study(tmp_path), []), finished)
    (job,) = [job for job in measured_jobs(study) if job.point.selection == "first:2"]
    model = cost.load_trained(job.folder, job.build)
    stored, _ = read_tensors(finished / FOLDERS["first:2"] / "checkpoint" / "model.safetensors")
    for name, value in model.named_parameters():
        if name in stored:
            torch.testing.assert_close(value, stored[name], rtol=0, atol=0)
