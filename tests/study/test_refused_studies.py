"""What a study refuses before it computes anything: each mistake is one line and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_folders import files
from tiny_study import TINY, write_study

from layerprobe.cli.main import main


@pytest.mark.parametrize(
    ("changes", "flags", "message"),
    [
        ({"trianing": {}}, [], "trianing"),
        ({"training": {"epoch": 3}}, [], "epoch"),
        ({"training": {"epochs": "many"}}, [], "epochs"),
        ({"training": {"epochs": 0}}, [], "epochs must be at least 1; got 0"),
        ({"distill": {"training": {"epochs": 0}}}, [], "distill.training.epochs must be at least 1; got 0"),
        ({"probe": {"halving": {"keep": 2}}}, [], "probe.halving.keep must lie between 0 and 1; got 2"),
        ({}, ["--distill.training.epochs", "0"], "distill.training.epochs must be at least 1; got 0"),
        ({}, ["--probe.halving.keep", "2"], "probe.halving.keep must lie between 0 and 1; got 2"),
        ({"decision": {"cover": "training"}}, [], "needs at least 2 training seeds of every model; probe.seeds has 1"),
        ({"probe": {"depths": [0, 5]}}, [], "probe.depths must lie in 0..4, the teacher's depth; got 5"),
        ({"probe": {"seeds": [1, 1]}}, [], "probe.seeds"),
        ({"backbone": {**TINY["backbone"], "keep": "frist:2"}}, [], "frist:2"),
        ({"backbone": {"checkpoint": "./absent"}}, [], "config.json and safetensors; none at ./absent"),
        ({"distill": {"depth": 5}}, [], "1..4"),
        ({"distill": {"depth": 3}}, [], "no inner block in common with a teacher of 4"),
        ({"distill": {"depth": 4, "start": "teacher"}}, [], "nothing to distil"),
        ({"distill": {"depth": 2, "name": "../../x"}}, [], "distill.name must be letters"),
        ({"distill": {"depth": 2, "weights": {"cosine": float("nan")}}}, [], "distill.weights.cosine"),
        ({"distill": {"blocks": 3}}, [], "lacks the blocks its loss terms need"),
        ({"name": ".hidden"}, [], "name must be letters"),
        ({"probe": {"depths": [4]}}, [], "a depth below the teacher's 4"),
        ({"probe": {"seeds": [-1]}}, [], "probe.seeds must be at least 0; got -1"),
        ({"recommender": {"max_len": 65}}, [], "must fit the backbone's 64 positions; they need 65"),
        ({"evaluation": {**TINY["evaluation"], "sampled": 500}}, [], "sampled-500 needs 500 items"),
        ({"backbone": {**TINY["backbone"], "keep": "first:0"}}, [], "at least one layer"),
        ({"backbone": {**TINY["backbone"], "revision": "main"}}, [], "needs backbone.checkpoint"),
        ({"tuning": {"rank": 4}}, [], "tuning.rank needs tuning.method lora"),
        ({"items": {**TINY["items"], "random_dim": 8}}, [], "needs items.kind random"),
        ({"data": {"source": "prepared"}}, ["--path", "absent"], "is not a data folder"),
        ({"evaluation": {"ks": [5]}}, [], "10 among them"),
        ({"data": {"source": "movielens-100k"}}, [], "needs the log's place"),
        ({"data": {"source": "movielens-100k"}}, ["--path", "absent"], "absent"),
        ({"data": {"source": "netflix"}}, ["--path", "absent"], "source must be one of"),
        ({"data": {"source": "synthetic", "synthetic": {"n_users": 0}}}, [], "n_users"),
        ({"prompt": {"kind": "text", "prefix": ""}}, [], "checkpoint with a tokenizer"),
        ({"prompt": {"kind": "text"}}, [], "checkpoint with a tokenizer"),
        ({}, ["--training.epochs", "x"], "epochs"),
        ({}, ["--no_such_key", "1"], "no_such_key"),
        ({}, ["--training.epoch", "1"], "did you mean --training.epochs"),
        ({}, ["--training", "{epochs: 1}"], "--training is a section: set its keys one by one, such as --training.ep"),
        ({"training": None}, [], "training must hold keys, such as training.epochs; got nothing"),
        ({"training": 3}, [], "training must hold keys, such as training.epochs; got 3"),
        (
            {"backbone": {"layers": 99}, "probe": {"selections": [f"drop:{','.join(map(str, range(1, 98)))}"]}},
            [],
            "a selection becomes the name of a folder and must have at most 200 letters; got drop-1_2",
        ),
        (
            {"data": {"source": "synthetic", "synthetic": {"n_users": 10**7, "max_length": 10**5}}},
            [],
            "must have at most 1,000,000,000 rows; got n_users 10,000,000 times max_length 100,000",
        ),
    ],
)
def test_bad_studies_are_refused_in_one_line(
    changes: dict[str, object], flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path, **changes)
    code = main(["run", str(study), "--out", str(tmp_path / "study"), *flags])
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("layerprobe: error")]
    assert code == 2
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "study" / "study.yaml").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "got nothing"), ("- a\n", "keys and values"), ("a: [1", "must be YAML"), (None, "there is none at")],
)
def test_files_that_are_no_study(
    text: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.yaml"
    if text is not None:
        path.write_text(text)
    assert main(["run", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "thesis.txt").write_text("mine")
    assert main(["run", str(write_study(tmp_path)), "--out", str(tmp_path / "study")]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert files(tmp_path / "study") == {"thesis.txt"}


def test_a_mistake_in_the_path_can_be_put_right_in_the_same_folder(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text(
        "user,item,timestamp\n" + "".join(f"u{u},i{(u * 7 + t * 3) % 40},{t}\n" for u in range(30) for t in range(8))
    )
    study, out = str(write_study(tmp_path, data={"source": "table"})), str(tmp_path / "study")
    assert main(["teach", study, "--out", out, "--path", "absent.csv"]) == 2
    assert not (tmp_path / "study").exists()
    assert main(["teach", study, "--out", out, "--path", str(log)]) == 0
