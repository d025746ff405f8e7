"""Logs of one item, of one user with very many rows, and a clock that goes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_study import write_study

from layerprobe.cli.main import main
from layerprobe.data.interactions import from_columns
from layerprobe.data.log import prepare
from layerprobe.data.order import OrderOptions
from layerprobe.data.sources.raw import RawLog


def raw(user: np.ndarray, item: np.ndarray, times: np.ndarray) -> RawLog:
    return RawLog(from_columns(user, item, times), None, ordered=False)


def test_one_user_of_200_000_rows_is_one_sequence_in_order() -> None:
    items = np.random.default_rng(0).integers(0, 5000, 200_000)
    order = np.random.default_rng(1).permutation(200_000)
    data = prepare(raw(np.full(200_000, "solo"), items[order].astype(str), order))
    assert data.split.sequences.lengths.tolist() == [200_000]
    assert data.catalogue.item_ids[data.split.sequences.items - 1].tolist() == items.astype(str).tolist()
    assert data.facts["repeats"]["met_before"] == int(items[-1] in items[:-1])


def test_a_catalogue_of_one_item_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = pd.DataFrame({"user": np.repeat(np.arange(50), 5), "item": "only", "timestamp": np.tile(np.arange(5), 50)})
    log.to_csv(tmp_path / "log.csv", index=False)
    study = write_study(tmp_path, data={"source": "table"}, evaluation={"sampled": None, "remove_history": False})
    command = ["run", str(study), "--path", str(tmp_path / "log.csv"), "--out", str(tmp_path / "run")]
    assert main(command) == 2
    assert "in evaluation.ks and 1 items: a study needs more than 10" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run" / "items").exists()


def test_a_clock_that_goes_back_is_noted_where_the_file_s_order_is_kept() -> None:
    times = np.tile([0, 1, 2, 9, 3], 20)
    user, item = np.repeat(np.arange(20), 5).astype(str), np.arange(100).astype(str)
    kept = prepare(raw(user, item, times), order=OrderOptions(by="file")).facts["audit"]
    assert kept["backward"] == 1 / 4
    assert any("25.0 % of the pairs go back in time" in note for note in kept["notes"])
    assert prepare(raw(user, item, times)).facts["audit"]["backward"] == 0
