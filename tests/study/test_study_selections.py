"""Any selection of layers through a whole study, run as a user runs it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from made_decisions import made_decision, made_row
from study_folders import MODEL_FILES, Killed, files, without_clock
from tiny_study import TINY, write_study

from layerprobe.backbone.selection import parse_selection
from layerprobe.cli.main import main
from layerprobe.store.atomic import read_json, read_yaml
from layerprobe.store.decision import DecisionRecord, write_decision
from layerprobe.study.jobs.recommenders import build_variant
from layerprobe.study.jobs.students import student_selection
from layerprobe.study.parser import load_spec
from layerprobe.study.study import Study
from layerprobe.training import model_folder

SELECTIONS = ["first:1", "every:2", "keep:0,3"]
CHANGES = {"probe": {"selections": SELECTIONS}, "distill": {"selection": "keep:0,3"}}


@pytest.fixture(scope="module")
def selected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished study of `SELECTIONS`. Read only."""
    folder = tmp_path_factory.mktemp("selected")
    assert main(["run", str(write_study(folder, **CHANGES)), "--out", str(folder / "study")]) == 0
    return folder / "study"


@pytest.fixture
def own(selected: Path, tmp_path: Path) -> Path:
    """A copy of the study that a test may change."""
    return Path(shutil.copytree(selected, tmp_path / "study"))


def study_of(folder: Path, **changes: object) -> Study:
    return Study(load_spec(write_study(folder, **changes), []), folder / "study")


def texts(study: Study) -> list[str]:
    return [selection.text for selection in study.selections]


def test_a_study_of_selections_writes_exactly_its_files(selected: Path) -> None:
    expected = {f"{name}/seed-0/{file}" for name in ("first-1", "every-2", "keep-0_3") for file in MODEL_FILES}
    assert files(selected / "variants") == expected
    assert files(selected / "teacher") == MODEL_FILES
    assert {path.name for path in selected.iterdir()} == {
        "study.yaml", "provenance.json", "data", "items", "baselines", "teacher", "exits", "variants", "similarity",
        "curve.csv", "convergence.csv", "slices.csv", "slice_differences.csv", "decision.json", "decisions.jsonl",
        "robustness.csv", "predictiveness.csv", "predicted.csv",
        "distillation", "student", "costs", "distilled.json", "report", "files.json", "checked.json",
    }  # fmt: skip


def test_curve_and_decision_are_keyed_by_selection(selected: Path) -> None:
    curve = pd.read_csv(selected / "curve.csv").query("kind == 'variant'")
    points = curve[["selection", "depth"]].drop_duplicates().itertuples(index=False)
    expected = [("first:1", 1), ("every:2", 2), ("keep:0,3", 2), ("first:4", 4)]
    assert [tuple(point) for point in points] == expected
    rows = read_json(selected / "decision.json")["depths"]
    assert [(row["selection"], row["depth"]) for row in rows] == expected
    assert [row["layers"] for row in rows] == [[0], [0, 2], [0, 3], [0, 1, 2, 3]]


def test_a_variant_is_the_model_its_selection_names(selected: Path) -> None:
    folder = selected / "variants" / "every-2" / "seed-0"
    assert read_yaml(folder / "spec.yaml")["selection"] == "every:2"
    metrics = read_json(folder / "metrics.json")
    assert (metrics["selection"], metrics["depth"], metrics["layers"]) == ("every:2", 2, [0, 2])
    one, two, full = (
        read_json(selected / name / "metrics.json")["parameters"]["layers"]
        for name in ("variants/first-1/seed-0", "variants/every-2/seed-0", "teacher")
    )
    assert (two, full) == (2 * one, 4 * one)


@pytest.mark.parametrize("from_teacher", [False, True])
def test_a_variant_starts_from_the_very_layers_it_names(from_teacher: bool, selected: Path, tmp_path: Path) -> None:
    study = Study(load_spec(write_study(tmp_path, **CHANGES), []), selected)
    full, kept = (build_variant(study, parse_selection(text, 4), 0, from_teacher) for text in ("first:4", "keep:0,3"))
    whole, cut = (dict(model.backbone.named_parameters()) for model in (full, kept))
    names = [name for name in cut if ".1." in name and name.endswith("proj.weight")]
    assert len(names) == 7
    for name in names:
        torch.testing.assert_close(cut[name], whole[name.replace(".1.", ".3.")], rtol=0, atol=0)
        assert not torch.equal(cut[name], whole[name])


def test_the_student_keeps_the_layers_asked_for_and_loads(selected: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert read_json(selected / "student" / "student.json")["kept_layers"] == "keep:0,3"
    assert read_json(selected / "distillation" / "student" / "metrics.json")["layers"] == [0, 3]
    assert read_json(selected / "student" / "backbone" / "config.json")["num_hidden_layers"] == 2
    assert "keep:0,3 of 4 layers" in (selected / "student" / "README.md").read_text()
    item = pd.read_parquet(selected / "student" / "items.parquet")["item"].iloc[0]
    assert main(["recommend", str(selected / "student"), "--history", str(item), "--k", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 3


def test_the_report_lists_selections_with_their_layers(selected: Path) -> None:
    text = (selected / "report" / "report.md").read_text()
    for line in (
        "| every:2   |     2 |",
        "| keep:0,3  |     2 |",
        "fine-tuned, keep:0,3, seed 0",
        "2 layers (keep:0,3)",
    ):
        assert line in text


def test_added_selections_train_only_their_own_variants(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []
    real = model_folder.Trainer
    monkeypatch.setattr(model_folder, "Trainer", lambda *a, **k: trained.append(k["label"]) or real(*a, **k))
    before = files(own)
    study = write_study(tmp_path, **CHANGES | {"probe": {"selections": [*SELECTIONS, "last:1"], "depths": [0, 1]}})
    assert main(["run", str(study), "--out", str(own)]) == 0
    assert trained == ["variant first:0 seed 0", "variant last:1 seed 0"]
    assert before <= files(own)


def test_same_layers_are_trained_once_and_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probe = {"depths": [2], "selections": ["keep:0,1", "ends:2", "keep:0,3", "last:4", "drop:2-3"]}
    study = write_study(tmp_path, probe=probe)
    assert main(["probe", str(study), "--out", str(tmp_path / "study")]) == 0
    line = (
        "selections that keep the same layers run once: "
        "keep:0,1 as first:2, keep:0,3 as ends:2, last:4 as first:4, drop:2-3 as first:2"
    )
    assert capsys.readouterr().err.splitlines().count(line) == 1
    assert {path.name for path in (tmp_path / "study" / "variants").iterdir()} == {"first-2", "ends-2"}


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        ({}, ["first:0", "first:1", "first:2", "first:3", "first:4"]),
        ({"depths": [2, 1]}, ["first:1", "first:2", "first:4"]),
        ({"selections": ["last:2", "first:1"]}, ["first:1", "last:2", "first:4"]),
        ({"depths": [2], "selections": ["last:2", "keep:3"]}, ["keep:3", "first:2", "last:2", "first:4"]),
    ],
)
def test_depths_and_selections_join_and_the_full_model_is_always_in(
    probe: dict, expected: list[str], tmp_path: Path
) -> None:
    assert texts(study_of(tmp_path, probe=probe)) == expected


def test_the_plan_names_selections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_study(tmp_path, **CHANGES | {"probe": {"selections": [*SELECTIONS, "last:4"]}})
    assert main(["run", str(study), "--out", str(tmp_path / "study"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert [line.split(",")[0] for line in printed.splitlines() if line.startswith("variant")] == [
        "variant: first:1", "variant: every:2", "variant: keep:0",
    ]  # fmt: skip
    assert "distilled: keep:0,3 " in printed
    assert "selections that keep the same layers run once: last:4 as first:4" in printed
    assert not (tmp_path / "study").exists()


def test_selections_can_be_given_as_a_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--probe.depths", "null", "--probe.selections", '["keep:0,3", "last:1"]']
    assert main(["run", str(write_study(tmp_path)), "--out", str(tmp_path / "study"), "--dry-run", *flags]) == 0
    printed = capsys.readouterr().out
    assert "variant: last:1, seed 0" in printed
    assert "variant: keep:0,3, seed 0" in printed
    assert "variant: first" not in printed


def decision(*rows: tuple[str, int, bool, float], chosen: str | None) -> DecisionRecord:
    """A decision about these selections; the numbers beside are made up."""
    depth = next((depth for text, depth, *_ in rows if text == chosen), None)
    studied = tuple(made_row(text, k, not_worse=passed, value=value) for text, k, passed, value in rows)
    return made_decision(selection=chosen, depth=depth, depths=studied)


FULL = ("first:4", 4, True, 0.5)


@pytest.mark.parametrize(
    ("decided", "expected"),
    [
        (decision(("keep:0,3", 2, True, 0.5), ("last:2", 2, True, 0.4), FULL, chosen="keep:0,3"), "keep:0,3"),
        (decision(("keep:3", 1, True, 0.5), FULL, chosen="keep:3"), "first:2"),
        (decision(("keep:3", 1, True, 0.5), ("last:2", 2, True, 0.5), FULL, chosen="keep:3"), "last:2"),
        (
            decision(
                ("keep:3", 1, True, 0.5), ("ends:2", 2, True, 0.48), ("last:2", 2, False, 0.49), FULL, chosen="keep:3"
            ),
            "ends:2",
        ),
        (
            decision(
                ("keep:3", 1, True, 0.5), ("ends:2", 2, True, 0.48), ("last:2", 2, True, 0.49), FULL, chosen="keep:3"
            ),
            "last:2",
        ),
        (decision(("keep:1,2,3", 3, True, 0.5), FULL, chosen="keep:1,2,3"), "first:4"),
        (decision(("last:2", 2, False, 0.1), FULL, chosen=None), "first:4"),
        (decision(("first:0", 0, True, 0.5), FULL, chosen="first:0"), "first:2"),
    ],
)
def test_an_open_student_takes_the_decided_layers_or_deeper_ones_that_can_be_distilled(
    decided: DecisionRecord, expected: str, tmp_path: Path
) -> None:
    # Four layers: with multiple supervision a student needs two blocks, so depth 2 or 4.
    study = study_of(tmp_path, distill={})
    write_decision(study.folder, decided)
    assert student_selection(study).text == expected


@pytest.mark.parametrize("writes", [3, 20, 33, 47, 60, 72, 85, 97])
def test_kill_at_any_write_and_resume_ends_with_the_same_curve_and_files(
    writes: int, selected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, folder = write_study(tmp_path, **CHANGES), tmp_path / "study"
    real, seen = os.replace, iter(range(10**6))

    def dying(source: Path, target: Path) -> None:
        if next(seen) == writes:
            raise Killed
        real(source, target)

    monkeypatch.setattr(os, "replace", dying)
    with pytest.raises(Killed):
        main(["run", str(study), "--out", str(folder)])
    monkeypatch.setattr(os, "replace", real)
    assert main(["run", str(study), "--out", str(folder)]) == 0
    pd.testing.assert_frame_equal(without_clock(folder), without_clock(selected))
    assert read_json(folder / "decision.json") == read_json(selected / "decision.json")
    assert files(folder) == files(selected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probe": {"selections": ["frist:2"]}}, "selection 'frist:2' is not understood"),
        ({"probe": {"selections": ["keep:0,4"]}}, "a backbone of 4 layers has layers 0 to 3; got 4"),
        ({"probe": {"selections": ["every:1"]}}, "every:N drops each N-th layer, N from 2 to 4; got 1"),
        ({"probe": {"selections": ["last:4"]}}, "probe.depths or probe.selections must hold a depth below"),
        ({"probe": {"selections": []}}, "must hold a depth below the teacher's 4; got []"),
        ({"probe": {"selections": "first:1"}}, "selections"),
        ({"probe": {"depths": [5], "selections": ["first:1"]}}, "probe.depths must lie in 0..4"),
        ({"distill": {"depth": 2, "selection": "keep:0,3"}}, "both name the student's layers; got 2 and keep:0,3"),
        ({"distill": {"selection": "keep:0,4"}}, "got 4"),
        ({"distill": {"selection": "keep:0,1,3"}}, "no inner block in common with a teacher of 4"),
        ({"distill": {"selection": "first:0"}}, "the student's depth must lie in 1..4, the teacher's; got 0"),
        ({"distill": {"selection": "drop:1", "blocks": 2}}, "must divide both depths, 4 and 3; got 2"),
        ({"distill": {"selection": "keep:0-3", "start": "teacher"}}, "nothing to distil"),
        ({"probe": {"controls": ["random-init"]}}, "is built from a shape, so its weights are random"),
        ({"probe": {"controls": ["frozen"]}}, "controls"),
        ({"probe": {"controls": ["random-init", "random-init"]}}, "must name each control once"),
    ],
)
def test_bad_selections_are_refused_in_one_line_before_anything_is_written(
    changes: dict[str, object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path, **changes)
    assert main(["run", str(study), "--out", str(tmp_path / "study")]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("layerprobe: error")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("[first:1, every:2, keep:0,3]", ["first:1", "every:2", "keep:0,3"]),
        ("[keep:0,1,3, last:2]", ["keep:0,1,3", "last:2"]),
        ("[drop:0,2-3]", ["drop:0,2-3"]),
        ('["keep:0,3", keep:1,2]', ["keep:0,3", "keep:1,2"]),
    ],
)
def test_a_list_of_layers_needs_no_quotes(written: str, read: list[str], tmp_path: Path) -> None:
    path = write_study(tmp_path, probe={"seeds": None})
    path.write_text(path.read_text().replace("probe: {}", f"probe: {{selections: {written}}}"))
    assert load_spec(path, []).probe.selections == read


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        ({"depths": "all"}, ["first:0", "first:1", "first:2", "first:3", "first:4"]),
        (
            {"depths": "all", "selections": ["last:1"]},
            ["first:0", "first:1", "last:1", "first:2", "first:3", "first:4"],
        ),
        ({"selections": "all"}, ["first:0", "first:1", "first:2", "first:3", "first:4"]),
        (
            {"selections": {"first": [1, 2], "last": "all"}},
            ["first:1", "last:1", "first:2", "last:2", "last:3", "first:4"],
        ),
        ({"selections": {"random": ["1@3", "2@3"], "every": 3}}, ["random:1@3", "random:2@3", "every:3", "first:4"]),
        ({"selections": ["random:all@3"]}, ["random:1@3", "random:2@3", "random:3@3", "first:4"]),
    ],
)
def test_short_forms_stand_for_selections(probe: dict, expected: list[str], tmp_path: Path) -> None:
    assert texts(study_of(tmp_path, probe=probe)) == expected


def test_all_numbers_of_a_list_form_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_study(tmp_path, probe={"selections": {"keep": "all"}})
    assert main(["run", str(path), "--out", str(tmp_path / "study")]) == 2
    assert "keep takes a list of layers" in capsys.readouterr().err


def test_a_bare_number_that_follows_no_list_is_no_selection(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_study(tmp_path, probe={"selections": ["every:2", 3]})
    assert main(["run", str(path), "--out", str(tmp_path / "study")]) == 2
    assert "selection '3' is not understood" in capsys.readouterr().err


def test_backbone_that_is_cut_first_counts_its_layers_anew(tmp_path: Path) -> None:
    backbone = {**TINY["backbone"], "layers": 6, "keep": "first:4"}
    assert texts(study_of(tmp_path, backbone=backbone, probe={"selections": ["last:4", "keep:3"]})) == [
        "keep:3",
        "first:4",
    ]
