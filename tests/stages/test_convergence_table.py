"""`convergence.csv` as the curve stage writes it: one row per trained model, from the files of its folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny_study import write_study

from layerprobe import columns
from layerprobe.stages import curve
from layerprobe.stages.tables.convergence import convergence_table
from layerprobe.stages.tables.points import trained_folders
from layerprobe.store.atomic import read_json
from layerprobe.store.rank_source import StoredRanks
from layerprobe.study.parser import load_spec
from layerprobe.study.study import Study

Key = tuple[str, str, int]


def rows_of(study: Path) -> dict[Key, dict[str, Any]]:
    rows = pd.read_csv(study / "convergence.csv").fillna({"selection": ""}).to_dict("records")
    return {(row["kind"], row["selection"], row["seed"]): row for row in rows}


def models_of(study: Path) -> dict[Key, Path]:
    described = {path.parent: read_json(path) for path in study.rglob("metrics.json")}
    return {(each["kind"], each["selection"], each["seed"]): folder for folder, each in described.items()}


def opened(study: Path, folder: Path, **changes: object) -> Study:
    return Study(load_spec(write_study(folder, **changes), []), study)


def test_every_trained_model_has_a_row_of_its_own_files(finished: Path) -> None:
    rows = rows_of(finished)
    assert tuple(pd.read_csv(finished / "convergence.csv").columns) == columns.CONVERGENCE
    assert sorted(rows) == sorted(models_of(finished))
    for key, folder in models_of(finished).items():
        row, model = rows[key], read_json(folder / "metrics.json")
        for name in ("epochs", "best_epoch", "train_seconds"):
            assert row[name] == model[name]
        logged = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        assert row["epochs"] == max(each["epoch"] for each in logged if "valid_ndcg@10" in each)
        assert row["best_valid"] == pytest.approx(max(each.get("valid_ndcg@10", 0) for each in logged), rel=1e-5)
        assert row["settings_tried"] == 1


def test_a_lost_log_and_learning_rate_tests_are_seen(copied: Path, tmp_path: Path) -> None:
    (copied / "teacher" / "log.jsonl").unlink()
    for name, rates in (("teacher", 7), ("first-2", 5), ("sasrec", 3)):
        folder = copied / "lr" / name
        folder.mkdir(parents=True)
        pd.DataFrame({"learning_rate": range(rates)}).to_csv(folder / "range.csv", index=False)
    curve.run(opened(copied, tmp_path))
    rows = rows_of(copied)
    assert math.isnan(rows["variant", "first:4", 0]["slope"])
    expected = {"first:0": 1, "first:2": 1 + 5, "first:4": 1 + 7, "": 1 + 3}
    for (kind, selection, _), row in rows.items():
        assert row["settings_tried"] == (1 if kind == "distilled" else expected[selection])


def test_a_teacher_that_is_no_variant_has_a_row_of_its_own(copied: Path, tmp_path: Path) -> None:
    study = opened(copied, tmp_path)
    folders = [folder for folder in trained_folders(study.models, StoredRanks()) if folder != study.layout.teacher]
    table = convergence_table(study, folders)
    assert table["kind"].to_list()[0] == "teacher"
    assert len(table) == len(models_of(copied))
