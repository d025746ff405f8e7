"""Successive halving: who is stopped, that survivors keep every bit, and that the stopped can go on."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from tiny_study import TRAINING, write_study

from layerprobe.backbone.selection import parse_selection
from layerprobe.cli.main import main
from layerprobe.errors import InputError
from layerprobe.store.atomic import read_json
from layerprobe.study.jobs.recommenders import variant_job
from layerprobe.study.parser import load_spec
from layerprobe.study.probe_spec import HalvingOptions
from layerprobe.study.study import Study
from layerprobe.sweep.halving import best_of, best_until
from layerprobe.training.model_folder import train_and_rank

CHANGES = {
    "training": {**TRAINING, "epochs": 3},
    "probe": {"depths": [0, 1, 2, 3], "halving": {"after": 1, "keep": 0.4}},
}


def test_survivors_keep_every_bit_and_the_stopped_go_on_when_halving_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = write_study(tmp_path, **CHANGES), tmp_path / "study"
    assert main(["decide", str(path), "--out", str(folder)]) == 0
    study = Study(load_spec(path, []), folder)
    # Three candidates: two of them (0.4 of 3, rounded up) pass the choice after epoch 1, one that after epoch 2.
    halted = {name.parent.parent.name: read_json(name) for name in folder.rglob("halted.json")}
    assert sorted(record["epoch"] for record in halted.values()) == [1, 2]
    assert "2 stopped by halving" in capsys.readouterr().err
    (survivor,) = [each for each in study.selections if 0 < each.depth < 4 and each.folder not in halted]
    for record in halted.values():
        assert record["valid_ndcg@10"] <= record["cut_off"]
    decision, curve = read_json(folder / "decision.json"), pd.read_csv(folder / "curve.csv")
    assert [row["depth"] for row in decision["depths"]] == [0, survivor.depth, 4]
    assert set(curve.query("kind == 'variant'")["depth"]) == {0, survivor.depth, 4}
    assert sum("by halving" in note for note in decision["notes"]) == 2

    plain = dataclasses.replace(variant_job(study, survivor, 0), folder=tmp_path / "plain")
    train_and_rank(plain, study.ranking)
    for name in ("checkpoint/model.safetensors", "ranks.parquet"):
        assert (study.variant_folder(survivor, 0) / name).read_bytes() == (plain.folder / name).read_bytes()

    capsys.readouterr()
    assert main(["probe", str(path), "--out", str(folder), "--probe.halving", "null"]) == 0
    said = capsys.readouterr().err
    assert all(f"variant {name.replace('-', ':')} seed 0: resumed at step" in said for name in halted)
    assert not list(folder.rglob("halted.json"))
    assert set(pd.read_csv(folder / "curve.csv").query("kind == 'variant'")["depth"]) == {0, 1, 2, 3, 4}
    # What is finished is not stopped afterwards, though the same choice is made again.
    shutil.rmtree(study.variant_folder(survivor, 0))
    assert main(["decide", str(path), "--out", str(folder)]) == 0
    assert not list(folder.rglob("halted.json"))
    assert [row["depth"] for row in read_json(folder / "decision.json")["depths"]] == [0, 1, 2, 3, 4]


def test_values_are_the_best_so_far_and_equal_ones_go_to_fewer_layers(tmp_path: Path) -> None:
    rows = [{"epoch": 0, "valid_ndcg@10": 0.1}, {"step": 0, "epoch": 1, "loss": 9.0}]
    rows += [{"epoch": 1, "valid_ndcg@10": 0.3}, {"epoch": 2, "valid_ndcg@10": 0.2}, {"epoch": 3, "valid_ndcg@10": 0.9}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [best_until(tmp_path, epoch) for epoch in range(4)] == [0.1, 0.3, 0.3, 0.9]
    one, two, three = (parse_selection(f"first:{k}", 4) for k in (1, 2, 3))
    assert best_of({three: 0.5, two: 0.5, one: 0.4}, 0.3) == [two]
    assert best_of({three: 0.5, two: 0.5, one: 0.6}, 0.5) == [one, two]
    assert best_of({}, 0.5) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"after": 0}, "after must be at least 1; got 0"),
        ({"keep": 0.0}, "keep must lie between 0 and 1; got 0.0"),
        ({"keep": 1.0}, "keep must lie between 0 and 1; got 1.0"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        HalvingOptions(**options)


def test_a_choice_after_the_last_epoch_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_study(tmp_path, probe={"depths": [2], "halving": {"after": 1}})
    assert main(["run", str(path), "--out", str(tmp_path / "study")]) == 2
    assert "probe.halving.after must be smaller than training.epochs, which is 1; got 1" in capsys.readouterr().err
