"""A whole study with a split by time and several targets per user, and what the data stage says of leave-one-out."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from tiny_study import write_study

from layerprobe.cli.main import main
from layerprobe.errors import InputError
from layerprobe.stages.data import data_key
from layerprobe.store.atomic import read_json
from layerprobe.study.parser import load_spec
from layerprobe.study.spec import DataSpec

SPLIT = {"kind": "global-time", "cut": 0.85, "valid_cut": 0.7, "target": "all", "no_history": "keep"}


def test_a_study_by_time_runs_to_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"source": "synthetic", "synthetic": {"n_users": 300}, "split": SPLIT}
    assert main(["run", str(write_study(tmp_path, data=data)), "--out", str(tmp_path / "study")]) == 0
    said = capsys.readouterr().err
    assert "global-time: training before" in said
    assert "reads the future" not in said
    facts = read_json(tmp_path / "study" / "data" / "facts.json")["split"]
    curve = pd.read_csv(tmp_path / "study" / "curve.csv")
    assert "markov-1-past" not in set(curve["kind"])
    for part in ("valid", "test"):
        assert set(curve.loc[curve["split"] == part, "n_users"]) == {facts[part]["users"]}
        assert facts[part]["targets"] > facts[part]["users"]
    decision = read_json(tmp_path / "study" / "decision.json")
    assert decision["power"]["n_users"] == facts["test"]["users"]
    report = (tmp_path / "study" / "report" / "report.md").read_text()
    assert "Split by time (global-time: training before" in report
    assert "last item of a user is the test target" not in report
    assert "split global-time" in (tmp_path / "study" / "student" / "README.md").read_text()


def test_leave_one_out_says_how_much_of_the_future_it_reads(finished: Path) -> None:
    facts = read_json(finished / "data" / "facts.json")["split"]
    assert 0 < facts["later"] < 1
    report = (finished / "report" / "report.md").read_text()
    assert f"**Leave-one-out reads the future:** {100 * facts['later']:.0f} % of the training rows are later" in report
    assert "markov-1-past" in set(pd.read_csv(finished / "curve.csv")["kind"])


def test_a_split_changes_the_hash_and_none_leaves_it(tmp_path: Path) -> None:
    plain, split = (
        load_spec(write_study(tmp_path, data={"source": "synthetic", **more}), []).data
        for more in ({}, {"split": SPLIT})
    )
    assert data_key(plain) == data_key(DataSpec())
    assert data_key(split) != data_key(plain)


def test_a_prepared_folder_brings_its_own_split(tmp_path: Path) -> None:
    data = {"source": "prepared", "path": "x", "split": SPLIT}
    with pytest.raises(InputError, match="data.split is not used by data.source prepared; leave it out"):
        load_spec(write_study(tmp_path, data=data), [])
